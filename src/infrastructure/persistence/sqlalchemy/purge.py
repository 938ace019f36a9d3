"""Removing expired rows, in batches, so that no other transaction waits for long."""

from sqlalchemy import ClauseElement, Table, bindparam, delete, select, tuple_

from infrastructure.persistence.sqlalchemy.tables import idempotency_keys, login_attempts, sessions

BATCH = 1_000


def remove_expired(table: Table) -> ClauseElement:
    """Return a DELETE of up to BATCH rows that have expired at the parameter `at`; it returns their keys.

    Rows that another transaction has locked are skipped (PostgreSQL).
    """
    key = table.primary_key.columns
    expired = select(*key).where(table.c.expires_at <= bindparam("at")).limit(BATCH).with_for_update(skip_locked=True)
    return delete(table).where(tuple_(*key).in_(expired)).returning(*key)


REMOVALS = [remove_expired(table) for table in (idempotency_keys, sessions, login_attempts)]
