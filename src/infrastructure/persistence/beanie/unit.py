"""Units of work: one transaction each, with snapshot reads and majority writes.

MongoDB locks nothing that is read, and whoever writes what another open transaction has written fails at once. So what
is to be held or read for update is written to: a counter in it grows, which nobody reads.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from beanie import Document
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError, PyMongoError

from application.errors import KeyInFlight, KeyReused, OutcomeUnknown, TryAgain
from application.ports import KeyId
from domain.errors import Conflict, NotFound
from domain.item import Item, ItemId, Transfer
from domain.session import Attempts, Session, SessionId
from domain.task import Task, TaskId
from domain.user import User, UserId
from infrastructure.persistence.beanie.connection import PATIENCE, Connection, Rows
from infrastructure.persistence.beanie.documents import (
    AttemptsDocument,
    ItemDocument,
    KeyDocument,
    SessionDocument,
    TaskDocument,
    TokenDocument,
    TransferDocument,
    UserDocument,
    attempts_from,
    document_of_attempts,
    document_of_item,
    document_of_session,
    document_of_task,
    document_of_token,
    document_of_transfer,
    document_of_user,
    item_from,
    key_id,
    session_from,
    task_from,
    user_from,
)
from infrastructure.persistence.beanie.errors import WriteConflict, translated


class Transacted:
    """A collection inside one transaction.

    To the driver the session is an option, and what is called without it escapes the transaction. Here nothing can be.
    """

    def __init__(self, rows: Rows, session: AsyncClientSession) -> None:
        self._rows = rows
        self._session = session

    async def find(self, **query: object) -> dict[str, Any] | None:
        with translated():
            return await self._rows.find_one(query, session=self._session)

    async def lock(self, id: UUID) -> dict[str, Any] | None:
        with translated():
            return await self._rows.find_one_and_update(
                {"_id": id}, {"$inc": {"locks": 1}}, session=self._session, return_document=ReturnDocument.AFTER
            )

    async def lock_or_insert(self, document: Document) -> dict[str, Any]:
        """The one with this document's id, or else this one."""
        new = document.model_dump(by_alias=True, exclude={"id"})
        with translated():
            row = await self._rows.find_one_and_update(
                {"_id": document.id},
                {"$inc": {"locks": 1}, "$setOnInsert": new},
                upsert=True,
                session=self._session,
                return_document=ReturnDocument.AFTER,
            )
        assert row is not None  # noqa: S101 - there was one, or now is
        return row

    async def insert(self, document: Document) -> None:
        with translated():
            await self._rows.insert_one(document.model_dump(by_alias=True), session=self._session)

    async def replace(self, document: Document, **query: object) -> bool:
        """Whether there was one that fits."""
        with translated():
            result = await self._rows.replace_one(
                {"_id": document.id, **query}, document.model_dump(by_alias=True), session=self._session
            )
        return result.matched_count == 1

    async def set(self, query: dict[str, object], fields: dict[str, object], *, upsert: bool = False) -> bool:
        with translated():
            result = await self._rows.update_one(query, {"$set": fields}, upsert=upsert, session=self._session)
        return result.matched_count == 1

    async def update_all(self, query: dict[str, object], changes: dict[str, object]) -> None:
        with translated():
            await self._rows.update_many(query, changes, session=self._session)

    async def remove(self, **query: object) -> bool:
        with translated():
            result = await self._rows.delete_one(query, session=self._session)
        return result.deleted_count == 1

    async def remove_all(self, **query: object) -> None:
        with translated():
            await self._rows.delete_many(query, session=self._session)


class BeanieUsers:
    def __init__(self, users: Transacted, items: Transacted) -> None:
        self._users = users
        self._items = items
        self._names: dict[UserId, str] = {}

    async def add(self, user: User) -> None:
        await self._users.insert(document_of_user(user))
        self._names[user.id] = user.username

    async def get_for_update(self, user_id: UserId) -> User:
        row = await self._users.lock(user_id)
        if row is None:
            raise NotFound("user-not-found", "there is no such user")
        return self._known(user_from(row))

    async def hold(self, *user_ids: UserId) -> dict[UserId, User]:
        """Costs a write and a round trip each. Of units that hold the same user at the same time one goes on, and the
        others get TryAgain at once."""
        rows = [await self._users.lock(user_id) for user_id in sorted(set(user_ids))]
        return {user.id: self._known(user) for user in map(user_from, filter(None, rows))}

    async def save(self, user: User) -> None:
        if not await self._users.replace(document_of_user(user), version=user.version - 1):
            raise TryAgain("the user has changed")

    async def remove(self, user: User) -> None:
        # An item that comes to them meanwhile is no danger: its unit of work holds them, and so one of the two fails.
        if await self._items.find(owner_id=user.id):
            raise Conflict("user-owns-items", "an account that owns items cannot be deleted")
        if not await self._users.remove(_id=user.id, version=user.version):
            raise TryAgain("the user has changed")

    async def name_of(self, user_id: UserId) -> str:
        """As a rule the unit of work has held them before, and this asks nobody."""
        if user_id not in self._names:
            row = await self._users.find(_id=user_id)
            if row is None:
                raise LookupError("an item's owner is held before the item is stored")
            self._known(user_from(row))
        return self._names[user_id]

    def _known(self, user: User) -> User:
        self._names[user.id] = user.username
        return user


class BeanieItems:
    def __init__(self, items: Transacted, users: BeanieUsers) -> None:
        self._items = items
        self._users = users

    async def add(self, item: Item) -> None:
        await self._items.insert(await self._document_of(item))

    async def get_for_update(self, item_id: ItemId) -> Item:
        row = await self._items.lock(item_id)
        if row is None:
            raise NotFound("item-not-found", "there is no such item")
        return item_from(row)

    async def save(self, item: Item) -> None:
        if not await self._items.replace(await self._document_of(item), version=item.version - 1):
            raise TryAgain("the item has changed")

    async def remove(self, item: Item) -> None:
        if not await self._items.remove(_id=item.id, version=item.version):
            raise TryAgain("the item has changed")

    async def _document_of(self, item: Item) -> ItemDocument:
        return document_of_item(item, await self._users.name_of(item.owner_id))


class BeanieTransfers:
    def __init__(self, transfers: Transacted) -> None:
        self._transfers = transfers

    async def add(self, transfer: Transfer) -> None:
        await self._transfers.insert(document_of_transfer(transfer))


class BeanieTasks:
    def __init__(self, tasks: Transacted) -> None:
        self._tasks = tasks

    async def add(self, task: Task) -> None:
        await self._tasks.insert(document_of_task(task))

    async def get_for_update(self, task_id: TaskId) -> Task:
        row = await self._tasks.lock(task_id)
        if row is None:
            raise NotFound("task-not-found", "there is no such task")
        return task_from(row)

    async def save(self, task: Task) -> None:
        if not await self._tasks.replace(document_of_task(task), version=task.version - 1):
            raise TryAgain("the task has changed")

    async def remove(self, task: Task) -> None:
        if not await self._tasks.remove(_id=task.id, version=task.version):
            raise TryAgain("the task has changed")

    async def remove_of(self, user_id: UserId) -> None:
        await self._tasks.remove_all(owner_id=user_id)


class BeanieSessions:
    def __init__(self, sessions: Transacted, tokens: Transacted) -> None:
        self._sessions = sessions
        self._tokens = tokens
        self._known: dict[SessionId, bytes] = {}
        """The token that each session has, as this unit of work knows it."""

    async def add(self, session: Session) -> None:
        await self._sessions.insert(document_of_session(session))
        await self._keep_token(session)

    async def find(self, token_hash: bytes) -> tuple[SessionId, UserId] | None:
        row = await self._tokens.find(_id=token_hash)
        return None if row is None else (SessionId(row["session_id"]), UserId(row["user_id"]))

    async def get_for_update(self, session_id: SessionId) -> Session:
        row = await self._sessions.lock(session_id)
        if row is None:
            raise NotFound("session-not-found", "there is no such session")
        session = session_from(row)
        self._known[session.id] = session.token_hash
        return session

    async def save(self, session: Session) -> None:
        if not await self._sessions.replace(document_of_session(session), version=session.version - 1):
            raise TryAgain("the session has changed")
        if self._known.get(session.id) != session.token_hash:
            await self._keep_token(session)

    async def revoke_of(self, user_id: UserId) -> None:
        changes: dict[str, object] = {"$set": {"revoked": True}, "$inc": {"version": 1}}
        await self._sessions.update_all({"user_id": user_id, "revoked": False}, changes)

    async def remove_of(self, user_id: UserId) -> None:
        await self._sessions.remove_all(user_id=user_id)
        await self._tokens.remove_all(user_id=user_id)

    async def _keep_token(self, session: Session) -> None:
        await self._tokens.insert(document_of_token(session))
        self._known[session.id] = session.token_hash


class BeanieAttempts:
    def __init__(self, attempts: Transacted) -> None:
        self._attempts = attempts
        self._versions: dict[bytes, int] = {}

    async def get_for_update(self, *subjects: bytes) -> list[Attempts]:
        """What is missing cannot be locked, so it is made."""
        found: dict[bytes, Attempts] = {}
        for subject in sorted(set(subjects)):
            row = await self._attempts.lock_or_insert(document_of_attempts(Attempts(subject=subject)))
            found[subject] = attempts_from(row)
            self._versions[subject] = found[subject].version
        return [found[subject] for subject in subjects]

    async def save(self, *attempts: Attempts) -> None:
        for counted in attempts:
            version = self._versions.get(counted.subject)
            if not await self._attempts.replace(document_of_attempts(counted), version=version):
                raise TryAgain("other attempts have been counted")
            self._versions[counted.subject] = counted.version


class BeanieKeys:
    def __init__(self, keys: Transacted, committed: Rows) -> None:
        self._keys = keys
        self._committed = committed

    async def claim(
        self, key: KeyId, fingerprint: bytes, *, at: datetime, lifetime: timedelta, patience: float
    ) -> bytes | None:
        """Nobody can wait for another transaction's end here, so the patience is the caller's."""
        id = key_id(key)
        claim = {"fingerprint": fingerprint, "expires_at": at + lifetime, "answer": None}
        try:
            await self._keys.set({"_id": id, "expires_at": {"$lte": at}}, claim, upsert=True)
        except WriteConflict:
            raise KeyInFlight("another unit of work holds the key") from None
        except DuplicateKeyError:
            return await self._answer(id, fingerprint, at)
        return None

    async def keep(self, key: KeyId, answer: bytes) -> None:
        if not await self._keys.set({"_id": key_id(key)}, {"answer": answer}):
            raise LookupError("a key is claimed before its answer is kept")

    async def _answer(self, id: dict[str, UUID | str], fingerprint: bytes, at: datetime) -> bytes:
        """Outside of the transaction, which is over, and with majority concern: no replay is ever rolled back."""
        with translated():
            kept = await self._committed.find_one({"_id": id})
        if kept is None or kept["expires_at"] <= at:
            raise KeyInFlight("the key's first use has not reached the majority yet")
        if kept["fingerprint"] != fingerprint:
            raise KeyReused
        answer: bytes = kept["answer"]
        return answer


class BeanieUnitOfWork:
    def __init__(self, connection: Connection, session: AsyncClientSession) -> None:
        self._session = session

        def within(kind: type[Document]) -> Transacted:
            return Transacted(connection.collection(kind), session)

        self.users = BeanieUsers(within(UserDocument), within(ItemDocument))
        self.items = BeanieItems(within(ItemDocument), self.users)
        self.transfers = BeanieTransfers(within(TransferDocument))
        self.tasks = BeanieTasks(within(TaskDocument))
        self.sessions = BeanieSessions(within(SessionDocument), within(TokenDocument))
        self.attempts = BeanieAttempts(within(AttemptsDocument))
        self.keys = BeanieKeys(within(KeyDocument), connection.collection(KeyDocument))

    async def commit(self) -> None:
        """Repeated until the outcome is known: the server applies a commit once, however often it is told to."""
        clock = asyncio.get_running_loop()
        until = clock.time() + PATIENCE
        while True:
            try:
                await self._session.commit_transaction()
            except PyMongoError as error:
                if not error.has_error_label("UnknownTransactionCommitResult"):
                    with translated():
                        raise
                if clock.time() >= until:
                    raise OutcomeUnknown("MongoDB did not say whether the commit took effect") from error
                await asyncio.sleep(0.05)
            else:
                return
