"""Where leno's microseconds go: `just bench-profile ROW [SECONDS]`, which is `perf` around the load of a row.

Prints, for each process of leno, shares by origin and then the functions that cost most. Build with
`cargo build --release` and name it with LENO: the names of functions come from its line tables.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter

from . import __main__ as bench
from . import backend, load, machine
from .leno_mesh import LenoMesh
from .processes import Failed, Processes
from .proxies import Bootstrapped
from .rounds import Bench, Cpus, Settings
from .rows import ROWS, Load

# The first that is in a symbol's name or its file's says where it belongs.
ORIGINS = {
    "allocator": r"_rjem|malloc|mallocx|__rust_(de|re)?alloc",
    "memory copied and compared": r"__mem(cpy|move|set|cmp)",
    "clock": r"vdso|clock_gettime",
    "tokio, mio": r"tokio|mio::|atomic_waker",
    "h2": r"\bh2::",
    "http, httparse, bytes": r"\bhttp::|httparse|bytes::",
    "TLS": r"rustls|aws_lc|aes|gcm|sha\d|ecp|p256",
    "leno-engine": "leno_engine",
    "leno-telemetry": "leno_telemetry",
    "leno-proxy": "leno_proxy",
}


def main():
    rows = {row.name: row for row in ROWS if row.load in (Load.KEPT, Load.NEW, Load.BULK)}
    if len(sys.argv) < 2 or sys.argv[1] not in rows:
        sys.exit(f"just bench-profile ROW [SECONDS]; ROW is one of {', '.join(rows)}")
    lacking = machine.missing([*bench.NEEDS, "perf"])
    if lacking:
        sys.exit("\n".join(f"error: {each}" for each in lacking))
    leno = bench.leno_binary()
    machine.raise_limits()
    machine.enter_own_network()
    directory = tempfile.mkdtemp(prefix="meshbench-")
    try:
        profile(rows[sys.argv[1]], leno, int(sys.argv[2]) if len(sys.argv) > 2 else 5, directory)
    except Failed as failure:
        sys.exit(f"error: {failure}")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def profile(row, leno, seconds, directory):
    settings = Settings(1, seconds, 0, 0, 1, Cpus({1}, {0}))
    own = LenoMesh("leno", leno) if row.topology == "sidecar" else Bootstrapped("leno", bench.LENO_COMMAND.format(leno))
    with Processes() as processes:
        backend.make_certificates(f"{directory}/certificates")
        rig = Bench(processes, backend.start(processes, directory, {0}), directory, settings)
        (running,) = rig.start(row, [own])
        load.measure(processes, row, running, 1, {0})
        recorders = {role: record(processes, pids, f"{directory}/{role}.data") for role, pids in running.roles.items()}
        time.sleep(0.3)
        figures = load.measure(processes, row, running, seconds, {0})
        for recorder in recorders.values():
            recorder.terminate()
            recorder.wait(20)
        print(f"{row.name}: {figures['value']:.1f} {row.unit.value}, with perf beside it")
        for role in running.roles:
            show(f"{directory}/{role}.data", role)


def record(processes, pids, file):
    argv = ["perf", "record", "-q", "-F", "997", "-p", ",".join(map(str, pids)), "-o", file]
    return processes.start(argv, {0}, f"{file}.log")


def show(file, role):
    argv = ["perf", "report", "-i", file, "--stdio", "--sort", "dso,sym"]
    text = subprocess.run(argv, capture_output=True, text=True).stdout
    found = [(float(share), *rest) for share, *rest in re.findall(r"^ +([\d.]+)% +(\S+) +\[(.)\] (.*)$", text, re.M)]
    origins = Counter()
    for share, dso, kind, symbol in found:
        origins[origin(dso, kind, symbol)] += share
    print(f"\n{role}: " + ", ".join(f"{name} {share:.0f} %" for name, share in origins.most_common() if share >= 0.5))
    for share, dso, _, symbol in found[:40]:
        print(f"{share:6.2f} %  {os.path.basename(dso):20} {symbol.strip()[:110]}")


def origin(dso, kind, symbol):
    if kind == "k":
        return "kernel"
    return next((name for name, pattern in ORIGINS.items() if re.search(pattern, f"{symbol} {dso}")), "other")


if __name__ == "__main__":
    main()
