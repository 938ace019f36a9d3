"""SQL expressions that change nothing but the query plan.

Both databases choose bad plans for some pages of long lists. These expressions rule such plans out, without changing
the result. tests/infrastructure/sql/test_plans_sql.py checks the plan of every list on 100,000 rows.
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

    EXPLAIN QUERY PLAN for `WHERE price >= ? ORDER BY name, id LIMIT ?`:

        before:  SEARCH items USING INDEX ix_items_price_id (price>?)
                 USE TEMP B-TREE FOR ORDER BY
        after:   SCAN items USING INDEX ix_items_name_id_price
    """

    inherit_cache = True
    name = "not_indexed"


class AnyOfOne(FunctionElement[Any]):
    """A value, rendered for PostgreSQL as `ANY (ARRAY[value])`; unchanged on SQLite.

    With `owner_id = value`, PostgreSQL drops owner_id from the sort order. For the owner of one item in twenty, it then
    prefers to read everybody's items in the order of creation, which is nearly that of the table, and to filter them.
    That reads the whole index if the owner's items are at its end. With `owner_id = ANY (ARRAY[value])` and
    `ORDER BY owner_id, ...`, only an index that begins with the owner has the order.

    EXPLAIN for the owner's items by time of creation:

        before:  Index Scan using ix_items_created_at_id_price on items
                   Filter: (owner_id = $1)
        after:   Index Scan using ix_items_owner_id_created_at_id_price on items
                   Index Cond: (owner_id = ANY (ARRAY[$1]))
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
