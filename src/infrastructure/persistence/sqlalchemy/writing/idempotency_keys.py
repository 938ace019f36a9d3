"""Idempotency keys of one unit of work.

A key is claimed by one statement, which also replaces an expired key, so that no other claim can come between.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from application.errors import KeyInFlight, KeyReused
from application.ports import KeyId
from infrastructure.persistence.sqlalchemy.engines.errors import LockTimeout
from infrastructure.persistence.sqlalchemy.engines.transaction import Transaction
from infrastructure.persistence.sqlalchemy.tables import idempotency_keys

COLUMNS = idempotency_keys.c
IS_THIS_KEY = (
    (COLUMNS.caller == bindparam("this_caller"))
    & (COLUMNS.operation == bindparam("this_operation"))
    & (COLUMNS.key == bindparam("this_key"))
)
READ = select(COLUMNS.fingerprint, COLUMNS.answer).where(IS_THIS_KEY)
SAVE_ANSWER = update(idempotency_keys).where(IS_THIS_KEY).values(answer=bindparam("answer")).returning(COLUMNS.key)


def _claim(insert: Any) -> Any:
    """Return the insert, extended to replace a key with the same identity that has expired at the parameter `at`.

    If the stored key has not expired, the statement changes nothing and returns no row.
    """
    return insert.on_conflict_do_update(
        index_elements=[COLUMNS.caller, COLUMNS.operation, COLUMNS.key],
        set_={name: insert.excluded[name] for name in ("fingerprint", "expires_at", "answer")},
        where=COLUMNS.expires_at <= bindparam("at", type_=COLUMNS.expires_at.type),
    )


NEW_KEY = {
    column.name: bindparam(column.name, type_=column.type)
    for column in (COLUMNS.caller, COLUMNS.operation, COLUMNS.key, COLUMNS.fingerprint, COLUMNS.expires_at)
}
# PostgreSQL makes an insert wait for another transaction that has inserted the same key. The statement itself sets the
# lock timeout for this wait before it inserts, and resets it afterwards, which saves two round trips. If no row is
# inserted, the timeout stays until the transaction ends, which is then the next thing to happen.
SET_TIMEOUT = select(func.set_config("lock_timeout", bindparam("max_wait"), True).label("max_wait")).cte("max_wait")
NEW_KEY_AFTER_TIMEOUT = select(*(value.label(name) for name, value in NEW_KEY.items())).select_from(SET_TIMEOUT)
CLAIM = {
    "postgresql": _claim(
        postgresql.insert(idempotency_keys).from_select(list(NEW_KEY), NEW_KEY_AFTER_TIMEOUT)
    ).returning(func.set_config("lock_timeout", "0", True)),
    "sqlite": _claim(sqlite.insert(idempotency_keys).values(NEW_KEY)).returning(COLUMNS.key),
}
"""By dialect, the statement that claims a key. It returns a row if the key was claimed."""
NEW_KEY_WITH_ANSWER = NEW_KEY | {"answer": bindparam("answer", type_=COLUMNS.answer.type)}
CLAIM_WITH_ANSWER = _claim(
    postgresql.insert(idempotency_keys).from_select(
        list(NEW_KEY_WITH_ANSWER),
        select(*(value.label(name) for name, value in NEW_KEY_WITH_ANSWER.items())).select_from(SET_TIMEOUT),
    )
).returning(COLUMNS.key)
"""The same with the answer, for a statement that is the whole transaction. PostgreSQL only."""


class SqlKeys:
    """Claims idempotency keys and stores their answers within a unit of work (port KeyRepository)."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction

    async def claim(
        self, key: KeyId, fingerprint: bytes, *, at: datetime, lifetime: timedelta, max_wait: float
    ) -> bytes | None:
        """Claim the key, or return the answer stored with it (see KeyRepository). SQLite never waits here.

        In an optimistic transaction always return None: the key is claimed at commit(), or when the transaction begins
        to lock. Either raises TryAgain if the key has been used before.

        An answer is returned after a COMMIT, which may raise as commit() does. On PostgreSQL the answer may be visible
        although no standby has it: the server gives up waiting for one when a statement is cancelled, or it restarts.
        The COMMIT waits again, because the claim has locked the row of the key, which is a change to be replicated.
        """
        row = {
            "caller": key.caller,
            "operation": key.operation,
            "key": key.key,
            "fingerprint": fingerprint,
            "expires_at": at + lifetime,
            "at": at,
        }
        if self.transaction.dialect == "postgresql":
            row["max_wait"] = str(max(1, int(max_wait * 1000)))  # 0 would mean no limit
        if self.transaction.is_optimistic:
            self.transaction.claim = CLAIM[self.transaction.dialect], row
            return None
        try:
            claimed = await self.transaction.fetch_one(CLAIM[self.transaction.dialect], row)
        except LockTimeout:
            raise KeyInFlight("another unit of work holds the key") from None
        if claimed is not None:
            return None
        stored = await self.transaction.fetch_one(READ, _identity(key))
        if stored is None:
            raise KeyInFlight("the key was given up meanwhile")
        if stored["fingerprint"] != fingerprint:
            raise KeyReused
        if stored["answer"] is None:
            raise KeyInFlight("the key was claimed, but its answer not stored")
        await self.transaction.commit()
        answer: bytes = stored["answer"]
        return answer

    async def save_answer(self, key: KeyId, answer: bytes) -> None:
        """Store the answer of the claimed key; on PostgreSQL with the next query or at commit()."""
        if self.transaction.claim:
            _, row = self.transaction.claim
            self.transaction.claim = CLAIM_WITH_ANSWER, row | {"answer": answer}
        else:
            await self.transaction.defer(SAVE_ANSWER, _identity(key) | {"answer": answer}, row=None)


def _identity(key: KeyId) -> dict[str, object]:
    """Return the SQL parameters that identify this key, for the condition IS_THIS_KEY."""
    return {"this_caller": key.caller, "this_operation": key.operation, "this_key": key.key}
