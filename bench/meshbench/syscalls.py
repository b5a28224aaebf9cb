"""System calls a request: HTTP/1.1, keep-alive, 64 connections, counted by `strace -c`.

A short run and a long one: their difference has no connections being opened in it.
"""

import os
import re
import time

from .load import saturate
from .machine import program
from .processes import Failed
from .report import LENO, table
from .rows import Load, Row

NAME = "syscalls"
TITLE = "system calls a request"
ROW = Row(NAME, TITLE, "http1", Load.KEPT, rate=0)
SHORT, LONG = 1, 4
# leno's may be HAProxy's and so many more.
MORE = 1


def measure(bench, envoy, leno, others):
    """{proxy: {call: calls a request}}"""
    running = bench.start(ROW, [envoy, leno, *others])
    try:
        return {each.name: per_request(bench, each) for each in running}
    finally:
        bench.stop(running)


def per_request(bench, running):
    (few, calls), (many, more) = (counted(bench, running, seconds) for seconds in (SHORT, LONG))
    if many <= few:
        raise Failed(f"{running.name} answers too slowly under strace")
    return {name: (count - calls.get(name, 0)) / (many - few) for name, count in more.items()}


def counted(bench, running, seconds):
    """-> requests, {call: how often}"""
    summary = f"{bench.directory}/strace"
    argv = [program("strace"), "-f", "-c", "-o", summary, *(f"--attach={pid}" for pid in running.pids)]
    strace = bench.processes.start(argv, bench.settings.cpus.load, f"{bench.directory}/strace.log")
    time.sleep(0.3)
    requests, _, _ = saturate(bench.processes, ROW, running, seconds, bench.settings.cpus.load)
    strace.terminate()
    strace.wait(10)
    bench.processes.stop([strace])
    with open(summary) as file:
        # % time, seconds, usecs/call, calls, errors (or nothing), syscall
        lines = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) (?:.* )?([a-z]\w*)$", file.read(), re.M)
    os.remove(summary)
    return requests, {name: int(count) for count, name in lines if name != "total"}


def show(results):
    lines = []
    for name, calls in results.items():
        often = sorted(((count, call) for call, count in calls.items() if count >= 0.005), reverse=True)
        each = ", ".join(f"{call} {count:.2f}" for count, call in often)
        verdict = "" if name != LENO or "haproxy" not in results else "MISS" if missed(results) else "pass"
        lines.append([name, f"{sum(calls.values()):.2f}", each, verdict])
    return table(["proxy", "system calls a request", "which", ""], lines)


def missed(results):
    if LENO not in results or "haproxy" not in results:
        return False
    return sum(results[LENO].values()) > sum(results["haproxy"].values()) + MORE


def as_json(results):
    return results
