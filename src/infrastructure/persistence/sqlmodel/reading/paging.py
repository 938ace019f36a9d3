"""Pages of lists, as rows of a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from sqlalchemy.orm.interfaces import ORMOption
from sqlmodel import select
from sqlmodel.sql.expression import SelectOfScalar

from application.paging import Page, Sort, Window
from infrastructure.persistence.sqlalchemy.reading.paging import (
    Filters,
    conditions,
    count_rows,
    filtered,
    paginate,
    window_parameters,
)
from infrastructure.persistence.sqlalchemy.reading.planner_hints import equals_any_of_one
from infrastructure.persistence.sqlmodel.models import TableModel
from infrastructure.persistence.sqlmodel.orm_sessions import Sessions

M = TypeVar("M", bound=TableModel)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listing(Generic[M, T]):
    """A list of a model's rows that page() reads: its filters, related rows to load, and the conversion of a row."""

    model: type[M]
    entity_from: Callable[[M], T]
    filters: Filters = field(default_factory=dict)
    load: tuple[ORMOption, ...] = ()

    async def page(self, sessions: Sessions, sort: Sort[Any], window: Window, **given: Any) -> Page[T]:
        """Return a page of the rows that match the filters, converted and in the order of `sort`.

        `given` are the values of filters by name; one that is None is no condition. If the window asks for the length
        of the list, a second statement counts it.
        """
        values = {name: value for name, value in given.items() if value is not None}
        filters = {name: self.filters[name] for name in values}
        page = self._page(filters, sort, after=window.after is not None)
        rows = await sessions.fetch(page, window_parameters(window) | values)
        total = (await sessions.fetch(self._count(filters), values))[0] if window.count else None
        return page_from(rows, self.entity_from, window, total)

    def _page(self, filters: Filters, sort: Sort[Any], *, after: bool) -> SelectOfScalar[M]:
        """Return the SELECT for one page, with one row more than it shows."""
        keys = ["id"] if sort.by == "id" else [sort.by, "id"]
        page = paginate(
            filtered(select(self.model), filters, sort, after=after),
            *(getattr(self.model, key) for key in keys),
            after=after,
            descending=sort.descending,
            order_first_by=[column for column, compare in filters.values() if compare is equals_any_of_one],
        )
        return page.options(*self.load)

    def _count(self, filters: Filters) -> SelectOfScalar[int]:
        """Return the SELECT for the number of rows of the list, up to COUNT_LIMIT."""
        return select(count_rows(select(self.model).where(*conditions(filters))))


def page_from(rows: Sequence[M], entity_from: Callable[[M], T], window: Window, total: int | None) -> Page[T]:
    """Convert rows to a Page with this total.

    There may be one row more than the page shows, which is left out; `more` of the page is then true.
    """
    return Page(items=[entity_from(row) for row in rows[: window.limit]], more=len(rows) > window.limit, total=total)
