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

from . import backend, machine, report
from .processes import Failed, Processes
from .proxies import Bootstrapped, HaProxy, Nginx
from .rounds import Bench, Settings
from .rows import ROWS, Load

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NEEDS = ["nginx", "wrk", "h2load", "openssl", "ip"]
BUILD = ["cargo", "build", "--profile", "bench", "--package", "leno"]
BUILT = f"{ROOT}/target/bench/leno"


def arguments():
    names = {row.name: row for row in ROWS}
    parser = argparse.ArgumentParser(
        prog="just bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(names))
    parser.add_argument("--rounds", type=int, default=10, help="for CPU, default 10")
    parser.add_argument("--seconds", type=int, default=1, help="of a round, default 1")
    parser.add_argument("--latency-rounds", type=int, default=4, help="default 4; 0: no latency")
    parser.add_argument("--latency-seconds", type=int, default=2, help="default 2")
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
    chosen.rows = [names[name] for name in chosen.rows] or ROWS
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
    envoy = shlex.quote(machine.envoy()) + " -c {config} --concurrency {workers} --disable-hot-restart -l error"
    own = " proxy -c {config} --concurrency {workers}"
    first = Bootstrapped(report.ENVOY, envoy)
    if row.noise:
        return [first, Bootstrapped("envoy-2", envoy)]
    listed = [first, Bootstrapped(report.LENO, shlex.quote(leno) + own)]
    for also in chosen.also:
        name, _, path = also.partition("=")
        listed.append(Bootstrapped(name, shlex.quote(path) + own))
    # Their bulk and memory are not what leno is measured against, and take as long.
    if not chosen.only_leno:
        listed += [HaProxy(), Nginx()]
    return listed


def measure(chosen, leno, results):
    settings = Settings(
        rounds=chosen.rounds,
        seconds=chosen.seconds,
        latency_rounds=chosen.latency_rounds,
        latency_seconds=chosen.latency_seconds,
        workers=chosen.workers,
        proxy_cpus=chosen.proxy_cpus,
        load_cpus=chosen.load_cpus,
    )
    directory = tempfile.mkdtemp(prefix="meshbench-")
    try:
        with Processes(chosen.nice) as processes:
            backend.make_certificates(f"{directory}/certificates")
            bench = Bench(processes, backend.start(processes, directory, settings.load_cpus), directory, settings)
            for row in chosen.rows:
                results.append(report.Result(row, bench.row(row, contestants(row, chosen, leno))))
    finally:
        if chosen.keep:
            shutil.copytree(directory, chosen.keep, ignore=shutil.ignore_patterns("big"), dirs_exist_ok=True)
        shutil.rmtree(directory, ignore_errors=True)


def tell(chosen, results, facts):
    others = [name for name in dict.fromkeys(n for r in results for n in r.rounds) if name not in ("envoy-2", "envoy", "leno")]
    print(", ".join(f"{key} {value}" for key, value in facts.items() if value))
    print(f"\n{report.costs(results, others)}")
    print(f"\n{report.latencies(results)}")
    if chosen.json:
        with open(chosen.json, "w") as file:
            rows = {result.row.name: result.as_json() for result in results}
            json.dump({"facts": facts, "rows": rows}, file, indent=1, ensure_ascii=False)


def main():
    chosen = arguments()
    lacking = machine.missing(NEEDS)
    if lacking:
        sys.exit("\n".join(f"error: {each}" for each in lacking))
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda number, _: sys.exit(128 + number))
    leno = leno_binary()
    facts = machine.facts(leno, ROOT)
    machine.raise_limits()
    machine.enter_own_network()
    results = []
    try:
        measure(chosen, leno, results)
    except Failed as failure:
        sys.exit(f"error: {failure}")
    finally:
        if results:
            tell(chosen, results, facts)
    if chosen.gate and any(result.missed() for result in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
