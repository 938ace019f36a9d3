"""A store in the memory of one process, for tests and for trying things out.

Units of work stage their changes and remember what they have seen. Whether all of that still holds is asked once, at
commit, which then applies everything in one go or raises TryAgain; nobody ever waits for anybody.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from application.errors import KeyInFlight, KeyReused, TryAgain
from application.paging import COUNT_LIMIT, Page, Window
from application.ports import KeyId, OwnedItem, Schema
from domain.errors import Conflict, NotFound
from domain.item import Item, ItemId, Transfer
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
    items: dict[ItemId, Item] = field(default_factory=dict)
    transfers: dict[tuple[ItemId, int], Transfer] = field(default_factory=dict)
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


class MemoryUsers:
    def __init__(self, tables: Tables) -> None:
        self.rows = Staged(tables.users)
        self.emails = Staged(tables.emails)
        self.usernames = Staged(tables.usernames)
        self.removed: set[UserId] = set()

    async def add(self, user: User) -> None:
        await others_turn()
        self._take_names(user)
        self.rows.write(user.id, copy(user))

    async def get_for_update(self, user_id: UserId) -> User:
        await others_turn()
        return copy(found(self.rows.read(user_id), "user"))

    async def hold(self, *user_ids: UserId) -> dict[UserId, User]:
        await others_turn()
        return {user_id: copy(user) for user_id in user_ids if (user := self.rows.read(user_id))}

    async def save(self, user: User) -> None:
        await others_turn()
        before = found(self.rows.read(user.id), "user")
        if before.version != user.version - 1:
            raise TryAgain("the user has changed")
        self._drop_names(before)
        self._take_names(user)
        self.rows.write(user.id, copy(user))

    async def remove(self, user: User) -> None:
        await others_turn()
        self._drop_names(user)
        self.rows.write(user.id, None)
        self.removed.add(user.id)

    def _take_names(self, user: User) -> None:
        if self.emails.read(user.email) is not None:
            raise Conflict("email-taken", "an account with this e-mail address exists")
        if self.usernames.read(user.username) is not None:
            raise Conflict("username-taken", "an account with this username exists")
        self.emails.write(user.email, user.id)
        self.usernames.write(user.username, user.id)

    def _drop_names(self, user: User) -> None:
        self.emails.write(user.email, None)
        self.usernames.write(user.username, None)


class MemoryItems:
    def __init__(self, tables: Tables) -> None:
        self.rows = Staged(tables.items)

    async def add(self, item: Item) -> None:
        await others_turn()
        self.rows.write(item.id, copy(item))

    async def get_for_update(self, item_id: ItemId) -> Item:
        await others_turn()
        return copy(found(self.rows.read(item_id), "item"))

    async def save(self, item: Item) -> None:
        await others_turn()
        self._expect(item.id, item.version - 1)
        self.rows.write(item.id, copy(item))

    async def remove(self, item: Item) -> None:
        await others_turn()
        self._expect(item.id, item.version)
        self.rows.write(item.id, None)

    def _expect(self, item_id: ItemId, version: int) -> None:
        before = self.rows.read(item_id)
        if before is None or before.version != version:
            raise TryAgain("the item has changed")

    def owned_by(self, users: set[UserId]) -> bool:
        changed = self.rows.changed
        now = [
            *(row for row in changed.values() if row),
            *(r for k, r in self.rows.committed.items() if k not in changed),
        ]
        return any(item.owner_id in users for item in now)


class MemoryTransfers:
    def __init__(self, tables: Tables) -> None:
        self.rows = Staged(tables.transfers)

    async def add(self, transfer: Transfer) -> None:
        await others_turn()
        place = (transfer.item_id, transfer.number)
        if self.rows.read(place) is not None:
            raise TryAgain("the item has a transfer of this number")
        self.rows.write(place, transfer)


class MemoryKeys:
    def __init__(self, tables: Tables) -> None:
        self.rows = Staged(tables.keys)
        self.claims = tables.claims
        self.claimed: set[KeyId] = set()

    async def claim(
        self, key: KeyId, fingerprint: bytes, *, at: datetime, lifetime: timedelta, patience: float
    ) -> bytes | None:
        await others_turn()
        if key in self.claims:
            raise KeyInFlight("another unit of work holds the key")
        kept = self.rows.read(key)
        if kept is not None and kept.expires_at > at:
            if kept.fingerprint != fingerprint:
                raise KeyReused
            return kept.answer
        self.claims.add(key)
        self.claimed.add(key)
        self.rows.write(key, Kept(fingerprint, at + lifetime))
        return None

    async def keep(self, key: KeyId, answer: bytes) -> None:
        await others_turn()
        claimed = self.rows.read(key)
        if claimed is None:
            raise LookupError("a key is claimed before its answer is kept")
        self.rows.write(key, replace(claimed, answer=answer))

    def release(self) -> None:
        self.claims -= self.claimed


class MemoryUnitOfWork:
    def __init__(self, tables: Tables) -> None:
        self.users = MemoryUsers(tables)
        self.items = MemoryItems(tables)
        self.transfers = MemoryTransfers(tables)
        self.keys = MemoryKeys(tables)

    async def commit(self) -> None:
        await others_turn()
        parts = (
            self.users.rows,
            self.users.emails,
            self.users.usernames,
            self.items.rows,
            self.transfers.rows,
            self.keys.rows,
        )
        for part in parts:
            part.check()
        if self.users.removed and self.items.owned_by(self.users.removed):
            raise Conflict("user-owns-items", "an account that owns items cannot be deleted")
        for part in parts:
            part.apply()


class MemoryUserReader:
    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    async def get(self, user_id: UserId) -> User:
        return copy(found(self.tables.users.get(user_id), "user"))

    async def by_login(self, login: str) -> User | None:
        names = self.tables.emails if "@" in login else self.tables.usernames
        user_id = names.get(login)
        return None if user_id is None else copy(self.tables.users[user_id])


class MemoryItemReader:
    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    async def get(self, item_id: ItemId) -> OwnedItem:
        item = found(self.tables.items.get(item_id), "item")
        return OwnedItem(copy(item), self.tables.users[item.owner_id].username)


class MemoryTransferReader:
    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    async def of_item(self, item_id: ItemId, window: Window) -> Page[Transfer]:
        count = found(self.tables.items.get(item_id), "item").transfers
        start = window.skip if window.after is None else int(str(window.after.value))
        numbers = range(start + 1, min(start + window.limit, count) + 1)
        return Page(
            items=[self.tables.transfers[item_id, number] for number in numbers],
            more=start + window.limit < count,
            total=min(count, COUNT_LIMIT) if window.count else None,
        )


def found(row: V | None, kind: str) -> V:
    if row is None:
        raise NotFound(f"{kind}-not-found", f"there is no such {kind}")
    return row


class MemoryStore:
    def __init__(self) -> None:
        self.tables = Tables()
        self.users = MemoryUserReader(self.tables)
        self.items = MemoryItemReader(self.tables)
        self.transfers = MemoryTransferReader(self.tables)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[MemoryUnitOfWork]:
        uow = MemoryUnitOfWork(self.tables)
        try:
            yield uow
        finally:
            uow.keys.release()

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def schema(self) -> Schema:
        return Schema(found=None, needed=None)

    async def upgrade(self) -> None: ...

    async def downgrade(self) -> None: ...


def open_store(_: object) -> MemoryStore:
    """There is nothing to set."""
    return MemoryStore()
