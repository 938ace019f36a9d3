"""The committed tables, and a unit of work's view of a table with its own changes."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from application.errors import TryAgain
from application.ports import KeyId
from domain.item import Item, ItemId, Transfer
from domain.session import LoginAttempts, Session, SessionId
from domain.task import Task, TaskId
from domain.user import User, UserId

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The claim of an idempotency key, and its answer once that has been stored."""

    fingerprint: bytes
    expires_at: datetime
    answer: bytes | None = None


@dataclass(frozen=True, slots=True)
class Tables:
    """The committed rows. A row is replaced and never modified, so a new version is another object."""

    users: dict[UserId, User] = field(default_factory=dict)
    emails: dict[str, UserId] = field(default_factory=dict)
    usernames: dict[str, UserId] = field(default_factory=dict)
    holds: dict[UserId, object] = field(default_factory=dict)
    """Replaced by each unit of work that held the user, so that units of work that locked the user notice it."""
    items: dict[ItemId, Item] = field(default_factory=dict)
    transfers: dict[tuple[ItemId, int], Transfer] = field(default_factory=dict)
    tasks: dict[TaskId, Task] = field(default_factory=dict)
    sessions: dict[SessionId, Session] = field(default_factory=dict)
    tokens: dict[bytes, tuple[SessionId, UserId]] = field(default_factory=dict)
    attempts: dict[bytes, LoginAttempts] = field(default_factory=dict)
    keys: dict[KeyId, StoredAnswer] = field(default_factory=dict)
    claims: set[KeyId] = field(default_factory=set)
    """Keys that an open unit of work has claimed. The only thing that other units of work see before a commit."""


class StagedTable(Generic[K, V]):
    """A table as one unit of work sees it: each row as it was when first read, and the unit's own changes."""

    def __init__(self, committed: dict[K, V]) -> None:
        self.committed = committed
        self.seen: dict[K, V | None] = {}
        self.changed: dict[K, V | None] = {}

    def read(self, key: K) -> V | None:
        """Return the row as this unit of work sees it, or None.

        The first time, remember the committed row: check() raises TryAgain if that is replaced.
        """
        seen = self.seen.setdefault(key, self.committed.get(key))
        return self.changed.get(key, seen)

    def write(self, key: K, row: V | None) -> None:
        """Stage a row, or its removal if None. The row counts as read."""
        self.read(key)
        self.changed[key] = row

    def rows(self) -> list[V]:
        """Return all rows as they are committed now, with this unit's staged changes in place of them.

        They do not count as read: check() does not look at them.
        """
        committed = (row for key, row in self.committed.items() if key not in self.changed)
        return [*committed, *(row for row in self.changed.values() if row is not None)]

    def check(self) -> None:
        """Raise TryAgain if a row that was read has been replaced since."""
        if any(self.committed.get(key) is not row for key, row in self.seen.items()):
            raise TryAgain("another unit of work was first")

    def apply(self) -> None:
        """Make the staged changes part of the committed table, without checking anything."""
        for key, row in self.changed.items():
            if row is None:
                self.committed.pop(key, None)
            else:
                self.committed[key] = row


async def checkpoint() -> None:
    """Let other tasks run, as they do during a round trip to a database."""
    await asyncio.sleep(0)


def delete_rows(rows: dict[K, V], keys: Iterable[K]) -> None:
    """Delete the rows with these keys; raise KeyError if one is missing."""
    for key in keys:
        rows.pop(key)
