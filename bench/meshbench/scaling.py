"""One worker and two, with few connections and many.

Where there are four cores, two are the proxies' and the rest the load's. Where there are two, all share both: then
throughput is that of the whole machine, and says how much of it a proxy takes away from what it serves; the CPU a
request costs and how evenly the workers share it are the proxy's own.
"""

import dataclasses
import os

from .report import ENVOY, LENO, Result, table
from .rounds import Cpus
from .rows import Load, Row

NAME = "scaling"
TITLE = "throughput and cost with one worker and two"
WORKERS = (1, 2)
CONNECTIONS = (4, 8, 64)
ROUNDS = 5


def measure(bench, envoy, leno, _others):
    """{(workers, connections): Result}"""
    everything = bench.settings
    results = {}
    try:
        for workers in WORKERS:
            rounds = min(everything.rounds, ROUNDS)
            bench.settings = dataclasses.replace(everything, workers=workers, rounds=rounds, cpus=shares())
            for connections in CONNECTIONS:
                name = f"{NAME}, {workers} × {connections}"
                row = Row(name, TITLE, "http1", Load.KEPT, connections=connections, rate=0)
                results[workers, connections] = Result(row, bench.row(row, [envoy, leno]))
    finally:
        bench.settings = everything
    return results


def shares():
    cores = sorted(os.sched_getaffinity(0))
    return Cpus(set(cores[:2]), set(cores[2:] if len(cores) >= 4 else cores))


def show(results):
    header = ["workers", "connections", "Envoy req/s", "leno req/s", "req/s leno / Envoy", "CPU leno / Envoy"]
    header += ["busiest Envoy", "busiest leno", ""]
    lines = []
    for (workers, connections), result in results.items():
        rates = [f"{result.median(name, 'per_second'):,.0f}" for name in (ENVOY, LENO)]
        busiest = [f"{result.median(name, 'busiest'):.0%}" for name in (ENVOY, LENO)]
        ratios = [str(result.ratio(figure="per_second")), str(result.ratio())]
        lines.append([str(workers), str(connections), *rates, *ratios, *busiest, "MISS" if slower(result) else "pass"])
    return table(header, lines)


def slower(result):
    return result.ratio(figure="per_second").median < 1


def missed(results):
    return any(slower(result) for result in results.values())


def as_json(results):
    return {f"{workers} × {connections}": result.as_json() for (workers, connections), result in results.items()}
