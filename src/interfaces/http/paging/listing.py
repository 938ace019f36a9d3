"""Pages of lists: which part is asked for, and how one is answered."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlencode

from fastapi import Query, Request, Response
from pydantic import BaseModel, Field

from application.paging import Page, Position, Sort, Window
from domain.errors import Invalid
from interfaces.http.paging import cursors
from interfaces.http.responses.answers import answer

T = TypeVar("T")

LARGEST_LIMIT = 100
DEEPEST_SKIP = 10_000


@dataclass(frozen=True, slots=True)
class Rows(Generic[T]):
    """What a list is made of: the fields that it can be sorted by, with their types, and how a row is shown."""

    fields: Mapping[str, type]
    show: Callable[[T], dict[str, Any]]
    entity: Callable[[T], Any] = lambda row: row
    """What has these fields, and an id."""

    def position(self, row: T, sort: Sort[Any]) -> Position:
        entity = self.entity(row)
        return Position(getattr(entity, sort.by), entity.id)


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """One list, and the part of it that is wanted. A cursor belongs to the list that it came from, and to no other."""

    request: Request
    name: str
    rows: Rows[T]
    sort: Sort[Any]
    window: Window

    def answer(self, page: Page[T]) -> Response:
        cursor = self._cursor(page.items[-1]) if page.items and page.more else None
        response = answer(
            {
                "items": [self.rows.show(row) for row in page.items],
                "total": page.total,
                "total_exact": page.total_exact,
                "skip": self.window.skip,
                "limit": self.window.limit,
                "next_cursor": cursor,
            }
        ).response()
        if cursor:
            response.headers["Link"] = f'<{self._address(cursor)}>; rel="next"'
        return response

    def _cursor(self, last: T) -> str:
        return cursors.encode(self.rows.position(last, self.sort), self.rows.fields[self.sort.by], self.name)

    def _address(self, cursor: str) -> str:
        query = self.request.query_params.multi_items()
        kept = [(key, value) for key, value in query if key not in {"skip", "cursor", "count"}]
        return f"{self.request.scope['path']}?{urlencode([*kept, ('cursor', cursor)])}"


class PageQuery(BaseModel):
    """Which part of a list is wanted. A list's own filters are in a subclass: one model is validated at once."""

    skip: int | None = Field(
        None, ge=0, le=DEEPEST_SKIP, description="How many to leave out; for more, use the cursor."
    )
    limit: int = Field(10, ge=1, le=LARGEST_LIMIT)
    cursor: str | None = Field(None, description="`next_cursor` of the page before this one; `total` is null then.")
    count: bool = Field(True, description="`false` leaves `total` null, and saves its cost.")

    def listing(self, request: Request, rows: Rows[T], sort: Sort[Any], **filters: object) -> Listing[T]:
        """The list of this route in this order, with these filters."""
        name = list_name(request.scope["route"].path_format, sort, filters)
        return Listing(request, name, rows, sort, self._window(rows.fields[sort.by], name))

    def _window(self, kind: type, name: str) -> Window:
        if self.cursor is None:
            return Window(self.limit, self.skip or 0, count=self.count)
        if self.skip is not None:
            raise Invalid("invalid-request", "is not allowed together with a cursor", "skip")
        return Window(self.limit, after=cursors.decode(self.cursor, kind, name), count=False)


def list_name(path: str, sort: Sort[Any], filters: Mapping[str, object]) -> str:
    """What a cursor belongs to."""
    chosen = sorted((name, str(value)) for name, value in filters.items() if value is not None)
    return f"{path} {sort.by} {sort.descending} {chosen}"


Paging = Annotated[PageQuery, Query()]
SORT = Field(description="The field to sort by, `-` before it for descending; otherwise by id, as they were created.")


def sorted_by(sort: str | None) -> Sort[Any]:
    """As a query spells it."""
    return Sort(sort.removeprefix("-"), sort.startswith("-")) if sort else Sort("id")
