"""What every list does: one row more than the page to see whether more follow, and a count that stops early."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, ScalarSelect, Select, bindparam, func, literal_column, select, true, tuple_

from application.paging import COUNT_LIMIT, Page, Window
from infrastructure.persistence.sqlalchemy.rows import Row

T = TypeVar("T")

AFTER = ("after", "after_id")


def paged(rows: Select[Any], *place: ColumnElement[Any], after: bool, descending: bool = False) -> Select[Any]:
    """The rows of a window, in the order of the columns that tell where a row stands, and no two rows alike."""
    if after:
        here = tuple_(*place)
        there = tuple_(*(bindparam(name, type_=by.type) for name, by in zip(AFTER, place, strict=False)))
        rows = rows.where(here < there if descending else here > there)
    else:
        rows = rows.offset(bindparam("skip"))
    return rows.order_by(*(by.desc() if descending else by for by in place)).limit(bindparam("limit"))


def listed(
    rows: Select[Any], *place: ColumnElement[Any], after: bool, descending: bool = False, count: bool
) -> Select[Any]:
    """A page, and if there is to be a count, a row that tells it even if the page is empty."""
    window = paged(rows, *place, after=after, descending=descending)
    if not count:
        return window
    page = window.subquery("page")
    number = select(counted(rows).label("total")).subquery("number")
    order = (page.c[by.key] for by in place if by.key)
    return (
        select(number.c.total, page)
        .select_from(number.outerjoin(page, true()))
        .order_by(*(by.desc() if descending else by for by in order))
    )


def counted(rows: Select[Any]) -> ScalarSelect[int]:
    one = literal_column("1").label("one")
    some = rows.with_only_columns(one, maintain_column_froms=True).limit(COUNT_LIMIT).subquery()
    return select(func.count()).select_from(some).scalar_subquery()


def window_parameters(window: Window) -> dict[str, Any]:
    limit: dict[str, Any] = {"limit": window.limit + 1}
    if window.after is None:
        return limit | {"skip": window.skip}
    return limit | {"after": window.after.value, "after_id": window.after.id}


def page_from(rows: Sequence[Row], entity_from: Callable[[Row], T], window: Window) -> Page[T]:
    found = [row for row in rows if row["id"] is not None]
    return Page(
        items=[entity_from(row) for row in found[: window.limit]],
        more=len(found) > window.limit,
        total=rows[0]["total"] if window.count else None,
    )
