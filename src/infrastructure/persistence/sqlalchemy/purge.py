"""What has had its time: removed piece by piece, so that nobody waits for long, and past what others are at."""

from sqlalchemy import ClauseElement, Table, bindparam, delete, select, tuple_

from infrastructure.persistence.sqlalchemy.tables import idempotency_keys, login_attempts, sessions

PIECE = 1_000


def remove_expired(table: Table) -> ClauseElement:
    key = table.primary_key.columns
    expired = select(*key).where(table.c.expires_at <= bindparam("at")).limit(PIECE).with_for_update(skip_locked=True)
    return delete(table).where(tuple_(*key).in_(expired)).returning(*key)


REMOVALS = [remove_expired(table) for table in (idempotency_keys, sessions, login_attempts)]
