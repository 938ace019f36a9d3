"""Pages of a list: which part is wanted, and what there was."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Generic, TypeVar
from uuid import UUID

COUNT_LIMIT = 10_000
"""Counting stops here, so that a page costs the same however long the list is."""

SortValue = str | int | Decimal | datetime | UUID
T = TypeVar("T")
Order = TypeVar("Order", bound=str)


@dataclass(frozen=True, slots=True)
class Sort(Generic[Order]):
    """The field to sort by; ids break ties, in the same direction."""

    by: Order
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Position:
    """Where a row stands in a sorted list: the value sorted by, and the id that breaks ties."""

    value: SortValue
    id: UUID


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a list that is wanted: `limit` rows after the position, or else after `skip` rows."""

    limit: int = 10
    skip: int = 0
    after: Position | None = None
    count: bool = True


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Rows in order, whether more follow, and how many there are in all, up to the limit; None where not counted."""

    items: list[T]
    more: bool
    total: int | None = None

    @property
    def total_exact(self) -> bool | None:
        return None if self.total is None else self.total < COUNT_LIMIT
