"""Rounds in turns: what is compared is measured within seconds of each other, A B C and then C B A.

On a virtual machine the same proxy differs by half over tens of seconds; the ratio of neighbours holds.
"""

import dataclasses
import os
import sys

from . import load, proxies
from .processes import Failed
from .rows import Load

WARM_UP = 1


@dataclasses.dataclass
class Cpus:
    """Who runs where."""

    proxy: set
    load: set


@dataclasses.dataclass
class Settings:
    rounds: int
    seconds: int
    latency_rounds: int
    latency_seconds: int
    workers: int
    cpus: Cpus


class Bench:
    """A backend, certificates and a directory, and what is measured with them."""

    def __init__(self, processes, backend, directory, settings):
        self.processes = processes
        self.backend = backend
        self.directory = directory
        self.settings = settings
        self.places = 0

    def row(self, row, contestants):
        """{proxy: [{figure: value} of each round]}, the order of contestants."""
        if row.load in (Load.FRESH, Load.USED, Load.IDLE):
            return self.memory(row, contestants)
        running = self.start(row, contestants)
        try:
            return self.turns(row, running)
        finally:
            self.stop(running)

    def turns(self, row, running):
        settings, measured = self.settings, {each.name: [] for each in running}
        for each in running:
            load.measure(self.processes, row, each, WARM_UP, settings.cpus.load)
        for number in range(row.rounds or settings.rounds):
            progress(row, number + 1, "CPU")
            for each in running if number % 2 == 0 else running[::-1]:
                figures = load.measure(self.processes, row, each, settings.seconds, settings.cpus.load)
                measured[each.name].append(figures)
        for number in range(settings.latency_rounds if row.rate else 0):
            progress(row, number + 1, "latency")
            # Of Envoy and leno: the others are there for what a request costs.
            for each in running[:2] if number % 2 == 0 else running[1::-1]:
                figures = load.latency(self.processes, row, each, settings.latency_seconds, settings.cpus.load)
                if len(measured[each.name]) <= number:
                    measured[each.name].append({})
                measured[each.name][number] |= figures
        return measured

    def memory(self, row, contestants):
        """A proxy just started for each round: what was freed once is not asked of the system again."""
        measured = {}
        for number in range(min(row.rounds, self.settings.rounds)):
            progress(row, number + 1, "memory")
            for contestant in contestants:
                running = self.start(row, [contestant])
                try:
                    for each in running:
                        figures = load.measure(self.processes, row, each, 0, self.settings.cpus.load)
                        measured.setdefault(each.name, []).append(figures)
                finally:
                    self.stop(running)
        return measured

    def start(self, row, contestants):
        started = []
        try:
            for contestant in contestants:
                place = self.place(contestant.name)
                running = contestant.start(self.processes, row.topology, place, self.settings.cpus)
                if running:
                    started.append(running)
        except Failed:
            self.stop(started)
            raise
        return started

    def stop(self, running):
        self.processes.stop([process for each in running for process in each.processes])

    def place(self, name):
        self.places += 1
        os.makedirs(f"{self.directory}/{self.places}-{name}")
        return proxies.Place(
            directory=f"{self.directory}/{self.places}-{name}",
            certificates=f"{self.directory}/certificates",
            workers=self.settings.workers,
            backend_h1=self.backend.h1,
            backend_h2=self.backend.h2,
        )


def progress(row, number, what):
    if sys.stderr.isatty():
        print(f"\r\033[K{row.name}: {what}, round {number}", end="", file=sys.stderr, flush=True)
