"""Copying a whole store to another one, on any engine."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

from application.errors import TryAgain, Unavailable
from application.store import Store
from application.streaming import KINDS, MARKER, Identity, Record, Report, StoredKey, StoreStream, identity, label
from application.use_cases.purge import LEASE
from domain.errors import DomainError

SECONDS_FOR_LOCKS = 90
"""How long a copy waits for locks of a copy that was killed before. MongoDB keeps them for up to a minute."""
SECONDS_BETWEEN_WRITES = 0.1
"""How long it waits before it tries again."""

BATCH = 2_000
"""Records that are in memory at once, and are written in one transaction. MongoDB aborts one that takes too long."""
LARGE_BATCH = 20_000
"""The same for targets with one writer at a time: each transaction is synchronized to disk, and no other one waits."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

FIELDS: dict[type[Record], list[str]] = {kind: [field.name for field in fields(kind)] for kind in KINDS}

OWN_KEYS = {MARKER, LEASE}
"""Keys of Handover itself, which are neither copied nor compared. They sort before all other keys."""


class CopyRefused(DomainError):
    """The target is in use (`target-not-empty`), or the copy differs from its source (`copy-differs`)."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a copy has come.

    `kind` is the index in KINDS of the kind that is being copied, and `after` the identity of the last record of this
    kind that was written, None if there is none.
    """

    kind: int = 0
    after: Identity | None = None

    def encode(self) -> bytes:
        """Return the checkpoint as JSON."""
        match self.after:
            case UUID():
                after: object = {"uuid": self.after.hex}
            case bytes():
                after = {"bytes": self.after.hex()}
            case tuple():
                after = {"key": [self.after[0].hex, *self.after[1:]]}
            case None:
                after = None
        return json.dumps([self.kind, after]).encode()

    @classmethod
    def decode(cls, encoded: bytes) -> "Checkpoint":
        """Return the checkpoint of which encode() made this JSON; raise ValueError if it is something else."""
        match json.loads(encoded):
            case [int(kind), {"uuid": str(text)}]:
                return cls(kind, UUID(text))
            case [int(kind), {"bytes": str(text)}]:
                return cls(kind, bytes.fromhex(text))
            case [int(kind), {"key": [str(caller), str(operation), str(key)]}]:
                return cls(kind, (UUID(caller), operation, key))
            case [int(kind), None]:
                return cls(kind)
        raise ValueError("this is not a checkpoint")


@dataclass(frozen=True, slots=True)
class Digest:
    """The number of records of one kind, and the sum of their hashes, which does not depend on their order."""

    count: int = 0
    hashes: int = 0

    def add(self, record: Record) -> "Digest":
        """Return the digest with one more record."""
        content = "\x1f".join([str(getattr(record, name)) for name in FIELDS[type(record)]])
        number = int.from_bytes(sha256(content.encode(errors="surrogatepass")).digest())
        return Digest(self.count + 1, (self.hashes + number) % 2**256)


@dataclass(frozen=True, slots=True)
class CopyStore:
    """Copy everything from one store to another, and verify it.

    Raise CopyRefused if the target is in use, and Unavailable if it stays locked.

    - The target is empty, or has an unfinished copy of the same source, which is then continued. Until the copy is
      complete, the target has the key MARKER, whose answer is the Checkpoint.
    - Everything is copied as it is: ids, versions, history, password hashes, tokens, idempotency keys and answers.
    - At the end all records of both stores are read and compared. If the source has changed meanwhile, the copy is not
      complete: CopyRefused, and the next one begins from the start.
    """

    source: Store
    target: Store
    report: Report = lambda phase, kind, done, total: None
    """Called after each batch with the phase `copy`, `verify source` or `verify target`."""

    async def __call__(self, source_name: str) -> dict[str, int]:
        """Copy and verify; return the number of records by kind, in the plural, such as `{"users": 3}`.

        `source_name` identifies the source, so that an unfinished copy is only continued from the same one.
        """
        fingerprint = sha256(source_name.encode()).digest()
        checkpoint = await self._begin_or_continue(fingerprint)
        for number in range(checkpoint.kind, len(KINDS)):
            await self._copy(number, checkpoint.after if number == checkpoint.kind else None, fingerprint)
        counts = {}
        for kind in KINDS:
            source = await self._digest("verify source", self.source.stream, kind)
            if source != await self._digest("verify target", self.target.stream, kind):
                await self._save(Checkpoint(), fingerprint)
                raise CopyRefused(
                    "copy-differs",
                    f"the {label(kind)} of the source have changed while it was copied: stop its servers, then copy"
                    " again (into an empty target if something was deleted)",
                )
            counts[label(kind)] = source.count
        await self.target.purge(EPOCH + timedelta(milliseconds=1), limit=1)  # removes the marker
        return counts

    async def _begin_or_continue(self, fingerprint: bytes) -> Checkpoint:
        """Return where to begin or go on; if the target is empty, write MARKER with the first checkpoint to it.

        `fingerprint` is the hash of the source's name. Raise CopyRefused if the target has anything but an unfinished
        copy of this source.
        """
        marker = await self._marker()
        if marker is None:
            for kind in KINDS:
                if contents(await self.target.stream.read(kind, None, len(OWN_KEYS))):
                    raise CopyRefused(
                        "target-not-empty", f"the target is not empty, it has {label(kind)}: name another"
                    )
            await self._save(Checkpoint(), fingerprint)
            return Checkpoint()
        if marker.fingerprint != fingerprint:
            raise CopyRefused("target-not-empty", "the target has an unfinished copy of another store: name another")
        return Checkpoint.decode(marker.answer)

    async def _marker(self) -> StoredKey | None:
        """Return the target's key MARKER, or None if no copy to it is unfinished."""
        first = await self.target.stream.read(StoredKey, None, 1)  # no caller has the id 0, so it sorts first
        return first[0] if first and first[0].id == MARKER else None

    async def _save(self, checkpoint: Checkpoint, fingerprint: bytes) -> None:
        """Store the checkpoint in the target, as the answer of the key MARKER; the former one is replaced."""
        marker = StoredKey(id=MARKER, fingerprint=fingerprint, expires_at=EPOCH, answer=checkpoint.encode())
        await self._write([marker])

    async def _copy(self, number: int, after: Identity | None, fingerprint: bytes) -> None:
        """Copy the records of the kind KINDS[number] that follow `after` (None: all); store a checkpoint per batch.

        After each batch, call `report` with the number of records that this call has copied, and with the number of all
        records of this kind in the source.
        """
        kind = KINDS[number]
        total, done = await count(self.source.stream, kind), 0
        size = LARGE_BATCH if self.target.capabilities.writers == "one" else BATCH
        async for batch in batches(self.source.stream, kind, after, size):
            await self._write(batch)
            await self._save(Checkpoint(number, identity(batch[-1])), fingerprint)
            done += len(batch)
            self.report("copy", kind, done, total)

    async def _digest(self, phase: str, stream: StoreStream, kind: type[Record]) -> Digest:
        """Return the digest of all records of one kind, without OWN_KEYS; report progress as `phase`."""
        digest, total = Digest(), await count(stream, kind)
        async for batch in batches(stream, kind, None, BATCH):
            for record in batch:
                digest = digest.add(record)
            self.report(phase, kind, digest.count, total)
        return digest

    async def _write(self, records: Sequence[Record]) -> None:
        """Write the records to the target; repeat that while it raises TryAgain.

        Raise Unavailable if it still does after SECONDS_FOR_LOCKS.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + SECONDS_FOR_LOCKS
        while True:
            try:
                return await self.target.stream.write(records)
            except TryAgain:
                if clock() >= deadline:
                    raise Unavailable("the target is locked: stop what uses it, and repeat the command") from None
                await asyncio.sleep(SECONDS_BETWEEN_WRITES)


async def batches(
    stream: StoreStream, kind: type[Record], after: Identity | None, size: int
) -> AsyncIterator[list[Record]]:
    """Yield all records of a kind that follow `after` (None: all), without OWN_KEYS, in lists of 1 to `size`."""
    while batch := await stream.read(kind, after, size):
        if copied := contents(batch):
            yield copied
        after = identity(batch[-1])


async def count(stream: StoreStream, kind: type[Record]) -> int:
    """Return the number of records of a kind, without OWN_KEYS."""
    first = await stream.read(kind, None, len(OWN_KEYS))
    return await stream.count(kind) - len(first) + len(contents(first))


def contents(records: Sequence[Record]) -> list[Record]:
    """Return the records without OWN_KEYS."""
    return [record for record in records if not (isinstance(record, StoredKey) and record.id in OWN_KEYS)]
