"""The verdict of a soak: what has grown is named, and what only varies, fills up or is kept for good is not."""

import random

import pytest

from bench.soak.verdict import LIMITS, MEMORY_LIMITS, TRANSFERS, Sample, judge, table

MINUTES = 30


def samples(name: str, start: float, per_hour: float, transfers_per_hour: float = 0) -> list[tuple[float, Sample]]:
    """Samples of every five seconds, which vary by two percent."""
    chance = random.Random(1)
    taken: list[tuple[float, Sample]] = []
    for seconds in range(5, MINUTES * 60, 5):
        hours = seconds / 3600
        value = start * chance.uniform(0.99, 1.01) + per_hour * hours
        taken.append((seconds, {name: value, TRANSFERS: transfers_per_hour * hours}))
    return taken


@pytest.mark.parametrize(
    ("name", "start", "per_hour"),
    [
        ("resident memory of process 1, MB", 120, 80),
        ("open files of process 2", 30, 120),
        ("connections to the store", 20, 60),
        ("transactions left open", 0, 1),
        ("size of the store, MB", 3, 10),
        ("size of the log, MB", 4, 50),
        ("records that expire", 600, 2000),
    ],
)
def test_what_grows_is_named(name: str, start: float, per_hour: float) -> None:
    [row] = judge(samples(name, start, per_hour), LIMITS)
    assert row.grew
    assert row.slope == pytest.approx(per_hour, rel=0.2)
    assert "GREW" in table([row])
    [level] = judge(samples(name, start, 0), LIMITS)
    assert not level.grew
    assert "level" in table([level])


def test_what_is_kept_for_each_transfer_is_no_leak() -> None:
    kept = samples("size of the store, MB", 3, 10, transfers_per_hour=10_000)
    assert not judge(kept, LIMITS)[0].grew
    held = samples("resident memory of process 1, MB", 120, 80, transfers_per_hour=80_000)
    assert judge(held, LIMITS)[0].grew
    assert not judge(held, MEMORY_LIMITS)[0].grew


def test_a_pool_may_fill() -> None:
    assert not judge(samples("connections to the store", 5, 40), LIMITS)[0].grew
