"""Pages of lists: the query parameters, and the response with its cursor."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlencode

from fastapi import Query, Request, Response
from pydantic import BaseModel, Field

from application.paging import Page, Position, Sort, Window
from domain.errors import Invalid
from interfaces.http.paging.cursors import decode_cursor, encode_cursor
from interfaces.http.responses.answers import json_answer
from interfaces.http.validation.fields import WHOLE_NUMBER

T = TypeVar("T")

MAX_LIMIT = 100
MAX_SKIP = 10_000


@dataclass(frozen=True, slots=True)
class ListFormat(Generic[T]):
    """The fields that a list can be sorted by, with their types, and how a row is shown in the response.

    `entity` returns the object that has these fields and an id, if that is not the row itself.
    """

    fields: Mapping[str, type]
    show: Callable[[T], dict[str, Any]]
    entity: Callable[[T], Any] = lambda row: row

    def position(self, row: T, sort: Sort[Any]) -> Position:
        """Return the position of a row in this order: its value of the sort field, and its id."""
        entity = self.entity(row)
        return Position(getattr(entity, sort.by), entity.id)


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A list with its order and filters, and the requested part of it. It has no rows: response() gets them.

    `name` identifies the list, because a cursor is only valid for the list that it came from.
    """

    request: Request
    name: str
    format: ListFormat[T]
    sort: Sort[Any]
    window: Window

    def response(self, page: Page[T]) -> Response:
        """Return the page as a response 200, with the cursor of the next page in the body and in the header Link.

        On the last page `next_cursor` is null, and there is no Link.
        """
        cursor = self._cursor(page.items[-1]) if page.items and page.more else None
        response = json_answer(
            {
                "items": [self.format.show(row) for row in page.items],
                "total": page.total,
                "total_exact": page.total_exact,
                "skip": self.window.skip,
                "limit": self.window.limit,
                "next_cursor": cursor,
            }
        ).response()
        if cursor:
            response.headers["Link"] = f'<{self._next_address(cursor)}>; rel="next"'
        return response

    def _cursor(self, last: T) -> str:
        """Return the cursor of the position of the page's last row."""
        return encode_cursor(self.format.position(last, self.sort), self.format.fields[self.sort.by], self.name)

    def _next_address(self, cursor: str) -> str:
        """Return the path and query of the next page.

        The query is the same, with the cursor in place of `skip`, `count` and the former cursor.
        """
        query = self.request.query_params.multi_items()
        unchanged = [(key, value) for key, value in query if key not in {"skip", "cursor", "count"}]
        return f"{self.request.scope['path']}?{urlencode([*unchanged, ('cursor', cursor)])}"


class PageQuery(BaseModel):
    """The query parameters of a page, from which listing() makes the requested list.

    `skip` and `cursor` exclude each other, which listing() checks and not this model. `count` has no effect with a
    cursor. A list's own filters are added in a subclass, so that one model has them all.
    """

    skip: Annotated[int | None, WHOLE_NUMBER] = Field(
        None,
        ge=0,
        le=MAX_SKIP,
        description="How many rows to skip; beyond this limit, use the cursor. Not together with it.",
    )
    limit: Annotated[int, WHOLE_NUMBER] = Field(
        10, ge=1, le=MAX_LIMIT, description="How many rows the page has at most; may differ from page to page."
    )
    cursor: str | None = Field(
        None,
        description="`next_cursor` of the previous page. `total` and `total_exact` are then null, and `skip` is 0.",
    )
    count: bool = Field(True, description="`false` leaves `total` null, which is faster.")

    def listing(self, request: Request, format: ListFormat[T], sort: Sort[Any], **filters: object) -> Listing[T]:
        """Return the description of the list that the request is for, in this order and with these filters.

        No record is read. Raise Invalid if the cursor is malformed or of another list, or if `skip` is given with it.
        """
        name = list_name(request.scope["route"].path_format, sort, filters)
        return Listing(request, name, format, sort, self._window(format.fields[sort.by], name))

    def _window(self, sort_type: type, list_name: str) -> Window:
        """Return the requested part of the list: from the cursor on, without a count, or else from `skip` on.

        Raise Invalid if the cursor is malformed or of another list, or if `skip` is given, too.
        """
        if self.cursor is None:
            return Window(self.limit, self.skip or 0, count=self.count)
        if self.skip is not None:
            raise Invalid("invalid-request", "is not allowed together with a cursor", "skip")
        return Window(self.limit, after=decode_cursor(self.cursor, sort_type, list_name), count=False)


def list_name(path: str, sort: Sort[Any], filters: Mapping[str, object]) -> str:
    """Return the text that identifies a list: its path template, order, and those filters that are not None."""
    chosen = sorted((name, str(value)) for name, value in filters.items() if value is not None)
    return f"{path} {sort.by} {sort.descending} {chosen}"


Paging = Annotated[PageQuery, Query()]
SORT = Field(
    description="The field to sort by, with `-` before it for descending order. By default the order of creation (id)."
    " Texts are compared by code points: `Z` comes before `a`."
)


def parse_sort(sort: str | None) -> Sort[Any]:
    """Return the order for the query parameter `sort`: a field name, with `-` before it for descending.

    None or an empty text is the order by id. Whether there is such a field is not checked.
    """
    return Sort(sort.removeprefix("-"), sort.startswith("-")) if sort else Sort("id")
