"""The unit of work and its repositories. No other unit of work is open, so nothing that one has read can change."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, TypeVar

from application.errors import KeyReused, TryAgain
from application.ports import KeyId
from application.streaming import SessionToken, StoredKey, identity
from domain.errors import require
from domain.item import Item, Transfer
from domain.session import LoginAttempts, Session, SessionId
from domain.task import Task
from domain.user import User, UserId, email_taken, user_owns_items, username_taken
from handover_lmdb.records import Records, history_key, name_key

E = TypeVar("E", User, Item, Task, Session)


class Repository:
    """Base class of the repositories."""

    def __init__(self, records: Records) -> None:
        self.records = records


class Versioned(Repository, Generic[E]):
    """A repository of entities with an id and a version."""

    kind: ClassVar[type[Any]]

    async def add(self, entity: E) -> None:
        self._put(entity)

    async def get_for_update(self, id: Any) -> E:
        found: E = require(self.records.get(self.kind, id), self.kind.__name__.lower())
        return found

    async def save(self, entity: E) -> None:
        self._check_version(entity, entity.version - 1)
        self._put(entity)

    async def remove(self, entity: E) -> None:
        self._check_version(entity, entity.version)
        self.records.delete(self.kind, entity.id)

    def _check_version(self, entity: E, version: int) -> None:
        """Raise TryAgain unless this version of the entity is stored."""
        stored = self.records.get(self.kind, entity.id)
        if stored is None or stored.version != version:
            raise TryAgain("an earlier unit of work has changed it")

    def _put(self, entity: E) -> None:
        """Store the entity and what depends on it."""
        self.records.put(entity)


class Users(Versioned[User]):
    """The UserRepository."""

    kind = User

    async def hold(self, *user_ids: UserId) -> dict[UserId, User]:
        return {user_id: user for user_id in user_ids if (user := self.records.get(User, user_id))}

    async def remove(self, user: User) -> None:
        if any(item.owner_id == user.id for item in self.records.scan(Item)):
            raise user_owns_items()
        await super().remove(user)

    def _put(self, user: User) -> None:
        for name, error in (user.email, email_taken), (user.username, username_taken):
            if (other := self.records.find(User, name_key(name))) and other.id != user.id:
                raise error()
        self.records.put(user)


class Items(Versioned[Item]):
    """The ItemRepository."""

    kind = Item


class Transfers(Repository):
    """The TransferRepository."""

    async def add(self, transfer: Transfer) -> None:
        if self.records.find(Transfer, history_key(transfer.item_id, transfer.number)):
            raise TryAgain("the item has a transfer of this number")
        self.records.put(transfer)


class Tasks(Versioned[Task]):
    """The TaskRepository."""

    kind = Task

    async def remove_all(self, user_id: UserId) -> None:
        for task in [one for one in self.records.scan(Task) if one.owner_id == user_id]:
            self.records.delete(Task, task.id)


class Sessions(Versioned[Session]):
    """The SessionRepository."""

    kind = Session

    async def find(self, token_hash: bytes) -> tuple[SessionId, UserId] | None:
        token = self.records.get(SessionToken, token_hash)
        return None if token is None else (token.session_id, token.user_id)

    async def revoke_all(self, user_id: UserId) -> None:
        for session in [one for one in self.records.scan(Session) if one.user_id == user_id and not one.revoked]:
            session.revoke()
            self.records.put(session)

    async def remove_all(self, user_id: UserId) -> None:
        for kind in Session, SessionToken:
            for record in [one for one in self.records.scan(kind) if one.user_id == user_id]:
                self.records.delete(kind, identity(record))

    def _put(self, session: Session) -> None:
        owner = {"session_id": session.id, "user_id": session.user_id, "expires_at": session.expires_at}
        self.records.put(session)
        self.records.put(SessionToken(token_hash=session.token_hash, **owner))


class Attempts(Repository):
    """The LoginAttemptRepository."""

    async def get_for_update(self, *subjects: bytes) -> list[LoginAttempts]:
        return [self.records.get(LoginAttempts, subject) or LoginAttempts(subject=subject) for subject in subjects]

    async def save(self, *attempts: LoginAttempts) -> None:
        for counter in attempts:
            self.records.put(counter)


class Keys(Repository):
    """The KeyRepository. A unit of work begins when no other one is open, so no key is in flight."""

    async def claim(
        self, key: KeyId, fingerprint: bytes, *, at: datetime, lifetime: timedelta, max_wait: float
    ) -> bytes | None:
        stored = self.records.get(StoredKey, (key.caller, key.operation, key.key))
        if stored is None or stored.expires_at <= at:
            self.records.put(StoredKey(id=key, fingerprint=fingerprint, expires_at=at + lifetime, answer=b""))
            return None
        if stored.fingerprint != fingerprint:
            raise KeyReused
        return stored.answer

    async def save_answer(self, key: KeyId, answer: bytes) -> None:
        claimed = require(self.records.get(StoredKey, (key.caller, key.operation, key.key)), "key")
        self.records.put(replace(claimed, answer=answer))


class LmdbUnitOfWork:
    """The UnitOfWork: one write transaction."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.users, self.items, self.transfers = Users(records), Items(records), Transfers(records)
        self.tasks, self.sessions = Tasks(records), Sessions(records)
        self.attempts, self.keys = Attempts(records), Keys(records)

    async def commit(self) -> None:
        self.records.transaction.commit()
