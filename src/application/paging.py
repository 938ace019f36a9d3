"""Pages of lists: which part of a list is requested, and the result."""

from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar
from uuid import UUID

COUNT_LIMIT = 10_000
"""Counting stops at this number of rows, so that the cost of a page does not grow with the list."""

SortValue = str | int | Decimal | datetime | UUID
T = TypeVar("T")
Order = TypeVar("Order", bound=str)


@dataclass(frozen=True, slots=True)
class Sort(Generic[Order]):
    """The field to sort by. Rows with equal values are ordered by id, in the same direction."""

    by: Order
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Position:
    """The place of a row in a sorted list: its value of the sort field, and its id among equal values."""

    value: SortValue
    id: UUID


@dataclass(frozen=True, slots=True)
class Window:
    """The requested part of a list: up to `limit` rows behind the position `after`.

    If `after` is None, the part begins behind the first `skip` rows; otherwise `skip` is ignored. `count` says whether
    the length of the whole list is wanted, too.
    """

    limit: int = 10
    skip: int = 0
    after: Position | None = None
    count: bool = True


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """The rows of a window, in order.

    `more` says whether rows follow. `total` is the length of the whole list, at most COUNT_LIMIT, or None if it was not
    counted.
    """

    items: list[T]
    more: bool
    total: int | None = None

    @property
    def total_exact(self) -> bool | None:
        """Whether `total` is the exact length rather than the limit at which counting stopped; None if not counted."""
        return None if self.total is None else self.total < COUNT_LIMIT


def page_of(rows: Iterable[T], position: Callable[[T], tuple[Any, UUID]], descending: bool, window: Window) -> Page[T]:
    """Return the page that the window requests, with copies of its rows, for adapters that have all rows in memory.

    `rows` may have any order: they are sorted by what `position` returns, which is (value of the sort field, id). The
    page begins behind the position `window.after`, even if no row is there.
    """
    in_order = sorted(rows, key=position, reverse=descending)
    start = window.skip
    if window.after is not None:
        after = (window.after.value, window.after.id)
        start = sum((position(row) >= after) if descending else (position(row) <= after) for row in in_order)
    return Page(
        items=[copy(row) for row in in_order[start : start + window.limit]],
        more=start + window.limit < len(in_order),
        total=min(len(in_order), COUNT_LIMIT) if window.count else None,
    )
