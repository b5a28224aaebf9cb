"""The proxies: Envoy and leno on the same bootstrap, HAProxy and nginx on the nearest they have."""

import json
import os
import shlex
import string
import time
from dataclasses import dataclass, field

from . import machine
from .processes import Failed, free_port, tree, wait_for_port

CONFIGS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "configs")
# The host that the routes of the row “sidecar” are of.
SIDECAR_HOST = "backend:8080"
PAIRS = {"pair", "pair-h2", "tcp-mtls", "sidecar"}
LOG_FILE = "access.log"


@dataclass
class Place:
    """Where an instance of a proxy is put: its directory, and the ports that its configuration names."""

    directory: str
    certificates: str
    workers: int
    backend_h1: int
    backend_h2: int
    listen_a: int = field(default_factory=free_port)
    listen_b: int = field(default_factory=free_port)
    admin_a: int = field(default_factory=free_port)
    admin_b: int = field(default_factory=free_port)

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w") as file:
            file.write(text)
        return path


@dataclass
class Running:
    """A proxy, or a pair of which `a` is what clients meet."""

    name: str
    target: tuple
    # What ends it.
    processes: list
    # {role: process ids}: whose CPU and memory count.
    roles: dict
    # The `Host` of requests; None: the target.
    host: str | None = None
    # What puts a client where the proxy is met.
    enter: list = field(default_factory=list)

    @property
    def pids(self):
        return [pid for pids in self.roles.values() for pid in pids]


def rules(count=1000):
    """RBAC of so many policies, as an ALLOW policy each makes them: a method and a path, of any caller. The request of the
    load is the last one's."""

    def policy(path):
        matches = [
            {"header": {"name": ":method", "string_match": {"exact": "GET"}}},
            {"url_path": {"path": {"exact": path}}},
        ]
        return {"permissions": [{"and_rules": {"rules": matches}}], "principals": [{"any": True}]}

    paths = [f"/service-{number}" for number in range(count - 1)] + ["/"]
    policies = {f"ns[default]-policy[p{at}]-rule[0]": policy(path) for at, path in enumerate(paths)}
    return json.dumps({"action": "ALLOW", "policies": policies})


class Commanded:
    """A proxy that is one command a role."""

    def start(self, processes, topology, place, cpus):
        """None: this proxy cannot do it."""
        commands = self.commands(topology, place)
        if commands is None:
            return None
        started = {}
        try:
            for role, argv, port in commands:
                started[role] = processes.start(argv, cpus.proxy, f"{place.directory}/{role}.log", cwd=place.directory)
                wait_for_port(port, started[role])
        except Failed:
            processes.stop(list(started.values()))
            raise
        # A master's workers come after its port.
        time.sleep(0.2)
        roles = {role: tree(process.pid) for role, process in started.items()}
        return Running(self.name, ("127.0.0.1", place.listen_a), list(started.values()), roles)

    def commands(self, topology, place):
        """[(role, argv, port)] in the order to start them; None: this proxy cannot do it."""
        raise NotImplementedError


class Bootstrapped(Commanded):
    """A proxy that reads an Envoy v3 bootstrap."""

    def __init__(self, name, command):
        self.name = name
        self.command = command

    def configurations(self, topology, place):
        """{role: bootstrap}; the far one first, so that the near one finds it."""
        files = {"b": f"{topology}-in", "a": f"{topology}-out"} if topology in PAIRS else {"a": topology}
        if topology == "pair-h2":
            files["a"] = "pair-out"
        return {role: self.render(name, place) for role, name in files.items()}

    @staticmethod
    def render(name, place):
        with open(f"{CONFIGS}/{name}.yaml") as file:
            template = string.Template(file.read())
        return template.substitute(
            LISTEN_A=place.listen_a,
            LISTEN_B=place.listen_b,
            ADMIN_A=place.admin_a,
            ADMIN_B=place.admin_b,
            BACKEND_H1=place.backend_h1,
            BACKEND_H2=place.backend_h2,
            CERTS=place.certificates,
            LOG=os.path.join(place.directory, LOG_FILE),
            RULES=rules(),
        )

    def commands(self, topology, place):
        return [
            (
                role,
                [
                    word.replace("{config}", place.write(f"{role}.yaml", text)).replace("{workers}", str(place.workers))
                    for word in shlex.split(self.command)
                ],
                place.listen_b if role == "b" else place.listen_a,
            )
            for role, text in self.configurations(topology, place).items()
        ]


class EnvoySidecar(Bootstrapped):
    """On what leno control sends to Envoy (envoy_sidecar.py)."""

    def start(self, processes, topology, place, cpus):
        running = super().start(processes, topology, place, cpus)
        running.host = SIDECAR_HOST
        return running


class HaProxy(Commanded):
    name = "haproxy"
    COMMON = """
global
  nbthread {workers}
  maxconn 9000
  ssl-server-verify required
defaults
  mode {mode}
  timeout connect 2s
  timeout client 600s
  timeout server 600s
  {options}
frontend f
  bind 127.0.0.1:{listen} {bind}
  default_backend b
backend b
  server s 127.0.0.1:{upstream} {server}
"""
    TCP = {"tcp", "tcp-mtls"}
    TOPOLOGIES = {"http1", "http1-log", "h2", "tcp", "pair", "tcp-mtls"}

    def commands(self, topology, place):
        program = machine.program("haproxy")
        if not program or topology not in self.TOPOLOGIES:
            return None
        h2 = {"h2": "proto h2"}.get(topology, "")
        if topology not in PAIRS:
            backend = place.backend_h2 if h2 else place.backend_h1
            return [self.command(program, "a", topology, place, (place.listen_a, h2), (backend, h2))]
        certificates = place.certificates
        alpn = "alpn h2" if topology == "pair" else ""
        mutual = f"ssl crt {certificates}/{{}}.pem ca-file {certificates}/ca.crt verify required {alpn}"
        tls = "ssl-min-ver TLSv1.3 no-tls-tickets"
        inner = (place.listen_b, f"{mutual.format('b')} {tls}"), (place.backend_h1, "")
        outer = (place.listen_a, ""), (place.listen_b, f"{mutual.format('a')} {tls} no-ssl-reuse sni str(peer-b.bench)")
        return [
            self.command(program, "b", topology, place, *inner),
            self.command(program, "a", topology, place, *outer),
        ]

    def command(self, program, role, topology, place, bind, server):
        options = "" if topology in self.TCP else "http-reuse always"
        text = self.COMMON.format(
            workers=place.workers,
            mode="tcp" if topology in self.TCP else "http",
            options=options,
            listen=bind[0],
            bind=bind[1],
            upstream=server[0],
            server=server[1],
        )
        path = place.write(f"{role}.cfg", text)
        return role, [program, "-db", "-f", path], bind[0]


class Nginx(Commanded):
    name = "nginx"
    CONFIGURATION = """
daemon off; {master} user root; worker_processes {workers}; pid {d}/p.pid; error_log {d}/err.log warn;
worker_rlimit_nofile 20000;
events {{ worker_connections 18000; }}
http {{
  access_log {log}; keepalive_requests 1000000000; keepalive_timeout 600s;
  client_body_temp_path {d}; proxy_temp_path {d}; fastcgi_temp_path {d}; uwsgi_temp_path {d}; scgi_temp_path {d};
  upstream b {{ server 127.0.0.1:{backend}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{listen} backlog=16384;
    location / {{ proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection ""; {buffering} }}
  }}
}}
"""

    def commands(self, topology, place):
        program = machine.program("nginx")
        if not program or topology not in {"http1", "http1-log"}:
            return None
        logged = topology == "http1-log"
        text = self.CONFIGURATION.format(
            # A lone process: a master only where there is more than one worker.
            master="master_process off;" if place.workers == 1 else "",
            workers=place.workers,
            d=place.directory,
            log=f"{place.directory}/{LOG_FILE} combined buffer=64k flush=1s" if logged else "off",
            backend=place.backend_h1,
            listen=place.listen_a,
            # Else bodies go by way of a file.
            buffering="proxy_max_temp_file_size 0;",
        )
        return [("a", [program, "-c", place.write("p.conf", text)], place.listen_a)]
