"""What the use cases need from outside. Adapters fulfil these by having the methods, not by inheriting.

Entities that a port hands out belong to the caller: changing one changes nothing that is stored until it is saved.
Every call may raise `Unavailable`; every call of a unit of work may raise `TryAgain`, `commit` included.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from application.readers import ItemReader, TaskReader, TransferReader, UserReader
from domain.item import Item, ItemId, Transfer
from domain.session import Attempts, Session, SessionId
from domain.task import Task, TaskId
from domain.user import User, UserId

Clock = Callable[[], datetime]
"""Now, in UTC, cut to milliseconds, so that every engine gives back exactly what was stored."""

Ids = Callable[[], UUID]
"""A new UUIDv7, greater than all that this process made before."""


class UserRepository(Protocol):
    """Users inside a unit of work. E-mail addresses and usernames are unique, compared byte by byte."""

    async def add(self, user: User) -> None:
        """Raise Conflict `email-taken` or `username-taken`, here or at commit()."""
        ...

    async def get_for_update(self, user_id: UserId) -> User:
        """The user, locked against every other unit's change and hold; raise NotFound `user-not-found`."""
        ...

    async def hold(self, *user_ids: UserId) -> dict[UserId, User]:
        """Those of the users that exist, kept as they are until this unit ends.

        Whoever changes or removes one of them meanwhile waits, or one of the two units gets TryAgain. Any number of
        units may hold the same user. Locks are taken in the order of the ids, so that two holds cannot deadlock.
        """
        ...

    async def save(self, user: User) -> None:
        """Store a user that get_for_update() gave and that has since changed; raise Conflict as add() does."""
        ...

    async def remove(self, user: User) -> None:
        """Raise Conflict `user-owns-items`, here or at commit(), while there are items of theirs.

        Their tasks and sessions have been removed before.
        """
        ...


class ItemRepository(Protocol):
    """Items inside a unit of work. An item's owner exists; removing an item leaves its transfers."""

    async def add(self, item: Item) -> None:
        """The owner exists, which this unit has made sure of by holding them."""
        ...

    async def get_for_update(self, item_id: ItemId) -> Item:
        """The item, locked until the unit of work ends where the engine can lock; raise NotFound `item-not-found`."""
        ...

    async def save(self, item: Item) -> None:
        """Store an item that get_for_update() gave and whose version has since grown by one.

        Here or at commit(), raise TryAgain if someone else changed it first.
        """
        ...

    async def remove(self, item: Item) -> None:
        """Raise TryAgain, here or at commit(), if someone else changed it since get_for_update()."""
        ...


class TransferRepository(Protocol):
    """The history, to which units of work only ever add. `(item_id, number)` is unique."""

    async def add(self, transfer: Transfer) -> None:
        """Raise TryAgain, here or at commit(), if the item has a transfer of that number."""
        ...


class TaskRepository(Protocol):
    """Tasks inside a unit of work."""

    async def add(self, task: Task) -> None: ...

    async def get_for_update(self, task_id: TaskId) -> Task:
        """As for items; raise NotFound `task-not-found`."""
        ...

    async def save(self, task: Task) -> None:
        """As for items."""
        ...

    async def remove(self, task: Task) -> None:
        """As for items."""
        ...

    async def remove_of(self, user_id: UserId) -> None:
        """All tasks of a user, whom this unit has locked."""
        ...


class SessionRepository(Protocol):
    """Sign-ins, and the hashes of all tokens that they ever had."""

    async def add(self, session: Session) -> None: ...

    async def find(self, token_hash: bytes) -> tuple[SessionId, UserId] | None:
        """Whose token this is or was; both never change, so nothing is locked."""
        ...

    async def get_for_update(self, session_id: SessionId) -> Session:
        """The session, locked; raise NotFound `session-not-found`. Lock its user first, if at all."""
        ...

    async def save(self, session: Session) -> None:
        """As for items; a token hash that it gives up is still found."""
        ...

    async def revoke_of(self, user_id: UserId) -> None:
        """All sessions of a user, whom this unit has locked."""
        ...

    async def remove_of(self, user_id: UserId) -> None:
        """All sessions of a user, whom this unit has locked, and their tokens."""
        ...


class AttemptRepository(Protocol):
    """What is remembered of log-ins, by subject; a hash, since people type secrets where names belong."""

    async def get_for_update(self, *subjects: bytes) -> list[Attempts]:
        """In the order given, locked in the order of the bytes; empty ones, locked too, where nothing is stored."""
        ...

    async def save(self, *attempts: Attempts) -> None:
        """Store what get_for_update() gave in this unit and whose version has since grown, by however much.

        Here or at commit(), raise TryAgain if someone else changed it first.
        """
        ...


@dataclass(frozen=True, slots=True)
class KeyId:
    """What an idempotency key is unique within: who sent it, and for which operation."""

    caller: UserId
    operation: str
    key: str


class KeyRepository(Protocol):
    """Idempotency keys, stored in the transaction of the effect that they guard."""

    async def claim(
        self, key: KeyId, fingerprint: bytes, *, at: datetime, lifetime: timedelta, patience: float
    ) -> bytes | None:
        """Take the key for this unit of work: None, or the answer that its first use kept.

        The first statement of its unit. Atomic: of any number of concurrent claims one gets None; the others wait up
        to `patience` seconds for it to end, or raise KeyInFlight at once or then. A key older than its lifetime is
        taken as if it were new. Raise KeyReused if the first use had another fingerprint.
        """
        ...

    async def keep(self, key: KeyId, answer: bytes) -> None:
        """Remember the answer to the claimed key; unless this is called, commit() must not be."""
        ...


class UnitOfWork(Protocol):
    """One transaction. Leaving it without commit() undoes everything; after an error it can only be left.

    Readers and other units see its changes after commit() only, and then all of them. Of two overlapping units that
    change one aggregate, at most one commits per version: the other waits, or gets TryAgain.
    """

    @property
    def users(self) -> UserRepository: ...
    @property
    def items(self) -> ItemRepository: ...
    @property
    def transfers(self) -> TransferRepository: ...
    @property
    def tasks(self) -> TaskRepository: ...
    @property
    def sessions(self) -> SessionRepository: ...
    @property
    def attempts(self) -> AttemptRepository: ...
    @property
    def keys(self) -> KeyRepository: ...

    async def commit(self) -> None:
        """Durable when this returns. Raise OutcomeUnknown if that cannot be told, TryAgain if nothing was kept."""
        ...


Begin = Callable[[], AbstractAsyncContextManager[UnitOfWork]]
"""A new unit of work. Entering or its first call raises Unavailable if the store is down, Busy if it is saturated."""


class PasswordHasher(Protocol):
    """Slow on purpose and off the event loop: never call it inside a unit of work. Raise Busy if too many wait."""

    async def hash(self, password: str) -> str: ...

    def outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than new ones are."""
        ...

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether they fit. Without a hash the answer is no, after the time that a real one would have taken."""
        ...


@dataclass(frozen=True, slots=True)
class AccessToken:
    token: str
    expires_in: int
    """Seconds."""


class Tokens(Protocol):
    """Access tokens: whoever has one acts as its user, with no look-up, until it expires."""

    def issue(self, user_id: UserId, at: datetime) -> AccessToken: ...

    def verify(self, token: str, at: datetime) -> UserId:
        """Raise Unauthenticated `invalid-token`."""
        ...


@dataclass(frozen=True, slots=True)
class Schema:
    """The state of a store's schema: the revision found and the one that this version of Handover needs."""

    found: str | None
    needed: str | None

    @property
    def is_current(self) -> bool:
        return self.found == self.needed


class Store(Protocol):
    """One storage engine behind one adapter: what a setting chooses."""

    @property
    def begin(self) -> Begin: ...
    @property
    def users(self) -> UserReader: ...
    @property
    def items(self) -> ItemReader: ...
    @property
    def transfers(self) -> TransferReader: ...
    @property
    def tasks(self) -> TaskReader: ...

    async def purge(self, at: datetime) -> int:
        """Remove idempotency keys, sessions and log-in attempts that have had their time; how many there were."""
        ...

    async def open(self) -> None:
        """Connect. Raise Unavailable, saying in one line what to do, if that fails or the engine does not serve."""
        ...

    async def close(self) -> None: ...

    async def schema(self) -> Schema:
        """Asks the store, so it also shows whether the store answers."""
        ...

    async def upgrade(self) -> None:
        """Bring the schema to the revision needed; nothing happens if it is there. Safe to run beside itself."""
        ...

    async def downgrade(self) -> None:
        """Take the newest revision back, and the data that only it can hold with it."""
        ...
