"""Several changes in one statement, to save round trips. PostgreSQL only.

A transfer would otherwise take one round trip more for each change that it makes. A data-modifying WITH sends them
together: https://www.postgresql.org/docs/current/queries-with.html#QUERIES-WITH-MODIFYING
"""

import re
from collections.abc import Sequence

from infrastructure.persistence.sqlalchemy.engines.compiled import CompiledStatement

PLACEHOLDER = re.compile(r"\$(\d+)")


def combine(changes: Sequence[CompiledStatement]) -> str:
    """Return one `WITH ... SELECT` statement that makes all changes and returns how many rows they return in total.

    Each change must have a RETURNING clause. All changes see the rows as they were before the statement, so no two of
    them may concern the same row. Placeholders are numbered consecutively: the arguments are those of all changes.
    """
    parts, placeholders = [], 0
    for number, change in enumerate(changes):
        sql = PLACEHOLDER.sub(lambda place, before=placeholders: f"${before + int(place[1])}", change.sql)  # type: ignore[misc]
        parts.append(f"change_{number} AS ({sql})")
        placeholders += len(change.parameters)
    counts = (f"(SELECT count(*) FROM change_{number})" for number in range(len(parts)))  # noqa: S608 - of our own names
    return f"WITH {', '.join(parts)} SELECT {' + '.join(counts)}"
