"""SQL expressions that change nothing but the query plan.

Both databases choose bad plans for some pages of long lists. These expressions rule such plans out, without changing
the result. tests/infrastructure/test_plans_sql.py has the plans with a million rows.
"""

from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class NotIndexed(FunctionElement[Any]):
    """A column that SQLite must not look up through an index. Rendered as `+column`; unchanged on PostgreSQL.

    SQLite cannot estimate how many rows a range has. It would use the range's index and then sort every match, instead
    of reading rows in the order of another index and stopping after a page: 3.2 s instead of 0.15 s for a page of a
    million items. See https://www.sqlite.org/optoverview.html, "Disqualifying WHERE Clause Terms Using Unary +".

        before:  SEARCH items USING INDEX (price>?), USE TEMP B-TREE FOR ORDER BY
        after:   SCAN items USING INDEX (name, id, price)
    """

    inherit_cache = True
    name = "not_indexed"


class AnyOfOne(FunctionElement[Any]):
    """A value, rendered for PostgreSQL as `ANY (ARRAY[value])`; unchanged on SQLite.

    With `owner_id = value`, PostgreSQL drops owner_id from the sort order, and for the owner of one item in twenty it
    then prefers to walk an index of everybody's items in that order, which reads the whole index if the owner's items
    are at its end. With `owner_id = ANY (ARRAY[value])` and `ORDER BY owner_id, ...` only the owner's index fits.

        before:  Index Scan using ix_items_price_id on items, Filter: owner_id = $1
        after:   Index Scan using ix_items_owner_id_price_id on items, Index Cond: owner_id = ANY (ARRAY[$1])
    """

    inherit_cache = True
    name = "any_of_one"


def equals_any_of_one(column: ColumnElement[Any], value: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return `column = value`, in the form that makes PostgreSQL use an index that begins with the column."""
    return column == AnyOfOne(value)


@compiles(AnyOfOne, "postgresql")
def _render_any_array(element: AnyOfOne, compiler: SQLCompiler, **options: Any) -> str:
    return f"ANY (ARRAY[{compiler.process(element.clauses, **options)}])"


@compiles(NotIndexed, "sqlite")
def _render_unary_plus(element: NotIndexed, compiler: SQLCompiler, **options: Any) -> str:
    return f"+{compiler.process(element.clauses, **options)}"


@compiles(AnyOfOne)
@compiles(NotIndexed)
def _render_unchanged(element: NotIndexed | AnyOfOne, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)
