"""Idempotency keys of a unit of work."""

from datetime import datetime, timedelta
from uuid import UUID

from pymongo.errors import DuplicateKeyError

from application.errors import KeyInFlight, KeyReused
from application.ports import KeyId
from infrastructure.persistence.beanie.connection import Collection
from infrastructure.persistence.beanie.driver_calls import result_of, start_call
from infrastructure.persistence.beanie.errors import WriteConflict, translate_errors
from infrastructure.persistence.beanie.rows import key_id
from infrastructure.persistence.beanie.writing.transaction import TransactionCollection


class BeanieKeys:
    """Claims idempotency keys and stores their answers within a unit of work (port KeyRepository)."""

    def __init__(self, keys: TransactionCollection, committed: Collection) -> None:
        self._keys = keys
        self._committed = committed

    async def claim(
        self, key: KeyId, fingerprint: bytes, *, at: datetime, lifetime: timedelta, max_wait: float
    ) -> bytes | None:
        """Claim the key until `at + lifetime` and return None, or return the answer that is stored with it.

        A stored key that has expired at `at` is claimed anew. Raise KeyReused if the key was used with another
        fingerprint. Raise KeyInFlight if another unit of work that has not ended has claimed the key, or if its first
        use is committed but not by a majority of the servers yet. `max_wait` is ignored: MongoDB cannot wait for the
        end of another transaction, so KeyInFlight is raised at once.
        """
        id = key_id(key)
        claim = {"fingerprint": fingerprint, "expires_at": at + lifetime, "answer": None}
        try:
            await self._keys.set({"_id": id, "expires_at": {"$lte": at}}, claim, upsert=True)
        except WriteConflict:
            raise KeyInFlight("another unit of work holds the key") from None
        except DuplicateKeyError:
            return await self._stored_answer(id, fingerprint, at)
        return None

    async def save_answer(self, key: KeyId, answer: bytes) -> None:
        """Store the answer of the key that this unit of work has claimed; raise LookupError if it was not claimed."""
        if not await self._keys.set({"_id": key_id(key)}, {"answer": answer}):
            raise LookupError("a key must be claimed before its answer is stored")

    async def _stored_answer(self, id: dict[str, UUID | str], fingerprint: bytes, at: datetime) -> bytes:
        """Return the answer of a key that was used before; raise KeyReused if its fingerprint differs.

        Raise KeyInFlight if the first use has not been committed by a majority of the servers yet; then no key is
        found, or an expired one. The read concern is majority, so that no failover can undo an answer that was
        returned. The transaction cannot be used for this, because the DuplicateKeyError has ended it.
        """
        with translate_errors():
            stored = await result_of(start_call(self._committed.find_one({"_id": id})))
        if stored is None or stored["expires_at"] <= at:
            raise KeyInFlight("the key's first use has not reached the majority yet")
        if stored["fingerprint"] != fingerprint:
            raise KeyReused
        answer: bytes = stored["answer"]
        return answer
