"""leno as users run it: a control plane, and two workloads of `leno run` with their sidecars between load and backend.

The client is in its workload's network namespace and calls the service's virtual address: the connection is
redirected to the sidecar, which asks the control plane what is there. So this has all that a mesh adds to a pair:
routes, mutual TLS with the mesh's certificates, Istio's metrics and peer metadata, the access log, and the capture.
"""

import json
import os
import shutil
import time

from .backend import BODY
from .machine import program
from .processes import Failed, tree
from .proxies import CONFIGS, LOG_FILE, SIDECAR_HOST, Running

# Of the service `backend` (its first virtual address) and of the application in its own namespace.
SERVICE = ("240.240.0.1", 8080)
APPLICATION = """
daemon off; master_process off; user root; worker_processes 1; pid {d}/app.pid; error_log {d}/app.err warn;
worker_rlimit_nofile 20000;
events {{ worker_connections 18000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; tcp_nodelay on; default_type text/plain;
  client_body_temp_path {d}; proxy_temp_path {d}; fastcgi_temp_path {d}; uwsgi_temp_path {d}; scgi_temp_path {d};
  server {{ listen 8080 backlog=16384; location / {{ return 200 "{body}"; }} }}
}}
"""


class LenoMesh:
    def __init__(self, name, leno):
        self.name = name
        self.leno = leno

    def start(self, processes, _topology, place, cpus):
        started = []
        try:
            return self.started(processes, place, cpus, started)
        except Failed:
            processes.stop(started[::-1])
            raise

    def started(self, processes, place, cpus, started):
        def launch(name, argv, on):
            process = processes.start([self.leno, *argv], on, f"{place.directory}/{name}.log", cwd=place.directory)
            started.append(process)
            return process

        rendezvous = f"{place.directory}/control.json"
        control = launch("control", self.control(place, rendezvous), cpus.load)
        join = json.loads(wait_for(control, lambda: read(rendezvous)))
        flags = ["--control", join["address"], "--ca", join["ca"], "--token", join["token"], "--drain", "1ms"]
        application = place.write("app.conf", APPLICATION.format(d=place.directory, body=BODY))
        command = ["taskset", "-c", ",".join(map(str, cpus.load)), program("nginx"), "-c", application]
        backend = ["--service", "backend", "--version", "v1", "--port", "8080:http", "--", *command]
        far = launch("backend", ["run", *flags, *backend], cpus.proxy)
        near = launch("client", ["run", *flags, "--service", "client", "--", "sleep", "3600"], cpus.proxy)
        inside = wait_for(near, lambda: command_of(near.pid, "sleep"))
        server = wait_for(far, lambda: command_of(far.pid, "nginx"))
        enter = ["nsenter", f"--target={inside}", "--net", *user_namespace(inside)]
        wait_for(near, lambda: answers(processes, enter, cpus.load))
        roles = {"a": own(near.pid, inside), "b": own(far.pid, server)}
        return Running(self.name, SERVICE, started[::-1], roles, SIDECAR_HOST, enter)

    @staticmethod
    def control(place, rendezvous):
        mesh = f"{place.directory}/mesh"
        shutil.copytree(f"{CONFIGS}/sidecar-mesh", mesh)
        place.write("mesh/mesh.yaml", f"accessLogFile: {place.directory}/{LOG_FILE}\n")
        ports = ["--port", "0", "--plaintext-port", "0", "--admin-port", "0"]
        return ["control", "--config", mesh, "--state", f"{place.directory}/state", "--rendezvous", rendezvous, *ports]


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return None


def wait_for(process, what, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise Failed(f"{' '.join(process.args[:2])}: {read(process.log)[-1500:].strip()}")


def command_of(launcher, name):
    """The process of this name below the launcher."""
    for pid in tree(launcher):
        if (read(f"/proc/{pid}/comm") or "").strip() == name:
            return pid
    return None


def user_namespace(pid):
    """Entered only where it is another one: who has the rights already makes no new one."""
    same = os.readlink("/proc/self/ns/user") == os.readlink(f"/proc/{pid}/ns/user")
    return [] if same else ["--user", "--preserve-credentials"]


def own(launcher, command):
    """What is leno's: not the workload's command."""
    return [pid for pid in tree(launcher) if pid not in tree(command)]


def answers(processes, enter, cpus):
    """The service answers through both sidecars."""
    url = f"http://{SERVICE[0]}:{SERVICE[1]}/"
    try:
        out = processes.run([*enter, "wrk", "-t1", "-c1", "-d1s", "-H", f"Host: {SIDECAR_HOST}", url], cpus, 10)
    except Failed:
        return False
    return "Non-2xx" not in out and "Socket errors" not in out and " 0 requests in" not in out
