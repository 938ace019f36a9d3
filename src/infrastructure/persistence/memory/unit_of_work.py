"""The unit of work and its repositories. Changes are staged; commit() applies all of them or none."""

from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from application.errors import KeyInFlight, KeyReused, TryAgain
from application.ports import KeyId
from application.store import lock_one_by_one
from domain.errors import require
from domain.item import Item, ItemId, Transfer
from domain.session import LoginAttempts, Session, SessionId
from domain.task import Task, TaskId
from domain.user import User, UserId, email_taken, user_owns_items, username_taken
from infrastructure.persistence.memory.tables import StagedTable, StoredAnswer, Tables, checkpoint

K = TypeVar("K")
E = TypeVar("E", bound="Versioned")


class Versioned(Protocol):
    """An entity with an id, and a version that grows by one with every change."""

    @property
    def id(self) -> Any: ...
    @property
    def version(self) -> int: ...


class MemoryUsers:
    """Stores, changes, locks and removes users within a unit of work (port UserRepository)."""

    def __init__(self, tables: Tables) -> None:
        self.rows = StagedTable(tables.users)
        self.emails = StagedTable(tables.emails)
        self.usernames = StagedTable(tables.usernames)
        self.holds = StagedTable(tables.holds)
        self.removed: set[UserId] = set()

    async def add(self, user: User) -> None:
        """Store a new user; raise Conflict if the e-mail address or username is taken."""
        await checkpoint()
        self._claim_names(user)
        self.rows.write(user.id, copy(user))

    async def get_for_update(self, user_id: UserId) -> User:
        """Return the user; raise NotFound. commit() raises TryAgain if the user was changed or held meanwhile."""
        await checkpoint()
        self.holds.read(user_id)
        return copy(require(self.rows.read(user_id), "user"))

    async def hold(self, *user_ids: UserId) -> dict[UserId, User]:
        """Return those of the users that exist.

        If another unit of work changes or removes one of them, or has it locked, the later of the two to commit may get
        TryAgain at commit().
        """
        await checkpoint()
        self.holds.changed.update(
            (user_id, object()) for user_id in user_ids
        )  # not read, since other units of work may hold the same users
        return {user_id: copy(user) for user_id in user_ids if (user := self.rows.read(user_id))}

    async def save(self, user: User) -> None:
        """Store a changed user; raise NotFound if there is none, TryAgain if the stored version is not `version - 1`.

        Raise Conflict if another user has the e-mail address or username.
        """
        await checkpoint()
        before = require(self.rows.read(user.id), "user")
        if before.version != user.version - 1:
            raise TryAgain("the user has changed")
        self._release_names(before)
        self._claim_names(user)
        self.rows.write(user.id, copy(user))

    async def remove(self, user: User) -> None:
        """Remove the user; raise TryAgain if it is missing or its version has changed.

        Whether the user owns items is checked by commit(), which then raises Conflict.
        """
        await checkpoint()
        before = self.rows.read(user.id)
        if before is None or before.version != user.version:
            raise TryAgain("the user has changed")
        self._release_names(user)
        self.rows.write(user.id, None)
        self.holds.changed[user.id] = None
        self.removed.add(user.id)

    def _claim_names(self, user: User) -> None:
        """Stage the user's e-mail address and username as taken; raise Conflict if one is taken, even by this user."""
        if self.emails.read(user.email) is not None:
            raise email_taken()
        if self.usernames.read(user.username) is not None:
            raise username_taken()
        self.emails.write(user.email, user.id)
        self.usernames.write(user.username, user.id)

    def _release_names(self, user: User) -> None:
        """Stage that the user's e-mail address and username are free."""
        self.emails.write(user.email, None)
        self.usernames.write(user.username, None)


class MemoryVersioned(Generic[K, E]):
    """A repository of entities with an id and a version: items, tasks and sessions."""

    kind: ClassVar[str]

    def __init__(self, committed: dict[K, E]) -> None:
        self.rows: StagedTable[Any, E] = StagedTable(committed)

    async def add(self, entity: E) -> None:
        """Store a new entity."""
        await checkpoint()
        self.rows.write(entity.id, copy(entity))

    async def get_for_update(self, id: K) -> E:
        """Return a copy of the entity; raise NotFound. Not locked: commit() raises TryAgain if it changes meanwhile."""
        await checkpoint()
        return copy(require(self.rows.read(id), self.kind))

    async def save(self, entity: E) -> None:
        """Store a changed entity; raise TryAgain if the stored version is not `version - 1`."""
        await checkpoint()
        self._check_version(entity.id, entity.version - 1)
        self.rows.write(entity.id, copy(entity))

    async def remove(self, entity: E) -> None:
        """Remove the entity; raise TryAgain if it is missing or its version has changed."""
        await checkpoint()
        self._check_version(entity.id, entity.version)
        self.rows.write(entity.id, None)

    def _check_version(self, id: Any, version: int) -> None:
        """Raise TryAgain unless the row exists and has this version."""
        before = self.rows.read(id)
        if before is None or before.version != version:
            raise TryAgain(f"the {self.kind} has changed")


class MemoryItems(MemoryVersioned[ItemId, Item]):
    """Stores, changes and removes items within a unit of work (port ItemRepository)."""

    kind = "item"

    def any_owned_by(self, users: set[UserId]) -> bool:
        """Return whether one of these users owns an item, as committed now or with the changes of this unit of work."""
        return any(item.owner_id in users for item in self.rows.rows())


class MemoryTasks(MemoryVersioned[TaskId, Task]):
    """Stores, changes and removes tasks within a unit of work (port TaskRepository)."""

    kind = "task"

    async def remove_all(self, user_id: UserId) -> None:
        """Remove all tasks of the user."""
        for task in self.rows.rows():
            if task.owner_id == user_id:
                await self.remove(task)


class MemorySessions(MemoryVersioned[SessionId, Session]):
    """Stores sessions and the hashes of their tokens within a unit of work (port SessionRepository)."""

    kind = "session"

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables.sessions)
        self.tokens = StagedTable(tables.tokens)

    async def add(self, session: Session) -> None:
        """Store a new session and its token hash."""
        await super().add(session)
        self.tokens.write(session.token_hash, (session.id, session.user_id))

    async def save(self, session: Session) -> None:
        """Store a changed session and its token hash; earlier hashes can still be found.

        Raise TryAgain if the stored version is not `version - 1`.
        """
        await super().save(session)
        self.tokens.write(session.token_hash, (session.id, session.user_id))

    async def find(self, token_hash: bytes) -> tuple[SessionId, UserId] | None:
        """Return the session and user of a token's hash, even of a replaced token; None if the hash is unknown."""
        await checkpoint()
        return self.tokens.read(token_hash)

    async def revoke_all(self, user_id: UserId) -> None:
        """Revoke all sessions of the user that are not revoked yet; the version of each grows by one."""
        for session in self.rows.rows():
            if session.user_id == user_id and not session.revoked:
                revoked = copy(session)
                revoked.revoke()
                await self.save(revoked)

    async def remove_all(self, user_id: UserId) -> None:
        """Remove all sessions of the user, and their tokens."""
        for session in self.rows.rows():
            if session.user_id == user_id:
                await self.remove(session)
        for token_hash, owner in (self.tokens.committed | self.tokens.changed).items():
            if owner is not None and owner[1] == user_id:
                self.tokens.write(token_hash, None)


class MemoryAttempts:
    """Stores recent log-in attempts within a unit of work (port LoginAttemptRepository)."""

    def __init__(self, tables: Tables) -> None:
        self.rows = StagedTable(tables.attempts)

    async def get_for_update(self, *subjects: bytes) -> list[LoginAttempts]:
        """Return the attempts of each subject, in the order of the arguments; empty ones if nothing is stored.

        Not locked: commit() raises TryAgain if they have changed meanwhile.
        """
        await checkpoint()
        return [copy(self.rows.read(subject) or LoginAttempts(subject=subject)) for subject in subjects]

    async def save(self, *attempts: LoginAttempts) -> None:
        """Store attempts that get_for_update() returned and that have changed since."""
        await checkpoint()
        for counter in attempts:
            self.rows.write(counter.subject, copy(counter))


class MemoryTransfers:
    """Adds transfers to the history within a unit of work (port TransferRepository)."""

    def __init__(self, tables: Tables) -> None:
        self.rows = StagedTable(tables.transfers)

    async def add(self, transfer: Transfer) -> None:
        """Store a transfer; raise TryAgain if the item has one of that number."""
        await checkpoint()
        key = (transfer.item_id, transfer.number)
        if self.rows.read(key) is not None:
            raise TryAgain("the item has a transfer of this number")
        self.rows.write(key, transfer)


class MemoryKeys:
    """Claims idempotency keys and stores their answers within a unit of work (port KeyRepository).

    Claims exclude other units of work at once; release() has to be called at the end, also after commit().
    """

    def __init__(self, tables: Tables) -> None:
        self.rows = StagedTable(tables.keys)
        self.claims = tables.claims
        self.claimed: set[KeyId] = set()

    async def claim(
        self, key: KeyId, fingerprint: bytes, *, at: datetime, lifetime: timedelta, max_wait: float
    ) -> bytes | None:
        """Claim the key until `at + lifetime` and return None, or return the answer that is stored with it.

        A stored key that has expired at `at` is claimed anew. Raise KeyReused if the key was used with another
        fingerprint, and KeyInFlight at once if a unit of work that has not ended has claimed it; `max_wait` is ignored.
        """
        await checkpoint()
        if key in self.claims:
            raise KeyInFlight("another unit of work holds the key")
        stored = self.rows.read(key)
        if stored is not None and stored.expires_at > at:
            if stored.fingerprint != fingerprint:
                raise KeyReused
            return stored.answer
        self.claims.add(key)
        self.claimed.add(key)
        self.rows.write(key, StoredAnswer(fingerprint, at + lifetime))
        return None

    async def save_answer(self, key: KeyId, answer: bytes) -> None:
        """Stage the answer of the key that this unit of work has claimed; raise LookupError if there is no such key."""
        await checkpoint()
        claimed = self.rows.read(key)
        if claimed is None:
            raise LookupError("a key must be claimed before its answer is stored")
        self.rows.write(key, replace(claimed, answer=answer))

    def release(self) -> None:
        """Give up the claims of this unit of work, at its end. Keys and answers that were committed stay stored."""
        self.claims -= self.claimed


class MemoryUnitOfWork:
    """A unit of work on the tables in memory, with a repository per aggregate (port UnitOfWork)."""

    def __init__(self, tables: Tables) -> None:
        self.users = MemoryUsers(tables)
        self.items = MemoryItems(tables.items)
        self.transfers = MemoryTransfers(tables)
        self.tasks = MemoryTasks(tables.tasks)
        self.sessions = MemorySessions(tables)
        self.attempts = MemoryAttempts(tables)
        self.keys = MemoryKeys(tables)

    async def lock_item(self, item_id: ItemId, *user_ids: UserId) -> tuple[Item | None, dict[UserId, User]]:
        """Hold the users, then lock the item; return the item, None if there is none, and the users that exist."""
        return await lock_one_by_one(self, item_id, user_ids)

    async def commit(self) -> None:
        """Apply all staged changes at once; raise TryAgain if a row that was read has been replaced meanwhile.

        Raise Conflict if a removed user owns items. After an error, nothing is applied.
        """
        await checkpoint()
        tables = self._staged_tables()
        for table in tables:
            table.check()
        if self.users.removed and self.items.any_owned_by(self.users.removed):
            raise user_owns_items()
        for table in tables:
            table.apply()

    def _staged_tables(self) -> list[StagedTable[Any, Any]]:
        """Return the staged tables of all repositories. They are collected, so that a new one cannot be forgotten."""
        attributes = [value for repository in vars(self).values() for value in vars(repository).values()]
        return [attribute for attribute in attributes if isinstance(attribute, StagedTable)]
