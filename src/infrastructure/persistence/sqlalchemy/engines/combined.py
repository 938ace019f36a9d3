"""Several changes in one statement, to save round trips. PostgreSQL only.

A transfer would otherwise take one round trip more for each change that it makes. A data-modifying WITH sends them
together: https://www.postgresql.org/docs/current/queries-with.html#QUERIES-WITH-MODIFYING

A statement that is sent outside a transaction is one by itself. If it must change nothing unless each part finds its
rows, it has to fail, and SQL has no expression that raises an error of one's own. So it casts a text that is no number,
which says what is wrong in the server's log. Nothing else in this project casts a text, so that the error has only this
meaning (see AsyncpgDriver.classify).
"""

import re
from collections.abc import Sequence

from infrastructure.persistence.sqlalchemy.engines.compiled import CompiledStatement

PLACEHOLDER = re.compile(r"\$(\d+)")


def combine(changes: Sequence[CompiledStatement], exactly: int | None = None) -> str:
    """Return one `WITH ... SELECT` statement that makes all changes and returns how many rows they return in total.

    Each change must have a RETURNING clause. All changes see the rows as they were before the statement, so no two of
    them may concern the same row. Placeholders are numbered consecutively: the arguments are those of all changes. The
    parts are executed in their order. With `exactly`, the statement fails with the SQLSTATE 22P02 unless they return
    exactly so many rows.
    """
    parts, placeholders = [], 0
    for number, change in enumerate(changes):
        sql = PLACEHOLDER.sub(lambda place, before=placeholders: f"${before + int(place[1])}", change.sql)  # type: ignore[misc]
        parts.append(f"change_{number} AS ({sql})")
        placeholders += len(change.parameters)
    counts = (f"(SELECT count(*) FROM change_{number})" for number in range(len(parts)))  # noqa: S608 - of our own names
    found = " + ".join(counts)
    if exactly is None:
        return f"WITH {', '.join(parts)} SELECT {found}"
    conflict = f"CAST('handover: a conflict, ' || found || ' of {exactly} rows' AS integer)"
    return (
        f"WITH {', '.join(parts)} SELECT CASE WHEN found = {exactly} THEN found ELSE {conflict} END "  # noqa: S608
        f"FROM (SELECT {found} AS found) AS counted"
    )
