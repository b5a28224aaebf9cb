"""`just bench [ROW]...`: the table of what leno costs, against Envoy and its targets.

  just bench                                  every row
  just bench http1 tcp                        some of them
  just bench http1 --rounds 30 --json f.json  longer; every round's figures into a file
  LENO=target/release/leno just bench http1   a binary that exists, instead of building one (fat LTO: minutes)
  just bench http1 --also old=/path/to/leno   another binary at its side

The proxies have one core, load and backend the other, in a network namespace of their own. The figure is CPU time
(user and system, of the proxy); what holds from run to run is its ratio to Envoy's, round by round. Less is better.
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from . import backend, machine, report, scaling, syscalls
from .leno_mesh import LenoMesh
from .processes import Failed, Processes
from .proxies import Bootstrapped, EnvoySidecar, HaProxy, Nginx
from .rounds import Bench, Cpus, Settings
from .rows import ROWS, Load

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NEEDS = ["nginx", "wrk", "h2load", "openssl", "ip"]
BUILD = ["cargo", "build", "--profile", "bench", "--package", "leno"]
# Tables of their own.
EXTRAS = {module.NAME: module for module in (scaling, syscalls)}
LENO_COMMAND = "{} proxy -c {{config}} --concurrency {{workers}}"
BUILT = f"{ROOT}/target/bench/leno"


def arguments():
    names = {row.name: row for row in ROWS} | EXTRAS
    parser = argparse.ArgumentParser(
        prog="just bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(names))
    parser.add_argument("--rounds", type=int, default=10, help="for CPU, default 10")
    parser.add_argument("--seconds", type=int, default=1, help="of a round, default 1")
    parser.add_argument("--latency-rounds", type=int, default=8, help="default 8; 0: no latency")
    parser.add_argument("--latency-seconds", type=int, default=1, help="default 1")
    parser.add_argument("--workers", type=int, default=1, help="of each proxy, default 1")
    parser.add_argument("--only-leno", action="store_true", help="without HAProxy and nginx")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=LENO", help="another leno binary")
    parser.add_argument("--proxy-cpus", type=cpus, default={1}, metavar="CPUS", help="default 1")
    parser.add_argument("--load-cpus", type=cpus, default={0}, metavar="CPUS", help="default 0")
    parser.add_argument("--nice", type=int, default=0, help="of all processes, such as -15 on a shared machine")
    parser.add_argument("--json", metavar="FILE", help="every round's figures")
    parser.add_argument("--gate", action="store_true", help="exit with 1 if a “must” is missed")
    parser.add_argument("--keep", metavar="DIR", help="keep configurations and logs there")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.rows if name not in names]
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(names)}")
    if not (0 < chosen.rounds <= 50 and 0 < chosen.seconds <= 60):
        parser.error("--rounds 1 to 50, --seconds 1 to 60")
    wanted = [names[name] for name in chosen.rows or names]
    chosen.rows = [each for each in wanted if each in ROWS]
    chosen.extras = [each for each in wanted if each not in ROWS]
    return chosen


def cpus(text):
    return {int(cpu) for cpu in text.split(",")}


def leno_binary():
    """LENO, else what cargo builds now."""
    if os.environ.get("LENO"):
        path = os.path.abspath(os.environ["LENO"])
        if not os.access(path, os.X_OK):
            sys.exit(f"error: no program — LENO={path} — name one that is built, or unset LENO")
        return path
    if subprocess.run(BUILD, cwd=ROOT).returncode:
        sys.exit(1)
    return BUILT


def contestants(row, chosen, leno):
    """Envoy first, then leno, then the others."""
    envoy = shlex.quote(machine.envoy()) + " -c {config} --concurrency {workers} --disable-hot-restart -l error"
    own = LENO_COMMAND.format(shlex.quote(leno))
    first = Bootstrapped(report.ENVOY, envoy)
    if row.noise:
        return [first, Bootstrapped("envoy-2", envoy)]
    if row.topology == "sidecar":
        same = EnvoySidecar("leno-static", own)
        return [EnvoySidecar(report.ENVOY, envoy), LenoMesh(report.LENO, leno), same]
    listed = [first, Bootstrapped(report.LENO, own)]
    for also in chosen.also:
        name, _, path = also.partition("=")
        listed.append(Bootstrapped(name, LENO_COMMAND.format(shlex.quote(path))))
    if not chosen.only_leno:
        listed += [HaProxy(), Nginx()]
    return listed


def measure(chosen, leno, results, extras):
    settings = Settings(
        rounds=chosen.rounds,
        seconds=chosen.seconds,
        latency_rounds=chosen.latency_rounds,
        latency_seconds=chosen.latency_seconds,
        workers=chosen.workers,
        cpus=Cpus(chosen.proxy_cpus, chosen.load_cpus),
    )
    directory = tempfile.mkdtemp(prefix="meshbench-")
    try:
        with Processes(chosen.nice) as processes:
            backend.make_certificates(f"{directory}/certificates")
            bench = Bench(processes, backend.start(processes, directory, chosen.load_cpus), directory, settings)
            for row in chosen.rows:
                results.append(report.Result(row, bench.row(row, contestants(row, chosen, leno))))
            for extra in chosen.extras:
                first, own, *others = contestants(syscalls.ROW, chosen, leno)
                extras.append((extra, extra.measure(bench, first, own, others)))
    finally:
        if chosen.keep:
            shutil.copytree(directory, chosen.keep, ignore=shutil.ignore_patterns("big"), dirs_exist_ok=True)
        shutil.rmtree(directory, ignore_errors=True)


def tell(chosen, results, extras, facts):
    present = dict.fromkeys(name for result in results for name in result.rounds)
    others = [name for name in present if name not in ("envoy", "envoy-2", "leno")]
    print(", ".join(f"{key} {value}" for key, value in facts.items() if value))
    if results:
        print(f"\n{report.costs(results, others)}\n\n{report.latencies(results)}")
    for extra, measured in extras:
        print(f"\n{extra.TITLE}\n\n{extra.show(measured)}")
    if chosen.json:
        with open(chosen.json, "w") as file:
            rows = {result.row.name: result.as_json() for result in results}
            rows |= {extra.NAME: extra.as_json(measured) for extra, measured in extras}
            json.dump({"facts": facts, "rows": rows}, file, indent=1, ensure_ascii=False)


def main():
    chosen = arguments()
    lacking = machine.missing(NEEDS + ["strace"] * (syscalls in chosen.extras))
    if lacking:
        sys.exit("\n".join(f"error: {each}" for each in lacking))
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda number, _: sys.exit(128 + number))
    leno = leno_binary()
    facts = machine.facts(leno, ROOT)
    machine.raise_limits()
    machine.enter_own_network()
    results, extras = [], []
    try:
        measure(chosen, leno, results, extras)
    except Failed as failure:
        sys.exit(f"error: {failure}")
    finally:
        if results or extras:
            tell(chosen, results, extras, facts)
    missed = [result.missed() for result in results] + [extra.missed(measured) for extra, measured in extras]
    if chosen.gate and any(missed):
        sys.exit(1)


if __name__ == "__main__":
    main()
