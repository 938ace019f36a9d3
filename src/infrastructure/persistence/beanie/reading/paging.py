"""What every list does: one row more than the page to see whether more follow, and a count that stops early."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from application.paging import COUNT_LIMIT, Page, Position, Window
from infrastructure.persistence.beanie.connection import Rows
from infrastructure.persistence.beanie.rows import Row, cents_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The rows that a list has, and in which order: all by names of stored fields."""

    equal: Mapping[str, object] = field(default_factory=dict)
    ranges: Mapping[str, object] = field(default_factory=dict)
    by: str = "_id"
    descending: bool = False

    @property
    def all(self) -> dict[str, object]:
        return {**self.equal, **self.ranges}

    @property
    def order(self) -> list[str]:
        return ["_id"] if self.by == "_id" else [self.by, "_id"]

    @property
    def is_a_piece_of_an_index(self) -> bool:
        """Else there is a range in another order than its own, which takes a scan."""
        return self.ranges.keys() <= {self.by}

    @property
    def hint(self) -> list[tuple[str, int]] | None:
        """The one index, which spares the server trying others. What to scan, the range or the list in its order, it
        finds out by trying."""
        return [(name, 1) for name in (*self.equal, *self.order)] if self.is_a_piece_of_an_index else None

    def behind(self, position: Position) -> dict[str, object]:
        later, not_later = ("$lt", "$gte") if self.descending else ("$gt", "$lte")
        if self.by == "_id":
            return {"$and": [self.all, {"_id": {later: position.id}}]}
        value = cents_of(position.value) if isinstance(position.value, Decimal) else position.value
        if self.is_a_piece_of_an_index:
            # As two, which the server merges: however many ties there are, none is read twice.
            pieces: list[dict[str, object]] = [
                {self.by: value, "_id": {later: position.id}},
                {self.by: {later: value}},
            ]
            return {"$or": [{"$and": [self.all, piece]} for piece in pieces]}
        # Alternatives would each be planned alone, and badly.
        before = {self.by: value, "_id": {not_later: position.id}}
        return {"$and": [self.all, {self.by: {f"{later}e": value}}, {"$nor": [before]}]}


async def page_of(rows: Rows, listing: Listing, window: Window, entity_from: Callable[[Row], T]) -> Page[T]:
    found = await rows.find(
        listing.all if window.after is None else listing.behind(window.after),
        sort=[(name, -1 if listing.descending else 1) for name in listing.order],
        skip=window.skip if window.after is None else 0,
        limit=window.limit + 1,
        hint=listing.hint,
    ).to_list()
    more = len(found) > window.limit
    total = None
    if window.count:
        is_end = window.after is None and not more and (found or not window.skip)
        total = min(window.skip + len(found), COUNT_LIMIT) if is_end else await _count(rows, listing)
    return Page(items=[entity_from(row) for row in found[: window.limit]], more=more, total=total)


async def _count(rows: Rows, listing: Listing) -> int:
    if not listing.all and await rows.estimated_document_count() > 2 * COUNT_LIMIT:
        return COUNT_LIMIT  # the estimate costs nothing, and is out by what is being written, not by as much as this
    # The command, and not the driver's method, which is an aggregation: the server counts keys twice as fast.
    result: dict[str, Any] = await rows.database.command(
        "count",
        rows.name,
        query=listing.all,
        limit=COUNT_LIMIT,
        hint=dict.fromkeys((*listing.all, "_id"), 1),
        readConcern=rows.read_concern.document,
        codec_options=rows.codec_options,
    )
    count: int = result["n"]
    return count
