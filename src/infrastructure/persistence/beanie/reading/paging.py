"""Pages of lists.

A page reads one document more than it shows, to learn whether more follow. Its count stops at COUNT_LIMIT.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from pymongo.errors import OperationFailure

from application.errors import Unavailable
from application.paging import COUNT_LIMIT, Page, Position, Window
from infrastructure.persistence.beanie.connection import Collection
from infrastructure.persistence.beanie.rows import Row, to_cents

T = TypeVar("T")

BAD_VALUE = 2
"""The code of BadValue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """The conditions and the order of a list, by names of stored fields.

    `equal` gives the exact value that a field must have; `ranges` gives operators for a field, such as `{"$gte": 100}`.
    Documents with equal values of `sort_field` are ordered by id.
    """

    equal: Mapping[str, object] = field(default_factory=dict)
    ranges: Mapping[str, object] = field(default_factory=dict)
    sort_field: str = "_id"
    descending: bool = False

    @property
    def conditions(self) -> dict[str, object]:
        """The MongoDB filter for all documents of the list, made of `equal` and `ranges`."""
        return {**self.equal, **self.ranges}

    @property
    def sort_fields(self) -> list[str]:
        """The fields to sort by, such as `["cents", "_id"]`; the last one is `_id`, which is unique."""
        return ["_id"] if self.sort_field == "_id" else [self.sort_field, "_id"]

    @property
    def fits_one_index(self) -> bool:
        """Whether the list is one range of an index: it has no range, except of the field that it is sorted by."""
        return self.ranges.keys() <= {self.sort_field}

    @property
    def hint(self) -> list[tuple[str, int]] | None:
        """The index to use, as its fields with 1 for ascending, if `fits_one_index`: the server then tries no others.

        Otherwise None: the server tries out whether to read the range and sort, or to read in order and filter.
        """
        return [(name, 1) for name in (*self.equal, *self.sort_fields)] if self.fits_one_index else None

    def after(self, position: Position) -> dict[str, object]:
        """Return the MongoDB filter for the documents of the list behind this position; it includes all conditions."""
        beyond, not_beyond = ("$lt", "$gte") if self.descending else ("$gt", "$lte")
        if self.sort_field == "_id":
            return {"$and": [self.conditions, {"_id": {beyond: position.id}}]}
        value = to_cents(position.value) if isinstance(position.value, Decimal) else position.value
        if self.fits_one_index:
            # Two ranges of the index, which the server merges. It reads no document twice, whatever the values.
            alternatives: list[dict[str, object]] = [
                {self.sort_field: value, "_id": {beyond: position.id}},
                {self.sort_field: {beyond: value}},
            ]
            return {"$or": [{"$and": [self.conditions, alternative]} for alternative in alternatives]}
        # With $or the server would plan each alternative by itself, and badly.
        before = {self.sort_field: value, "_id": {not_beyond: position.id}}
        return {"$and": [self.conditions, {self.sort_field: {f"{beyond}e": value}}, {"$nor": [before]}]}


async def find_page(
    collection: Collection, query: ListQuery, window: Window, entity_from: Callable[[Row], T]
) -> Page[T]:
    """Return the page of the list that the window requests, each document converted by `entity_from`.

    If the total is wanted and does not follow from the page, it costs a second request; without conditions there may be
    a third. Raise Unavailable if the database lacks the list's index; other driver errors are not translated.
    """
    with _index_needed():
        return await _find_page(collection, query, window, entity_from)


@contextmanager
def _index_needed() -> Iterator[None]:
    """Raise Unavailable instead of MongoDB's error for a hint that names no index, as with an older schema."""
    try:
        yield
    except OperationFailure as error:
        if error.code == BAD_VALUE:  # nothing else that a request can contain reaches the server as a bad value
            raise Unavailable("the database lacks an index: run 'handover migrate up'") from error
        raise


async def _find_page(
    collection: Collection, query: ListQuery, window: Window, entity_from: Callable[[Row], T]
) -> Page[T]:
    """Do what find_page() does, with driver errors as they are."""
    found = await collection.find(
        query.conditions if window.after is None else query.after(window.after),
        sort=[(name, -1 if query.descending else 1) for name in query.sort_fields],
        skip=window.skip if window.after is None else 0,
        limit=window.limit + 1,
        hint=query.hint,
    ).to_list()
    more = len(found) > window.limit
    total = None
    if window.count:
        is_last_page = window.after is None and not more and (found or not window.skip)
        total = min(window.skip + len(found), COUNT_LIMIT) if is_last_page else await _count(collection, query)
    return Page(items=[entity_from(row) for row in found[: window.limit]], more=more, total=total)


async def _count(collection: Collection, query: ListQuery) -> int:
    """Return the number of documents in the whole list, or COUNT_LIMIT if there are more.

    This sends the command `count` itself. The driver's count_documents() is an aggregation, which takes the server
    twice as long.
    """
    if not query.conditions and await collection.estimated_document_count() > 2 * COUNT_LIMIT:
        return COUNT_LIMIT  # the estimate is free; it is off by what is being written, which is less than COUNT_LIMIT
    result: dict[str, Any] = await collection.database.command(
        "count",
        collection.name,
        query=query.conditions,
        limit=COUNT_LIMIT,
        hint=dict.fromkeys((*query.conditions, "_id"), 1),
        readConcern=collection.read_concern.document,
        codec_options=collection.codec_options,
    )
    count: int = result["n"]
    return count
