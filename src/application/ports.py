"""Ports for changes, and everything else that use cases need from outside.

Adapters fulfil these protocols by having the methods, not by inheriting. Entities that a port returns belong to the
caller: changing one changes nothing in the store until it is saved. Every method may raise Unavailable; every method of
a unit of work, commit() included, may raise TryAgain.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from domain.item import Item, ItemId, Transfer
from domain.session import LoginAttempts, Session, SessionId
from domain.task import Task, TaskId
from domain.user import User, UserId

Clock = Callable[[], datetime]
"""Returns the current time in UTC, truncated to milliseconds, which every engine stores exactly."""

Ids = Callable[[], UUID]
"""Returns a new UUIDv7, greater than all that this process has made before."""


class UserRepository(Protocol):
    """Users inside a unit of work. E-mail addresses and usernames are unique, compared byte by byte."""

    async def add(self, user: User) -> None:
        """Store a new user. Raise Conflict `email-taken` or `username-taken`, here or at commit()."""
        ...

    async def get_for_update(self, user_id: UserId) -> User:
        """Return the user and lock it until the unit of work ends; raise NotFound `user-not-found`.

        The lock excludes changes and holds by other units of work: the later one waits, or one of the two gets
        TryAgain, at commit() at the latest.
        """
        ...

    async def hold(self, *user_ids: UserId) -> dict[UserId, User]:
        """Return those of the users that exist, by id, and keep them unchanged until the unit of work ends.

        A shared lock: any number of units of work may hold the same user. If another one changes or removes a held user
        meanwhile, it waits, or one of the two gets TryAgain. Locks are taken in the order of the ids, so that two calls
        cannot deadlock.
        """
        ...

    async def save(self, user: User) -> None:
        """Store a user that get_for_update() returned and whose version has grown by one since.

        Raise Conflict as add() does, and TryAgain, here or at commit(), if another unit of work has changed the user
        meanwhile.
        """
        ...

    async def remove(self, user: User) -> None:
        """Remove a user that get_for_update() returned and whose tasks and sessions have been removed before.

        Raise Conflict `user-owns-items`, here or at commit(), if the user owns items.
        """
        ...


class ItemRepository(Protocol):
    """Items inside a unit of work. An item's owner always exists. Removing an item leaves its transfers."""

    async def add(self, item: Item) -> None:
        """Store a new item. The unit of work holds its owner, so the owner exists."""
        ...

    async def get_for_update(self, item_id: ItemId) -> Item:
        """Return the item; raise NotFound `item-not-found`.

        Engines with locks lock it until the unit of work ends. With others, a concurrent change raises TryAgain, at
        commit() at the latest.
        """
        ...

    async def save(self, item: Item) -> None:
        """Store an item that get_for_update() returned and whose version has grown by one since.

        Raise TryAgain, here or at commit(), if another unit of work has changed it meanwhile.
        """
        ...

    async def remove(self, item: Item) -> None:
        """Remove an item that get_for_update() returned.

        Raise TryAgain, here or at commit(), if another unit of work has changed it meanwhile.
        """
        ...


class TransferRepository(Protocol):
    """The history of transfers, which is only ever added to. `(item_id, number)` is unique."""

    async def add(self, transfer: Transfer) -> None:
        """Store a transfer. Raise TryAgain, here or at commit(), if the item has a transfer of that number."""
        ...


class TaskRepository(Protocol):
    """Tasks inside a unit of work."""

    async def add(self, task: Task) -> None:
        """Store a new task. The unit of work holds its owner, so the owner exists."""
        ...

    async def get_for_update(self, task_id: TaskId) -> Task:
        """Return the task of any owner; raise NotFound `task-not-found`.

        Engines with locks lock it until the unit of work ends. With others, a concurrent change raises TryAgain, at
        commit() at the latest.
        """
        ...

    async def save(self, task: Task) -> None:
        """Store a task that get_for_update() returned and whose version has grown by one since.

        Raise TryAgain, here or at commit(), if another unit of work has changed it meanwhile.
        """
        ...

    async def remove(self, task: Task) -> None:
        """Remove a task that get_for_update() returned.

        Raise TryAgain, here or at commit(), if another unit of work has changed it meanwhile.
        """
        ...

    async def remove_all(self, user_id: UserId) -> None:
        """Remove all tasks of a user whom this unit of work has locked."""
        ...


class SessionRepository(Protocol):
    """Sessions, and the hashes of all refresh tokens that each session ever had."""

    async def add(self, session: Session) -> None:
        """Store a new session and its token hash."""
        ...

    async def find(self, token_hash: bytes) -> tuple[SessionId, UserId] | None:
        """Return the session and the user to whom this token belongs or belonged; None if it is unknown.

        Neither ever changes for a token, so nothing is locked.
        """
        ...

    async def get_for_update(self, session_id: SessionId) -> Session:
        """Return the session, also a revoked or expired one; raise NotFound `session-not-found`.

        Engines with locks lock it until the unit of work ends. With others, a concurrent change raises TryAgain, at
        commit() at the latest. If the unit of work also locks or holds the session's user, it must do so before this
        call.
        """
        ...

    async def save(self, session: Session) -> None:
        """Store a session that get_for_update() returned and whose version has grown by one since.

        Its former token hash can still be found. Raise TryAgain, here or at commit(), if another unit of work has
        changed the session meanwhile.
        """
        ...

    async def revoke_all(self, user_id: UserId) -> None:
        """Revoke all sessions of a user whom this unit of work has locked. They stay stored, but no token works."""
        ...

    async def remove_all(self, user_id: UserId) -> None:
        """Remove all sessions of a user whom this unit of work has locked, and their tokens."""
        ...


class LoginAttemptRepository(Protocol):
    """Recent log-in attempts and sign-ups, each counted for a subject: a hash, of an account or a network, for example.

    An adapter stores the fields of LoginAttempts as they are, and decides nothing. What counts, when and for how long
    is decided by the methods of LoginAttempts, which use cases call between get_for_update() and save(). A log-in
    attempt is saved twice: as pending before its password is verified, and again when it is known whether it has
    failed. Only Store.purge() removes what is stored, when LoginAttempts.expires_at has passed.
    """

    async def get_for_update(self, *subjects: bytes) -> list[LoginAttempts]:
        """Return the attempts of each subject, in the order of the arguments, and lock them.

        A subject of which nothing is stored gets `LoginAttempts(subject=subject)`, whose version is 0, and is locked,
        too. The locks end with the unit of work. They are taken in the order of the subjects' bytes, so that two calls
        cannot deadlock.

        An engine without locks compares versions instead: TryAgain is raised, at commit() at the latest, if the stored
        version of a subject is no longer the one that this call has returned, also if that was 0.
        """
        ...

    async def save(self, *attempts: LoginAttempts) -> None:
        """Store attempts that get_for_update() returned in this unit of work, and that have a greater version now.

        The version may have grown by more than one, unlike that of other entities. Raise TryAgain, here or at commit(),
        if another unit of work has changed one of them meanwhile.
        """
        ...


@dataclass(frozen=True, slots=True)
class KeyId:
    """Identifies an idempotency key: keys of different callers or operations are independent of one another.

    `operation` is a route's method and path, such as `POST /items`, or the name of an internal use. `key` is the text
    that the client chose.
    """

    caller: UserId
    operation: str
    key: str


class KeyRepository(Protocol):
    """Idempotency keys, stored in the same transaction as the effect that they guard."""

    async def claim(
        self, key: KeyId, fingerprint: bytes, *, at: datetime, lifetime: timedelta, max_wait: float
    ) -> bytes | None:
        """Claim the key for this unit of work and return None, or return the answer that was stored with it before.

        Must be the first call of its unit of work. Atomic: of several concurrent claims exactly one gets None. The
        others wait up to `max_wait` seconds for that unit of work to end; an engine that cannot wait does not. A claim
        expires `lifetime` after its `at`; a key whose claim has expired at the time `at` counts as new. After an
        answer, as after an error, the unit of work can only be left.

        An answer that is returned is as durable as a change after commit(): where commits wait for other servers, this
        waits for them, too. It may then raise as commit() does.

        Raise KeyInFlight if the unit of work that has the key has not ended in time, gave the key up meanwhile, or has
        stored an answer that cannot be read yet (which happens before the majority of a MongoDB replica set has it).
        Raise KeyReused if the key was used with another fingerprint.
        """
        ...

    async def save_answer(self, key: KeyId, answer: bytes) -> None:
        """Store the answer of the key that this unit of work has claimed. Required before commit()."""
        ...


class UnitOfWork(Protocol):
    """One transaction. Leaving it without commit() undoes everything; after an error it can only be left.

    Readers and other units of work see its changes only after commit(), and then all of them. If two overlapping units
    of work change one aggregate, at most one commits per version; the other waits, or gets TryAgain.
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
    def attempts(self) -> LoginAttemptRepository: ...
    @property
    def keys(self) -> KeyRepository: ...

    async def lock_item(self, item_id: ItemId, *user_ids: UserId) -> tuple[Item | None, dict[UserId, User]]:
        """Hold these users, then lock the item, as `users.hold()` and `items.get_for_update()` do; return both.

        The item is None if there is none. An adapter may need one round trip for all of them.
        """
        ...

    async def commit(self) -> None:
        """Make all changes durable and visible.

        This may run in another task than the one that began the unit of work, and may be cancelled. The changes are
        then stored as a whole or not at all, and all locks are released.

        Raise TryAgain if another unit of work got in the way, so that nothing was stored; OutcomeUnknown if the
        connection was lost meanwhile, so that the changes may or may not be stored; and any error that a repository
        raises "here or at commit()".
        """
        ...


class Begin(Protocol):
    """Begins units of work."""

    def __call__(self, *, optimistic: bool = False) -> AbstractAsyncContextManager[UnitOfWork]:
        """Return a new unit of work, to be entered with `async with`.

        Entering it, or its first call, raises Unavailable if the store is down, Busy if all connections are in use. It
        may wait without a limit of its own: the caller cancels it at its deadline, and nothing may stay locked then.
        Entering it, its first call or leaving it lets other tasks run at least once, even if nothing has to wait; an
        `await asyncio.sleep(0)` at its beginning is enough. Otherwise a task that begins units of work in a loop would
        stop the whole server.

        With `optimistic=True` an adapter may lock nothing before commit(), which raises TryAgain if anything that was
        read has changed since. This saves round trips where conflicts are rare. An adapter for which it makes no
        difference ignores it.
        """
        ...


@dataclass(frozen=True, slots=True)
class PoolUsage:
    """How busy a pool of connections or threads is now, and how often and how long callers have had to wait so far."""

    size: int
    """How many connections, threads or, if these are limited instead, units of work may be in use at once."""
    in_use: int
    waiting: int
    """How many callers are waiting now."""
    waits: int
    """How many callers have had to wait since the pool was made. Those that got a connection at once do not count."""
    seconds_waited: float
    """How long these waits have taken in total. One that goes on is counted when it ends."""


class PasswordHasher(Protocol):
    """Hashes passwords. Takes about 20 ms per call, outside the event loop; never call it inside a unit of work."""

    async def hash(self, password: str) -> str:
        """Return a new salted hash of the password; raise Busy at once if too many calls are waiting already."""
        ...

    def needs_rehash(self, password_hash: str) -> bool:
        """Return whether the hash was made with other parameters than new hashes are."""
        ...

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Return whether the hash was made of this password; raise Busy at once if too many calls are waiting already.

        If `password_hash` is None, return False after the time that verifying a real one takes.
        """
        ...

    def usage(self) -> PoolUsage:
        """Return how many calls run now, of how many that may run at once, and how many wait and have waited."""
        ...


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed access token, and its lifetime: the number of seconds from its issue until it expires."""

    token: str
    expires_in: int


class Tokens(Protocol):
    """Access tokens. A token is checked without asking the store, and works until it expires."""

    def issue(self, user_id: UserId, at: datetime) -> AccessToken:
        """Return a new token for the user, valid from the time `at`."""
        ...

    def verify(self, token: str, at: datetime) -> UserId:
        """Return the user for whom the token was issued. Whether the account still exists is not checked.

        Raise Unauthenticated `invalid-token` if the token was not issued here or is not valid at the time `at`.
        """
        ...
