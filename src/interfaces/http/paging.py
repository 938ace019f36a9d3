"""Pages of lists: which part is asked for, and how one is answered."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response

from application.paging import Page, Window
from domain.errors import Invalid
from interfaces.http import cursors
from interfaces.http.answers import answer
from interfaces.http.cursors import Sort

T = TypeVar("T")

LARGEST_LIMIT = 100
DEEPEST_SKIP = 10_000


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """One list, and the part of it that is wanted. A cursor belongs to the list that it came from, and to no other."""

    request: Request
    name: str
    sort: Sort[T]
    window: Window

    def answer(self, page: Page[T], out: Callable[[T], dict[str, Any]]) -> Response:
        more = page.items and page.more
        cursor = cursors.encode(self.sort.position(page.items[-1]), self.sort, self.name) if more else None
        response = answer(
            {
                "items": [out(row) for row in page.items],
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

    def _address(self, cursor: str) -> str:
        query = self.request.query_params.multi_items()
        kept = [(key, value) for key, value in query if key not in {"skip", "cursor", "count"}]
        return f"{self.request.url.path}?{urlencode([*kept, ('cursor', cursor)])}"


@dataclass(frozen=True, slots=True)
class Paging:
    request: Request
    skip: int | None
    limit: int
    cursor: str | None
    count: bool

    def of(self, sort: Sort[T], **filters: object) -> Listing[T]:
        """The list of this route with these filters in this order."""
        chosen = sorted((name, str(value)) for name, value in filters.items() if value is not None)
        name = f"{self.request.scope['route'].path_format} {chosen}"
        return Listing(self.request, name, sort, self._window(sort, name))

    def _window(self, sort: Sort[T], name: str) -> Window:
        if self.cursor is None:
            return Window(self.limit, self.skip or 0, count=self.count)
        if self.skip is not None:
            raise Invalid("invalid-request", "is not allowed together with a cursor", "skip")
        return Window(self.limit, after=cursors.decode(self.cursor, sort, name), count=False)


async def paging(
    request: Request,
    skip: Annotated[
        int | None, Query(ge=0, le=DEEPEST_SKIP, description="How many to leave out; for more, use the cursor.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=LARGEST_LIMIT)] = 10,
    cursor: Annotated[
        str | None, Query(description="`next_cursor` of the page before this one; `total` is null then.")
    ] = None,
    count: Annotated[bool, Query(description="`false` leaves `total` null, and saves its cost.")] = True,
) -> Paging:
    return Paging(request, skip, limit, cursor, count)


Pages = Annotated[Paging, Depends(paging)]
