"""Whether something grew during a soak: the first quarter of the samples against the last one."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import linear_regression, median

Sample = dict[str, float]
"""Figures by their names, such as `open files of process 1`."""

TRANSFERS = "transfers"
"""The figure that says how many rows the history has: it is kept for good, and what grows with it is no leak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How much higher a figure's median may be in the last quarter than in the first."""

    share: float = 0.0
    """As a share of the first quarter's median."""
    more: float = 0.0
    """In the figure's unit, added to the share."""
    per_transfer: float = 0.0
    """The same for each transfer in between."""
    at_most: float = 0.0
    """A value that is accepted in any case. A pool opens its connections one by one, when they are first needed."""


LIMITS = {
    # Python's allocator and the caches of libraries fill for some minutes.
    "resident memory": Limit(share=0.1, more=8),
    # Two workers with ten connections each, those with which MongoDB's clients watch it, and those that measure.
    "open files": Limit(more=10, at_most=60),
    "connections to the store": Limit(at_most=32),
    "transactions left open": Limit(),
    "size of the store": Limit(share=0.2, more=2, per_transfer=0.001),
    "size of the log": Limit(share=0.5, more=8),
    "records that expire": Limit(share=0.3, more=100),
}
"""By the beginning of the figure's name. Figures without a limit are not judged."""

MEMORY_LIMITS = LIMITS | {"resident memory": Limit(share=0.1, more=8, per_transfer=0.0015)}
"""For the in-memory engine, which holds the history in the process."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, and how it changed."""

    name: str
    first: float
    last: float
    highest: float
    slope: float
    """Per hour, by a line through all samples but the first quarter."""
    allowed: float
    """The highest median of the last quarter that is accepted."""

    @property
    def grew(self) -> bool:
        return self.last > self.allowed


def judge(samples: Sequence[tuple[float, Sample]], limits: dict[str, Limit]) -> list[Row]:
    """Return a row for each figure that has a limit. Each sample has its time in seconds; they are in order."""
    quarter = max(len(samples) // 4, 1)
    transfers = [sample.get(TRANSFERS, 0.0) for _, sample in samples]
    added = median(transfers[-quarter:]) - median(transfers[:quarter])
    rows = []
    for name in dict.fromkeys(name for _, sample in samples for name in sample):
        limit = next((limit for beginning, limit in limits.items() if name.startswith(beginning)), None)
        if limit is None:
            continue
        values = [sample.get(name, 0.0) for _, sample in samples]
        first, last = median(values[:quarter]), median(values[-quarter:])
        times = [seconds for seconds, _ in samples]
        slope = linear_regression(times[quarter:], values[quarter:]).slope * 3600 if len(samples) > quarter + 1 else 0.0
        allowed = max(first + limit.share * first + limit.more + limit.per_transfer * added, limit.at_most)
        rows.append(Row(name, first, last, max(values), slope, allowed))
    return rows


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| figure | first quarter | last quarter | highest | slope per hour | allowed | |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    lines += [
        f"| {row.name} | {row.first:.1f} | {row.last:.1f} | {row.highest:.1f} | {row.slope:+.1f} | {row.allowed:.1f} |"
        f" {'GREW' if row.grew else 'level'} |"
        for row in rows
    ]
    return "\n".join(lines)
