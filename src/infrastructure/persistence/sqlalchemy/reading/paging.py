"""SELECT statements for pages of lists.

A page reads one row more than it shows, to learn whether more rows follow. Its count stops at COUNT_LIMIT.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import eq, le
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    Subquery,
    Table,
    bindparam,
    func,
    literal_column,
    select,
    true,
    tuple_,
)

from application.paging import COUNT_LIMIT, Page, Sort, Window
from infrastructure.persistence.sqlalchemy.reading.planner_hints import NotIndexed, equals_any_of_one
from infrastructure.persistence.sqlalchemy.rows import Row

T = TypeVar("T")
S = TypeVar("S", bound=Select[Any])

POSITION_PARAMETERS = ("after", "after_id")

Comparison = Callable[[Any, Any], Any]
"""An operator such as `operator.ge`, or equals_any_of_one()."""
Column = Any
"""A column of a table, or the attribute of a model that stands for one."""
Filters = Mapping[str, tuple[Column, Comparison]]
"""The conditions of a list: for each parameter, the column that it is compared with, and how."""


def paginate(
    rows: S,
    *keys: Column,
    after: bool,
    descending: bool = False,
    order_first_by: Sequence[Column] = (),
) -> S:
    """Restrict a SELECT to one page.

    `keys` are the columns to order by; the last one must be unique, so that the order is total. With `after=True` the
    page starts behind the position in the parameters `after` and `after_id` (keyset pagination), otherwise behind the
    first `skip` rows. The parameter `limit` is the number of rows. The columns of `order_first_by` have the same value
    in all rows; ordering by them changes nothing but PostgreSQL's choice of an index.
    """
    if after:
        row = tuple_(*keys)
        position = tuple_(
            *(bindparam(name, type_=key.type) for name, key in zip(POSITION_PARAMETERS, keys, strict=False))
        )
        rows = rows.where(row < position if descending else row > position)
    else:
        rows = rows.offset(bindparam("skip"))
    return rows.order_by(*in_direction(*order_first_by, *keys, descending=descending)).limit(bindparam("limit"))


def in_direction(*columns: Column, descending: bool) -> list[ColumnElement[Any]]:
    """Return the columns for ORDER BY, each descending or each ascending."""
    return [column.desc() if descending else column for column in columns]


def page_query(
    table: Table,
    filters: Filters,
    sort: Sort[Any],
    *,
    after: bool,
    count: bool,
    extra_columns: Callable[[Subquery], list[ColumnElement[Any]]] = lambda page: [],
) -> Select[Any]:
    """Return the SELECT for one page of the rows of a table that meet the filters.

    Its parameters are those of the filters and of paginate(), which also explains `after`. `extra_columns` are
    computed for the rows of the page only. With `count=True` each row also has the column `total`, the number of rows
    on all pages up to COUNT_LIMIT, and an empty page has one row of which only `total` is set.
    """
    order_first_by = [str(column.key) for column, compare in filters.values() if compare is equals_any_of_one]
    keys = ["id"] if sort.by == "id" else [sort.by, "id"]
    page = paginate(
        filtered(select(table), filters, sort, after=after),
        *(table.c[key] for key in keys),
        after=after,
        descending=sort.descending,
        order_first_by=[table.c[key] for key in order_first_by],
    ).subquery("page")
    order = in_direction(*(page.c[key] for key in (*order_first_by, *keys)), descending=sort.descending)
    shown = select(page, *extra_columns(page)).order_by(*order)
    if not count:
        return shown
    all_rows = select(table).where(*conditions(filters))
    number = select(count_rows(all_rows).label("total")).subquery("number")
    return shown.add_columns(number.c.total).select_from(number.outerjoin(page, true()))


def conditions(filters: Filters) -> list[ColumnElement[bool]]:
    """Return the conditions for WHERE: each filter's column compared with the parameter of the filter's name."""
    return [compare(column, bindparam(name, type_=column.type)) for name, (column, compare) in filters.items()]


def filtered(rows: S, filters: Filters, sort: Sort[Any], *, after: bool) -> S:
    """Add the conditions to a SELECT, in a form that makes SQLite read the index that has the sort order.

    A column is marked as NotIndexed unless it is compared by equality, which makes it one of the first columns of that
    index, or is the sorted one and its condition makes the range smaller. `after` says whether the page begins after a
    position, which then bounds one end of the range.
    """

    def bounds_the_index(column: Column, compare: Comparison) -> bool:
        """Return whether the condition makes SQLite read a smaller part of the index that has the sort order."""
        # The position of a page bounds one end of the index, so that a filter at the same end adds nothing.
        replaced_by_position = after and (compare is le) == sort.descending
        return compare in {eq, equals_any_of_one} or (column.key == sort.by and not replaced_by_position)

    bounding = [
        compare(column if bounds_the_index(column, compare) else NotIndexed(column), bindparam(name, type_=column.type))
        for name, (column, compare) in filters.items()
    ]
    return rows.where(*bounding)


def count_rows(rows: Select[Any]) -> ScalarSelect[int]:
    """Return a scalar subquery that counts the rows of a SELECT, up to COUNT_LIMIT."""
    one: ColumnElement[int] = literal_column("1").label("one")
    counted = rows.with_only_columns(one, maintain_column_froms=True).limit(COUNT_LIMIT).subquery()
    return select(func.count()).select_from(counted).scalar_subquery()


def window_parameters(window: Window) -> dict[str, Any]:
    """Return the parameters of paginate() for a window; `limit` is one row more than the page shows."""
    limit: dict[str, Any] = {"limit": window.limit + 1}
    if window.after is None:
        return limit | {"skip": window.skip}
    return limit | {"after": window.after.value, "after_id": window.after.id}


def page_from(rows: Sequence[Row], entity_from: Callable[[Row], T], window: Window) -> Page[T]:
    """Convert the rows of a page query to a Page.

    If further rows follow, there is one row more than the page shows, which is left out; `more` of the page is then
    true. A row without an id, which an empty page has for its `total`, is left out, too.
    """
    found = [row for row in rows if row["id"] is not None]  # an empty page with a count has one row without an id
    return Page(
        items=[entity_from(row) for row in found[: window.limit]],
        more=len(found) > window.limit,
        total=rows[0]["total"] if window.count else None,
    )
