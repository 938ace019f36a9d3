"""Idempotency keys: claimed by one statement that also replaces an expired one, so that there is no moment between."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from application.errors import KeyInFlight, KeyReused
from application.ports import KeyId
from infrastructure.persistence.sqlalchemy.engines.errors import LockNotHad
from infrastructure.persistence.sqlalchemy.engines.transaction import Transaction
from infrastructure.persistence.sqlalchemy.tables import idempotency_keys

ROW = idempotency_keys.c
IS_THIS = (
    (ROW.caller == bindparam("this_caller"))
    & (ROW.operation == bindparam("this_operation"))
    & (ROW.key == bindparam("this_key"))
)
READ = select(ROW.fingerprint, ROW.answer).where(IS_THIS)
KEEP = update(idempotency_keys).where(IS_THIS).values(answer=bindparam("answer")).returning(ROW.key)


def _claim(insert: Any) -> Any:
    return insert.on_conflict_do_update(
        index_elements=[ROW.caller, ROW.operation, ROW.key],
        set_={"fingerprint": insert.excluded.fingerprint, "expires_at": insert.excluded.expires_at, "answer": None},
        where=ROW.expires_at <= bindparam("at", type_=ROW.expires_at.type),
    )


NEW = {
    column.name: bindparam(column.name, type_=column.type)
    for column in (ROW.caller, ROW.operation, ROW.key, ROW.fingerprint, ROW.expires_at)
}
# PostgreSQL limits the time for locks before the row is made, which may have to wait for another unit, and no longer.
LIMIT = select(func.set_config("lock_timeout", bindparam("max_wait"), True).label("max_wait")).cte("max_wait")
LIMITED = select(*(value.label(name) for name, value in NEW.items())).select_from(LIMIT)
CLAIM = {
    "postgresql": _claim(postgresql.insert(idempotency_keys).from_select(list(NEW), LIMITED)).returning(
        func.set_config("lock_timeout", "0", True)
    ),
    "sqlite": _claim(sqlite.insert(idempotency_keys).values(NEW)).returning(ROW.key),
}


class SqlKeys:
    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction

    async def claim(
        self, key: KeyId, fingerprint: bytes, *, at: datetime, lifetime: timedelta, max_wait: float
    ) -> bytes | None:
        row = {
            "caller": key.caller,
            "operation": key.operation,
            "key": key.key,
            "fingerprint": fingerprint,
            "expires_at": at + lifetime,
            "at": at,
        }
        if self.transaction.dialect == "postgresql":
            row["max_wait"] = str(max(1, int(max_wait * 1000)))  # none at all would be no limit
        try:
            claimed = await self.transaction.row(CLAIM[self.transaction.dialect], row)
        except LockNotHad:
            raise KeyInFlight("another unit of work holds the key") from None
        if claimed is not None:
            return None
        kept = await self.transaction.row(READ, this(key))
        if kept is None:
            raise KeyInFlight("the key was given up meanwhile")
        if kept["fingerprint"] != fingerprint:
            raise KeyReused
        if kept["answer"] is None:
            raise KeyInFlight("the key was claimed, but its answer not kept")
        answer: bytes = kept["answer"]
        return answer

    async def save_answer(self, key: KeyId, answer: bytes) -> None:
        await self.transaction.change_soon(KEEP, this(key) | {"answer": answer})


def this(key: KeyId) -> dict[str, object]:
    return {"this_caller": key.caller, "this_operation": key.operation, "this_key": key.key}
