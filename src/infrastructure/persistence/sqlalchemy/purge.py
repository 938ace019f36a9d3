"""Removing expired rows, in batches, so that no other transaction waits for long.

Each statement removes up to `limit` rows that have expired at the time `at`, and returns one row for each of them. Rows
that another transaction has locked are skipped (PostgreSQL).
"""

from collections import Counter
from datetime import datetime
from typing import Any

from sqlalchemy import ClauseElement, Integer, Select, Table, bindparam, delete, select, tuple_

from infrastructure.persistence.sqlalchemy.engines.database import Database
from infrastructure.persistence.sqlalchemy.tables import idempotency_keys, login_attempts, session_tokens, sessions


def _removal(table: Table, keys: Select[Any], expiring: Table) -> ClauseElement:
    """Return the DELETE of up to `limit` rows of `table` that have expired at the time `at`; it returns their keys.

    `limit` and `at` are its parameters. `keys` selects the primary keys, and `expiring` is the table in this query that
    has the column `expires_at`. Rows that another transaction has locked are left (PostgreSQL).

    The keys are in a CTE, which is executed once: PostgreSQL may execute a subquery again for each row of the table.
    """
    limited = keys.where(expiring.c.expires_at <= bindparam("at")).limit(bindparam("limit", type_=Integer))
    expired = limited.with_for_update(skip_locked=True).cte("expired")
    key = table.primary_key.columns
    return delete(table).where(tuple_(*key).in_(select(*expired.columns))).returning(*key)


def _removal_of(table: Table) -> ClauseElement:
    """Return the DELETE of expired rows of a table that has the column `expires_at`."""
    return _removal(table, select(*table.primary_key.columns), table)


TOKENS = _removal(session_tokens, select(session_tokens.c.token_hash).join(sessions), sessions)
SESSIONS, KEYS, ATTEMPTS = map(_removal_of, (sessions, idempotency_keys, login_attempts))


async def purge(database: Database, at: datetime, limit: int) -> Counter[str]:
    """Remove up to `limit` expired rows of each table; return how many of each kind were removed (see Store.purge).

    Removing a session would also remove its tokens, however many it has. So tokens of expired sessions are removed
    first, and sessions only if fewer than `limit` tokens were found. Each table has a transaction of its own. Rows that
    are locked are left (PostgreSQL). Errors are those of Database.change().
    """

    async def remove(removal: ClauseElement) -> int:
        """Execute one of the DELETE statements; return how many rows it has removed."""
        return len(await database.change(removal, {"at": at, "limit": limit}))

    tokens = await remove(TOKENS)
    sessions = await remove(SESSIONS) if tokens < limit else 0
    return Counter(tokens=tokens, sessions=sessions, keys=await remove(KEYS), attempts=await remove(ATTEMPTS))
