"""A clock and ids for tests, which are the same in every run."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from uuid import UUID

from interfaces.testing.builders import NOON, uuid7


@dataclass
class SetClock:
    """A Clock that stands still until it is moved."""

    time: datetime = NOON

    def __call__(self) -> datetime:
        """Return the time that is set."""
        return self.time

    def move(self, **by: float) -> None:
        """Move the time on by a timedelta with these arguments, such as `minutes=5`."""
        self.time += timedelta(**by)


@dataclass
class CountingIds:
    """An Ids that counts: the first id of every CountingIds is the same, and each is greater than the one before.

    They are greater than those of the builders, and so never the same.
    """

    numbers: Iterator[int] = field(default_factory=lambda: count(int(NOON.timestamp() * 1000)))

    def __call__(self) -> UUID:
        """Return the next id."""
        return uuid7(next(self.numbers))
