"""What is committed, and a unit of work's view of it."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from application.errors import TryAgain
from application.ports import KeyId
from domain.errors import NotFound
from domain.item import Item, ItemId, Transfer
from domain.session import LoginAttempts, Session, SessionId
from domain.task import Task, TaskId
from domain.user import User, UserId

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Kept:
    fingerprint: bytes
    expires_at: datetime
    answer: bytes | None = None


@dataclass(frozen=True, slots=True)
class Tables:
    """What is committed. Rows are replaced and never changed, so a row's identity tells its version."""

    users: dict[UserId, User] = field(default_factory=dict)
    emails: dict[str, UserId] = field(default_factory=dict)
    usernames: dict[str, UserId] = field(default_factory=dict)
    holds: dict[UserId, object] = field(default_factory=dict)
    """Another object after each unit of work that held the user: whoever locks one sees by it that they were held."""
    items: dict[ItemId, Item] = field(default_factory=dict)
    transfers: dict[tuple[ItemId, int], Transfer] = field(default_factory=dict)
    tasks: dict[TaskId, Task] = field(default_factory=dict)
    sessions: dict[SessionId, Session] = field(default_factory=dict)
    tokens: dict[bytes, tuple[SessionId, UserId]] = field(default_factory=dict)
    attempts: dict[bytes, LoginAttempts] = field(default_factory=dict)
    keys: dict[KeyId, Kept] = field(default_factory=dict)
    claims: set[KeyId] = field(default_factory=set)
    """Keys that an open unit of work holds; the one thing that others see before a commit."""


class Staged(Generic[K, V]):
    """One table as one unit of work sees it: what was committed when it looked, under its own changes."""

    def __init__(self, committed: dict[K, V]) -> None:
        self.committed = committed
        self.seen: dict[K, V | None] = {}
        self.changed: dict[K, V | None] = {}

    def read(self, key: K) -> V | None:
        seen = self.seen.setdefault(key, self.committed.get(key))
        return self.changed.get(key, seen)

    def write(self, key: K, row: V | None) -> None:
        self.read(key)
        self.changed[key] = row

    def rows(self) -> list[V]:
        committed = (row for key, row in self.committed.items() if key not in self.changed)
        return [*committed, *(row for row in self.changed.values() if row is not None)]

    def check(self) -> None:
        if any(self.committed.get(key) is not row for key, row in self.seen.items()):
            raise TryAgain("another unit of work was first")

    def apply(self) -> None:
        for key, row in self.changed.items():
            if row is None:
                self.committed.pop(key, None)
            else:
                self.committed[key] = row


async def others_turn() -> None:
    """What a round trip is to a real engine: the moment at which other units of work go on."""
    await asyncio.sleep(0)


def drop(rows: dict[K, V], keys: Iterable[K]) -> None:
    for key in keys:
        rows.pop(key)


def found(row: V | None, kind: str) -> V:
    if row is None:
        raise NotFound(f"{kind}-not-found", f"there is no such {kind}")
    return row
