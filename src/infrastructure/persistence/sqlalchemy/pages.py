"""What every list does: one row more than the page to see whether more follow, and a count that stops early."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, ScalarSelect, Select, bindparam, func, literal_column, select, tuple_

from application.paging import COUNT_LIMIT, Page, Window
from infrastructure.persistence.sqlalchemy.rows import Row

T = TypeVar("T")


def paged(rows: Select[Any], by: ColumnElement[Any], tie: ColumnElement[Any], *, after: bool) -> Select[Any]:
    """The rows of a window, in order of a column and, where that is equal, of the id."""
    if after:
        place = tuple_(bindparam("after", type_=by.type), bindparam("after_id", type_=tie.type))
        rows = rows.where(tuple_(by, tie) > place)
    else:
        rows = rows.offset(bindparam("skip"))
    return rows.order_by(by, tie).limit(bindparam("limit"))


def counted(rows: Select[Any]) -> ScalarSelect[int]:
    some = rows.with_only_columns(literal_column("1").label("one")).limit(COUNT_LIMIT).subquery()
    return select(func.count()).select_from(some).scalar_subquery()


def window_parameters(window: Window) -> dict[str, Any]:
    limit: dict[str, Any] = {"limit": window.limit + 1}
    if window.after is None:
        return limit | {"skip": window.skip}
    return limit | {"after": window.after.value, "after_id": window.after.id}


def page_from(rows: Sequence[Row], entity_from: Callable[[Row], T], window: Window, total: int | None) -> Page[T]:
    return Page(
        items=[entity_from(row) for row in rows[: window.limit]],
        more=len(rows) > window.limit,
        total=total,
    )
