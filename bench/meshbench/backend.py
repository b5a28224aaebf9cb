"""What the proxies stand before: one nginx, and certificates for the pairs."""

import os
import subprocess
from dataclasses import dataclass

from .machine import program
from .processes import free_port, wait_for_port

BIG = 256 << 20
BODY = "x" * 128
CONFIGURATION = """
daemon off; master_process off; user root; worker_processes 1; pid {d}/nginx.pid; error_log {d}/backend.err warn;
worker_rlimit_nofile 20000;
events {{ worker_connections 18000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; sendfile on; tcp_nodelay on;
  http2_max_concurrent_streams 1024; client_body_temp_path {d}; proxy_temp_path {d};
  fastcgi_temp_path {d}; uwsgi_temp_path {d}; scgi_temp_path {d}; default_type text/plain;
  server {{
    listen 127.0.0.1:{h1} backlog=16384;
    location /big {{ root {d}; }}
    location / {{ return 200 "{body}"; }}
  }}
  server {{ listen 127.0.0.1:{h2} http2 backlog=16384; location / {{ return 200 "{body}"; }} }}
}}
"""


@dataclass
class Backend:
    h1: int
    h2: int


def start(processes, directory, cpus):
    backend = Backend(free_port(), free_port())
    with open(f"{directory}/nginx.conf", "w") as file:
        file.write(CONFIGURATION.format(d=directory, h1=backend.h1, h2=backend.h2, body=BODY))
    with open(f"{directory}/big", "wb") as file:
        file.truncate(BIG)
    argv = [program("nginx"), "-c", f"{directory}/nginx.conf"]
    process = processes.start(argv, cpus, f"{directory}/backend.log")
    wait_for_port(backend.h1, process)
    wait_for_port(backend.h2, process)
    return backend


def make_certificates(directory):
    """A P-256 authority and two leaves, spiffe://bench/a and spiffe://bench/b; each also in one file (HAProxy)."""
    os.makedirs(directory)

    def openssl(*argv):
        subprocess.run(["openssl", *argv], check=True, cwd=directory, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *key, "-days", "30", "-subj", "/CN=bench-ca", "-keyout", "ca.key", "-out", "ca.crt")
    for name in "ab":
        with open(f"{directory}/{name}.ext", "w") as file:
            file.write(
                f"subjectAltName=critical,URI:spiffe://bench/{name},DNS:peer-{name}.bench\n"
                "extendedKeyUsage=serverAuth,clientAuth\nkeyUsage=digitalSignature\nbasicConstraints=CA:FALSE\n"
            )
        openssl("req", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        sign = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30"]
        openssl("x509", "-req", "-in", f"{name}.csr", *sign, "-extfile", f"{name}.ext", "-out", f"{name}.crt")
        with open(f"{directory}/{name}.pem", "w") as both:
            for part in ("crt", "key"):
                with open(f"{directory}/{name}.{part}") as file:
                    both.write(file.read())
