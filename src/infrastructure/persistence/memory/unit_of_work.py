"""Units of work: changes are staged, and at commit either all of them apply or none."""

from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from application.errors import KeyInFlight, KeyReused, TryAgain
from application.ports import KeyId
from domain.errors import Conflict
from domain.item import Item, ItemId, Transfer
from domain.session import LoginAttempts, Session, SessionId
from domain.task import Task, TaskId
from domain.user import User, UserId
from infrastructure.persistence.memory.tables import Kept, Staged, Tables, found, others_turn

K = TypeVar("K")
E = TypeVar("E", bound="Versioned")


class Versioned(Protocol):
    @property
    def id(self) -> Any: ...
    @property
    def version(self) -> int: ...


class MemoryUsers:
    def __init__(self, tables: Tables) -> None:
        self.rows = Staged(tables.users)
        self.emails = Staged(tables.emails)
        self.usernames = Staged(tables.usernames)
        self.holds = Staged(tables.holds)
        self.removed: set[UserId] = set()

    async def add(self, user: User) -> None:
        await others_turn()
        self._take_names(user)
        self.rows.write(user.id, copy(user))

    async def get_for_update(self, user_id: UserId) -> User:
        await others_turn()
        self.holds.read(user_id)
        return copy(found(self.rows.read(user_id), "user"))

    async def hold(self, *user_ids: UserId) -> dict[UserId, User]:
        await others_turn()
        self.holds.changed.update((user_id, object()) for user_id in user_ids)  # unread: others may hold them too
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
        before = self.rows.read(user.id)
        if before is None or before.version != user.version:
            raise TryAgain("the user has changed")
        self._drop_names(user)
        self.rows.write(user.id, None)
        self.holds.changed[user.id] = None
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


class MemoryVersioned(Generic[K, E]):
    """Items, tasks and sessions are kept alike."""

    kind: ClassVar[str]

    def __init__(self, committed: dict[K, E]) -> None:
        self.rows: Staged[Any, E] = Staged(committed)

    async def add(self, entity: E) -> None:
        await others_turn()
        self.rows.write(entity.id, copy(entity))

    async def get_for_update(self, id: K) -> E:
        await others_turn()
        return copy(found(self.rows.read(id), self.kind))

    async def save(self, entity: E) -> None:
        await others_turn()
        self._expect(entity.id, entity.version - 1)
        self.rows.write(entity.id, copy(entity))

    async def remove(self, entity: E) -> None:
        await others_turn()
        self._expect(entity.id, entity.version)
        self.rows.write(entity.id, None)

    def _expect(self, id: Any, version: int) -> None:
        before = self.rows.read(id)
        if before is None or before.version != version:
            raise TryAgain(f"the {self.kind} has changed")


class MemoryItems(MemoryVersioned[ItemId, Item]):
    kind = "item"

    def owned_by(self, users: set[UserId]) -> bool:
        return any(item.owner_id in users for item in self.rows.rows())


class MemoryTasks(MemoryVersioned[TaskId, Task]):
    kind = "task"

    async def remove_all(self, user_id: UserId) -> None:
        for task in self.rows.rows():
            if task.owner_id == user_id:
                await self.remove(task)


class MemorySessions(MemoryVersioned[SessionId, Session]):
    kind = "session"

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables.sessions)
        self.tokens = Staged(tables.tokens)

    async def add(self, session: Session) -> None:
        await super().add(session)
        self.tokens.write(session.token_hash, (session.id, session.user_id))

    async def save(self, session: Session) -> None:
        await super().save(session)
        self.tokens.write(session.token_hash, (session.id, session.user_id))

    async def find(self, token_hash: bytes) -> tuple[SessionId, UserId] | None:
        await others_turn()
        return self.tokens.read(token_hash)

    async def revoke_all(self, user_id: UserId) -> None:
        for session in self.rows.rows():
            if session.user_id == user_id and not session.revoked:
                revoked = copy(session)
                revoked.revoke()
                await self.save(revoked)

    async def remove_all(self, user_id: UserId) -> None:
        for session in self.rows.rows():
            if session.user_id == user_id:
                await self.remove(session)
        for token_hash, place in (self.tokens.committed | self.tokens.changed).items():
            if place is not None and place[1] == user_id:
                self.tokens.write(token_hash, None)


class MemoryAttempts:
    def __init__(self, tables: Tables) -> None:
        self.rows = Staged(tables.attempts)

    async def get_for_update(self, *subjects: bytes) -> list[LoginAttempts]:
        await others_turn()
        return [copy(self.rows.read(subject) or LoginAttempts(subject=subject)) for subject in subjects]

    async def save(self, *attempts: LoginAttempts) -> None:
        await others_turn()
        for counted in attempts:
            self.rows.write(counted.subject, copy(counted))


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
        self, key: KeyId, fingerprint: bytes, *, at: datetime, lifetime: timedelta, max_wait: float
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

    async def save_answer(self, key: KeyId, answer: bytes) -> None:
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
        self.items = MemoryItems(tables.items)
        self.transfers = MemoryTransfers(tables)
        self.tasks = MemoryTasks(tables.tasks)
        self.sessions = MemorySessions(tables)
        self.attempts = MemoryAttempts(tables)
        self.keys = MemoryKeys(tables)

    async def commit(self) -> None:
        await others_turn()
        parts = (
            self.users.rows,
            self.users.emails,
            self.users.usernames,
            self.users.holds,
            self.items.rows,
            self.transfers.rows,
            self.tasks.rows,
            self.sessions.rows,
            self.sessions.tokens,
            self.attempts.rows,
            self.keys.rows,
        )
        for part in parts:
            part.check()
        if self.users.removed and self.items.owned_by(self.users.removed):
            raise Conflict("user-owns-items", "an account that owns items cannot be deleted")
        for part in parts:
            part.apply()
