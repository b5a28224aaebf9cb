"""The load: what it does to one proxy, and what the proxy spent on it."""

import os
import re
import socket
import sys
import time

from .processes import Failed, cpu_seconds, rss_bytes, thread_ticks
from .proxies import PAIRS
from .rows import Load

HERE = os.path.dirname(os.path.abspath(__file__))
H2_CLIENT = {"h2", "pair-h2"}
H2_CONNECTIONS, H2_STREAMS = 8, 8
RATE_CONNECTIONS = 32
# Connections of one source address: fewer than it has ports.
PER_SOURCE = 4000
# For a proxy to come to rest after its start, or after the last of many connections.
REST = 1.5


def measure(processes, row, running, seconds, cpus):
    """One round: {figure: value}."""
    if row.load is Load.FRESH:
        time.sleep(REST)
        return {"value": rss_bytes(running.pids) / (1 << 20)}
    if row.load is Load.USED:
        with first_answer(running):
            return {"value": rss_bytes(running.pids) / (1 << 20)}
    if row.load is Load.IDLE:
        return {"value": idle(running, row.connections)}
    threads = thread_ticks(running.pids)
    before = {role: cpu_seconds(pids) for role, pids in running.roles.items()}
    if row.load is Load.BULK:
        count, took = download(processes, running.target, seconds, cpus)
        errors, amount = 0, count / 1e9
    else:
        count, took, errors = saturate(processes, row, running, seconds, cpus)
        amount = count / 1e6
    if not count:
        raise Failed("not one request was answered")
    spent = {role: cpu_seconds(pids) - before[role] for role, pids in running.roles.items()}
    figures = {
        "value": sum(spent.values()) / amount,
        "per_second": count / took,
        "cores": sum(spent.values()) / took,
        "busiest": busiest(threads, thread_ticks(running.pids)),
        "errors": errors,
        "rss_mib": rss_bytes(running.pids) / (1 << 20),
    }
    if row.topology in PAIRS:
        figures |= {f"value_{role}": cpu / amount for role, cpu in spent.items()}
    return figures


def busiest(before, after):
    """The share of all CPU time that the busiest thread had."""
    ticks = [count - before.get(thread, 0) for thread, count in after.items()]
    return max(ticks, default=0) / max(sum(ticks), 1)


def saturate(processes, row, running, seconds, cpus):
    """-> requests, seconds, errors"""
    url = f"http://{running.target[0]}:{running.target[1]}/"
    if row.topology in H2_CLIENT:
        return h2load(processes, url, seconds, cpus)
    argv = [*running.enter, "wrk", "-t1", f"-c{row.connections}", f"-d{seconds}s"]
    if running.host:
        argv += ["-H", f"Host: {running.host}"]
    if row.load is Load.NEW:
        argv += ["-H", "Connection: close"]
    out = processes.run([*argv, url], cpus, seconds + 30)
    done = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", out)
    if not done:
        raise Failed(f"wrk: {out[-300:]}")
    errors = sum(int(count) for count in re.findall(r"Non-2xx or 3xx responses: (\d+)", out))
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    if sockets:
        errors += sum(int(count) for count in sockets.groups())
    return int(done[1]), float(done[2]) * {"ms": 1e-3, "s": 1, "m": 60}[done[3]], errors


def h2load(processes, url, seconds, cpus):
    argv = ["h2load", "-c", str(H2_CONNECTIONS), "-m", str(H2_STREAMS), "-D", str(seconds), url]
    out = processes.run(argv, cpus, seconds + 30)
    done = re.search(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", out)
    if not done:
        raise Failed(f"h2load: {out[-300:]}")
    errors = int(done[2]) + int(done[4]) + int(re.search(r", (\d+) 5xx", out)[1])
    return int(done[1]), seconds, errors


def latency(processes, row, running, seconds, cpus):
    """p50 and p99 at the row's rate, evenly paced."""
    mode = "new" if row.load is Load.NEW else "h2" if row.topology in H2_CLIENT else "h1"
    (address, port), host = running.target, running.host or f"{running.target[0]}:{running.target[1]}"
    argv = [*running.enter, sys.executable, f"{HERE}/paced.py", address, port, host]
    argv += [row.rate, seconds, RATE_CONNECTIONS, mode]
    p50, p99 = processes.run([str(word) for word in argv], cpus, seconds * 3 + 40).split()
    return {"p50_us": int(p50), "p99_us": int(p99)}


def download(processes, target, seconds, cpus):
    """-> bytes, seconds"""
    argv = [sys.executable, f"{HERE}/download.py", target[0], str(target[1]), str(seconds)]
    count, took = processes.run(argv, cpus, seconds + 60).split()
    return int(count), float(took)


def first_answer(running):
    """The first connection, its request answered, of a proxy that has come to rest before and after."""
    time.sleep(REST)
    connection = answered(running, 0)
    time.sleep(REST)
    return connection


def answered(running, number):
    """A connection whose request was answered."""
    connection = socket.socket()
    try:
        connection.bind((f"127.0.0.{2 + number // PER_SOURCE}", 0))
        connection.settimeout(5)
        connection.connect(running.target)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
        if b"200" not in connection.recv(4096)[:20]:
            raise Failed("a request was not answered with 200")
    except OSError as error:
        raise Failed(f"connection {number}: {error}") from error
    return connection


def idle(running, count):
    """Bytes of memory that each of so many connections holds after one request; what the first request of all needs, most
    of it code, is not theirs."""
    held = [first_answer(running)]
    before = rss_bytes(running.pids)
    try:
        held += [answered(running, number) for number in range(1, count + 1)]
        time.sleep(REST)
        return (rss_bytes(running.pids) - before) / count
    finally:
        for connection in held:
            connection.close()
