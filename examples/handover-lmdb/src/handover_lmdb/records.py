"""The LMDB database, its transactions, and the records in them.

A record is stored as JSON under its kind and identity. Index entries hold the keys of records.
"""

import asyncio
import fcntl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from hashlib import sha256
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import lmdb
import msgspec

from application.errors import NoSpace, Unavailable
from application.streaming import Identity, Record, identity
from domain.item import Transfer
from domain.user import User

R = TypeVar("R")


def record_key(kind: type[Any], identity: Identity) -> bytes:
    """Return the key of a record. LMDB sorts keys by their bytes, and allows 511 of them, so texts are hashed."""
    match identity:
        case UUID():
            value = identity.bytes
        case bytes():
            value = identity
        case caller, operation, key:
            value = caller.bytes + sha256(f"{operation}\0{key}".encode()).digest()
    return kind.__name__.encode() + b":" + value


def name_key(name: str) -> bytes:
    """Return the key of the index entry of an e-mail address, which has an `@`, or of a username, which has none."""
    return b"name:" + sha256(name.encode()).digest()


def history_key(item_id: UUID, number: int) -> bytes:
    """Return the key of the index entry of an item's transfer."""
    return b"history:" + item_id.bytes + number.to_bytes(8)


def index_keys(record: Record) -> list[bytes]:
    """Return the keys of all index entries of this record."""
    if isinstance(record, User):
        return [name_key(record.email), name_key(record.username)]
    return [history_key(record.item_id, record.number)] if isinstance(record, Transfer) else []


class Records:
    """The records in one transaction."""

    def __init__(self, transaction: Any) -> None:
        self.transaction = transaction

    def get(self, kind: type[R], identity: Identity) -> R | None:
        """Return the record of this identity; None if there is none."""
        value = self.transaction.get(record_key(kind, identity))
        return None if value is None else msgspec.json.decode(value, type=kind)

    def find(self, kind: type[R], index_key: bytes) -> R | None:
        """Return the record of this index entry; None if there is none."""
        key = self.transaction.get(index_key)
        return None if key is None else msgspec.json.decode(self.transaction.get(key), type=kind)

    def scan(self, kind: type[R], after: bytes = b"") -> Iterator[R]:
        """Yield the records of this kind whose keys follow `after`, sorted by their keys."""
        for _, value in self.entries(record_key(kind, b""), after):
            yield msgspec.json.decode(value, type=kind)

    def history(self, prefix: bytes, after: bytes = b"") -> Iterator[Transfer]:
        """Yield the transfers whose index keys have this prefix and follow `after`, sorted by item and number."""
        for _, key in self.entries(prefix, after):
            yield msgspec.json.decode(self.transaction.get(key), type=Transfer)

    def entries(self, prefix: bytes, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield the keys with this prefix that follow `after`, and their values."""
        cursor = self.transaction.cursor()
        if cursor.set_range(max(prefix, after)):
            behind = islice(cursor, cursor.key() == after, None)
            yield from takewhile(lambda entry: entry[0].startswith(prefix), behind)

    def put(self, record: Record) -> None:
        """Store the record in place of the one with the same identity."""
        self.delete(type(record), identity(record))
        key = record_key(type(record), identity(record))
        self.transaction.put(key, msgspec.json.encode(record))
        for index_key in index_keys(record):
            self.transaction.put(index_key, key)

    def delete(self, kind: type[Record], identity: Identity) -> None:
        """Delete the record of this identity, if there is one."""
        if (before := self.get(kind, identity)) is not None:
            for key in [record_key(kind, identity), *index_keys(before)]:
                self.transaction.delete(key)


class Database:
    """An LMDB database in a folder. Reading never waits; one write transaction can be open at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.turn = asyncio.Lock()

    async def open(self) -> None:
        """Open the folder, and create it if it does not exist; raise Unavailable if its parent does not."""
        with translated_errors():
            self.environment = lmdb.open(str(self.folder), map_size=2**36)  # the file itself grows as needed
        self.lock_file = (self.folder / "writer.lock").open("w")

    async def close(self) -> None:
        """Close the database."""
        self.lock_file.close()
        self.environment.close()

    @contextmanager
    def read(self) -> Iterator[Records]:
        """Yield the committed records."""
        with translated_errors(), self.environment.begin() as transaction:
            yield Records(transaction)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Records]:
        """Begin a write transaction as soon as no other one is open; abort it at the end unless it was committed."""
        async with self.turn:
            await asyncio.sleep(0)  # lets other tasks run, even if nothing below has to wait
            while True:
                with suppress(BlockingIOError):  # LMDB has a lock, too, but waiting for it would block the event loop
                    fcntl.flock(self.lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                await asyncio.sleep(0.005)
            try:
                with translated_errors(), self.environment.begin(write=True) as transaction:
                    yield Records(transaction)
                    transaction.abort()
            finally:
                fcntl.flock(self.lock_file, fcntl.LOCK_UN)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise Unavailable instead of LMDB's errors."""
    try:
        yield
    except (lmdb.Error, FileNotFoundError) as error:
        full = isinstance(error, (lmdb.MapFullError, lmdb.DiskError))
        raise (NoSpace if full else Unavailable)(f"LMDB: {error}") from error


class UsesDatabase:
    """Base class of the readers and the stream."""

    def __init__(self, database: Database) -> None:
        self.database = database
