"""Idempotency keys inside a unit of work."""

from datetime import datetime, timedelta
from uuid import UUID

from pymongo.errors import DuplicateKeyError

from application.errors import KeyInFlight, KeyReused
from application.ports import KeyId
from infrastructure.persistence.beanie.connection import Rows
from infrastructure.persistence.beanie.errors import WriteConflict, translated
from infrastructure.persistence.beanie.rows import key_id
from infrastructure.persistence.beanie.writing.transaction import Transacted


class BeanieKeys:
    def __init__(self, keys: Transacted, committed: Rows) -> None:
        self._keys = keys
        self._committed = committed

    async def claim(
        self, key: KeyId, fingerprint: bytes, *, at: datetime, lifetime: timedelta, max_wait: float
    ) -> bytes | None:
        """Nobody can wait for another transaction's end here, so the max_wait is the caller's."""
        id = key_id(key)
        claim = {"fingerprint": fingerprint, "expires_at": at + lifetime, "answer": None}
        try:
            await self._keys.set({"_id": id, "expires_at": {"$lte": at}}, claim, upsert=True)
        except WriteConflict:
            raise KeyInFlight("another unit of work holds the key") from None
        except DuplicateKeyError:
            return await self._answer(id, fingerprint, at)
        return None

    async def save_answer(self, key: KeyId, answer: bytes) -> None:
        if not await self._keys.set({"_id": key_id(key)}, {"answer": answer}):
            raise LookupError("a key is claimed before its answer is kept")

    async def _answer(self, id: dict[str, UUID | str], fingerprint: bytes, at: datetime) -> bytes:
        """Outside of the transaction, which is over, and with majority concern: no replay is ever rolled back."""
        with translated():
            kept = await self._committed.find_one({"_id": id})
        if kept is None or kept["expires_at"] <= at:
            raise KeyInFlight("the key's first use has not reached the majority yet")
        if kept["fingerprint"] != fingerprint:
            raise KeyReused
        answer: bytes = kept["answer"]
        return answer
