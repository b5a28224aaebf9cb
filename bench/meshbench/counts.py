"""Instructions that leno executes for a request, outside of the kernel: `just bench-count ROW [LENO]...`.

callgrind counts them, so the figure is the same on a busy machine as on an idle one: what a change is decided by.
Time it does not tell: neither the kernel's part nor what waits for memory. Several binaries stand beside each other;
the functions that cost most are those of the last.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter

from . import __main__ as bench
from . import backend, load, machine
from .processes import Failed, Processes
from .proxies import Bootstrapped
from .rounds import Bench, Cpus, Settings
from .rows import ROWS, Load

HERE = os.path.dirname(os.path.abspath(__file__))
# Seconds of load: under callgrind a request takes fifty times as long.
WARM, LONG = 3, 6
FUNCTIONS = 40
COMMAND = (
    "env LD_PRELOAD={directory}/self_exe.so LENO_EXE={leno} valgrind --tool=callgrind "
    "--callgrind-out-file={directory}/out.%p {leno} proxy -c {{config}} --concurrency {{workers}}"
)


def main():
    loads = (Load.KEPT, Load.NEW)
    rows = {row.name: row for row in ROWS if row.load in loads and row.topology != "sidecar" and not row.noise}
    if len(sys.argv) < 2 or sys.argv[1] not in rows:
        sys.exit(f"just bench-count ROW [LENO]...; ROW is one of {', '.join(rows)}")
    lacking = machine.missing([*bench.NEEDS, "valgrind", "cc"])
    if lacking:
        sys.exit("\n".join(f"error: {each}" for each in lacking))
    binaries = [os.path.abspath(path) for path in sys.argv[2:]] or [bench.leno_binary()]
    machine.raise_limits()
    machine.enter_own_network()
    for leno in binaries:
        directory = tempfile.mkdtemp(prefix="meshbench-")
        try:
            counted = count(rows[sys.argv[1]], leno, directory)
        except Failed as failure:
            sys.exit(f"error: {failure}")
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        sums = " + ".join(f"{sum(functions.values()):,.0f}" for functions in counted.values())
        print(f"{leno}: {sums} instructions", flush=True)
    for role, functions in counted.items():
        print(f"\n{role}")
        for name, each in functions.most_common(FUNCTIONS):
            print(f"{each:8,.0f}  {name[:110]}")


def count(row, leno, directory):
    """{role: {function: its own instructions a request}}"""
    shared = ["-shared", "-fPIC", "-o", f"{directory}/self_exe.so", f"{HERE}/self_exe.c", "-ldl"]
    subprocess.run(["cc", *shared], check=True)
    settings = Settings(1, LONG, 0, 0, 1, Cpus({1}, {0}))
    with Processes() as processes:
        backend.make_certificates(f"{directory}/certificates")
        rig = Bench(processes, backend.start(processes, directory, {0}), directory, settings)
        command = COMMAND.format(directory=directory, leno=leno)
        (running,) = rig.start(row, [Bootstrapped("leno", command)])
        load.measure(processes, row, running, WARM, {0})
        control(running, "--zero")
        requests, _, _ = load.saturate(processes, row, running, LONG, {0})
        control(running, "--dump")
        if not requests:
            raise Failed("not one request was answered")
        return {
            role: Counter({name: own / requests for name, own in functions(f"{directory}/out.{pid}.1").items()})
            for role, (pid, *_) in running.roles.items()
        }


def control(running, what):
    for pid in running.pids:
        subprocess.run(["callgrind_control", what, str(pid)], check=True, capture_output=True)


def functions(dump):
    """{function: its own instructions} of a file in callgrind's format."""
    names, own, function, of_callee = {}, Counter(), None, False
    with open(dump) as file:
        for line in file:
            named = re.match(r"(c?fn)=\((\d+)\)(?: (.*))?", line)
            if named:
                if named[3]:
                    names[named[2]] = named[3]
                if named[1] == "fn":
                    function = named[2]
            elif line.startswith("calls="):
                # The next line is what was spent in what is called.
                of_callee = True
            elif cost := re.match(r"[+-]?\d+ (\d+)|\* (\d+)", line):
                if not of_callee:
                    own[function] += int(cost[1] or cost[2])
                of_callee = False
    return Counter({names.get(function, function): count for function, count in own.items()})


if __name__ == "__main__":
    main()
