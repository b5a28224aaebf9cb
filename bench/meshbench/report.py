"""What was measured, against the targets."""

import dataclasses
import statistics

from .rows import Row, Unit

# Of p99, Envoy against Envoy differs by this much.
TAIL_NOISE = 1.15
ENVOY = "envoy"
LENO = "leno"


@dataclasses.dataclass
class Spread:
    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values):
        return cls(min(values), statistics.median(values), max(values)) if values else None

    def __str__(self):
        return f"{self.median:.2f} ({self.low:.2f} … {self.high:.2f})"


@dataclasses.dataclass
class Result:
    row: Row
    # {proxy: [{figure: value}]}
    rounds: dict

    @property
    def subject(self):
        """Who is measured against Envoy."""
        return "envoy-2" if self.row.noise else LENO

    def median(self, proxy, figure="value"):
        values = [each[figure] for each in self.rounds.get(proxy, []) if figure in each]
        return statistics.median(values) if values else None

    def ratio(self, proxy=None, figure="value"):
        """To Envoy, round by round."""
        pairs = zip(self.rounds.get(proxy or self.subject, []), self.rounds.get(ENVOY, []))
        return Spread.of([a[figure] / b[figure] for a, b in pairs if figure in a and b.get(figure)])

    def meets(self, target):
        """None: there is no target, or nothing was measured."""
        ratio = self.ratio()
        figure = self.median(self.subject) if self.row.absolute else ratio and ratio.median
        return None if target is None or figure is None else figure <= target

    def tail(self):
        """p99 against Envoy's, as the ratio of medians: a round in which the machine stood still does not decide."""
        ours, theirs = self.median(self.subject, "p99_us"), self.median(ENVOY, "p99_us")
        return ours / theirs if ours and theirs else None

    def tail_holds(self):
        """p99 no worse than Envoy's; None: not measured."""
        tail = self.tail()
        return None if tail is None or self.row.noise else tail <= TAIL_NOISE

    def errors(self):
        return sum(each.get("errors", 0) for rounds in self.rounds.values() for each in rounds)

    def missed(self):
        return self.meets(self.row.must) is False or self.tail_holds() is False or self.errors() > 0

    def as_json(self):
        spread = self.ratio()
        return {
            "title": self.row.title,
            "unit": self.row.unit.value,
            "must": self.row.must,
            "then": self.row.then,
            "absolute": self.row.absolute,
            "ratio": spread and dataclasses.asdict(spread),
            "meets_must": self.meets(self.row.must),
            "meets_then": self.meets(self.row.then),
            "tail": self.tail(),
            "tail_holds": self.tail_holds(),
            "rounds": self.rounds,
        }


def number(value, unit):
    if value is None:
        return "–"
    if unit is Unit.BYTES:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def target(value, row):
    return "–" if value is None else f"{value:,}" if row.absolute else f"{value:g}"


def mark(result):
    if result.errors():
        return f"{result.errors()} ERRORS"
    if result.meets(result.row.then):
        return "then"
    return {True: "pass", False: "MISS", None: ""}[result.meets(result.row.must)]


def costs(results, others):
    """The table of what a request, a gigabyte or a connection costs."""
    names = [ENVOY, *others, LENO]
    header = ["work", "row", "unit", *names, "leno / Envoy", "must", "then", ""]
    lines = []
    for result in results:
        row = result.row
        figures = [number(result.median(name), row.unit) for name in names[:-1]]
        figures.append(number(result.median(result.subject), row.unit))
        lines.append(
            [row.title, row.name, row.unit.value, *figures, str(result.ratio() or "–")]
            + [target(row.must, row), target(row.then, row), mark(result)]
        )
    return table(header, lines)


def latencies(results):
    header = ["row", "requests/s", "Envoy p50 / p99 µs", "leno p50 / p99 µs", "p99 leno / Envoy", ""]
    lines = []
    for result in results:
        if result.median(ENVOY, "p99_us") is None:
            continue
        pairs = [
            " / ".join(number(result.median(name, figure), Unit.BYTES) for figure in ("p50_us", "p99_us"))
            for name in (ENVOY, result.subject)
        ]
        verdict = {True: "pass", False: "MISS", None: ""}[result.tail_holds()]
        lines.append([result.row.name, str(result.row.rate), *pairs, f"{result.tail():.2f}", verdict])
    return table(header, lines) if lines else ""


def table(header, lines):
    """Markdown, aligned for a terminal."""
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]
    fill = lambda line: "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |"
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([fill(header), rule, *map(fill, lines)])
