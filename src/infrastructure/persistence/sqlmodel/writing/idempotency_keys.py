"""Idempotency keys of one unit of work.

A key is claimed by one statement, which also replaces an expired key, so that no other claim can come between.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func
from sqlmodel import col, select

from application.errors import KeyInFlight, KeyReused
from application.ports import KeyId
from infrastructure.persistence.sqlalchemy.engines.errors import LockTimeout
from infrastructure.persistence.sqlmodel.models import KeyRow
from infrastructure.persistence.sqlmodel.orm_sessions import Transaction
from infrastructure.persistence.sqlmodel.upserts import insert_into
from infrastructure.persistence.sqlmodel.writing.versioned import flush, keep


class SqlModelKeys:
    """Claims idempotency keys and stores their answers within a unit of work (port KeyRepository)."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self.session = transaction.session

    async def claim(
        self, key: KeyId, fingerprint: bytes, *, at: datetime, lifetime: timedelta, max_wait: float
    ) -> bytes | None:
        """Claim the key and return None, or return the answer that was stored with it before (see KeyRepository).

        Wait up to `max_wait` seconds for another unit of work that has claimed the key and not ended; raise KeyInFlight
        if it does not end in time, or if there is no answer afterwards. Raise KeyReused if the key was used with
        another fingerprint. SQLite never waits here, because it runs one transaction at a time.

        An answer is returned after a COMMIT, which waits for standbys of PostgreSQL and may raise as commit() does. The
        server may have given up waiting when the answer was stored. The claim has locked the row of the key, which is a
        change to be replicated.
        """
        row = KeyRow(**_identity(key), fingerprint=fingerprint, answer=None, expires_at=at + lifetime)
        await self._limit_waiting(max(1, int(max_wait * 1000)))  # 0 would mean no limit
        try:
            claimed = (await self.session.exec(self._claim(row, at))).scalar_one_or_none()
        except LockTimeout:
            raise KeyInFlight("another unit of work holds the key") from None
        await self._limit_waiting(0)
        if claimed is not None:
            keep(self.session, claimed)
            return None
        stored = await self._get(key)
        if stored is None:
            raise KeyInFlight("the key was given up meanwhile")
        if stored.fingerprint != fingerprint:
            raise KeyReused
        if stored.answer is None:
            raise KeyInFlight("the key was claimed, but its answer not stored")
        await self.transaction.commit()
        return stored.answer

    async def save_answer(self, key: KeyId, answer: bytes) -> None:
        """Store the answer of the claimed key; raise LookupError if there is no such key."""
        row = await self._get(key)
        if row is None:
            raise LookupError("this unit of work has not claimed the key")
        row.answer = answer
        await flush(self.session)

    async def _get(self, key: KeyId) -> KeyRow | None:
        """Return the row of a key, from the session if this unit of work has claimed the key."""
        return await self.session.get(KeyRow, _identity(key))

    def _claim(self, row: KeyRow, at: datetime) -> Any:
        """Return a statement that inserts the row, or replaces one with the same identity that has expired at `at`.

        The statement returns the new row, or no row if there is one that has not expired.
        """
        insert = insert_into(self.session, KeyRow).values(row.model_dump())
        return insert.on_conflict_do_update(
            index_elements=[KeyRow.caller, KeyRow.operation, KeyRow.key],
            set_={name: insert.excluded[name] for name in ("fingerprint", "answer", "expires_at")},
            where=col(KeyRow.expires_at) <= at,
        ).returning(KeyRow)

    async def _limit_waiting(self, milliseconds: int) -> None:
        """Set how long the statements of this transaction wait for a lock; 0 means no limit.

        Do nothing on SQLite. On PostgreSQL an insert waits for another transaction that has inserted the same key.
        """
        if self.session.get_bind().dialect.name == "postgresql":
            await self.session.exec(select(func.set_config("lock_timeout", str(milliseconds), True)))


def _identity(key: KeyId) -> dict[str, Any]:
    """Return the primary key of the key's row, as values by column name."""
    return {"caller": key.caller, "operation": key.operation, "key": key.key}
