"""The repositories of a unit of work, by aggregate."""

from collections.abc import Iterable

from application.errors import TryAgain
from application.streaming import SessionToken
from domain.errors import not_found, require
from domain.item import Item, ItemId, Transfer
from domain.session import LoginAttempts, Session, SessionId
from domain.task import Task, TaskId
from domain.user import User, UserId, user_owns_items
from infrastructure.persistence.beanie.documents import ItemDocument
from infrastructure.persistence.beanie.rows import (
    attempts_from,
    document_of_attempts,
    document_of_item,
    document_of_session,
    document_of_task,
    document_of_token,
    document_of_transfer,
    document_of_user,
    item_from,
    session_from,
    task_from,
    user_from,
)
from infrastructure.persistence.beanie.writing.transaction import TransactionCollection


class BeanieUsers:
    """Stores, changes, locks and removes users within a unit of work (port UserRepository)."""

    def __init__(self, users: TransactionCollection, items: TransactionCollection) -> None:
        self.collection = users
        self._items = items
        self._usernames: dict[UserId, str] = {}

    async def add(self, user: User) -> None:
        """Store a new user; raise Conflict if the e-mail address or username is taken."""
        await self.collection.insert(document_of_user(user))
        self._usernames[user.id] = user.username

    async def get_for_update(self, user_id: UserId) -> User:
        """Return the user, locked until the unit of work ends; raise NotFound.

        If another unit of work has locked it, wait for that one if it is in this process and this is the first call of
        the unit of work; otherwise raise TryAgain. Also raise TryAgain if it was changed after the unit's first call.
        """
        user = user_from(require(await self.collection.lock(user_id), "user"))
        self.remember([user])
        return user

    async def hold(self, *user_ids: UserId) -> dict[UserId, User]:
        """Return those of the users that exist, and lock them (see UserRepository.hold).

        Here the lock is exclusive: of several units of work that hold the same user, one goes on. Others of the same
        process wait if this is the first thing that they do; all others get TryAgain at once. It takes one round trip
        per user.
        """
        await self.collection.wait_for(*user_ids)
        rows = [await self.collection.lock(user_id) for user_id in sorted(set(user_ids))]
        return self.remember(map(user_from, filter(None, rows)))

    async def save(self, user: User) -> None:
        """Store a changed user; raise TryAgain if the stored version is not `version - 1`.

        Raise Conflict if another user has the e-mail address or username.
        """
        if not await self.collection.replace(document_of_user(user), version=user.version - 1):
            raise TryAgain("the user has changed")

    async def remove(self, user: User) -> None:
        """Remove the user; raise TryAgain if its version has changed, or Conflict if the user owns items."""
        # A unit of work that gives this user an item meanwhile holds the user, so that one of the two fails.
        if await self._items.find(owner_id=user.id):
            raise user_owns_items()
        if not await self.collection.remove(_id=user.id, version=user.version):
            raise TryAgain("the user has changed")

    async def username_of(self, user_id: UserId) -> str:
        """Return the user's username; raise LookupError if there is no such user.

        That usually needs no request, because the unit of work has held the user before.
        """
        if user_id not in self._usernames:
            row = await self.collection.find(_id=user_id)
            if row is None:
                raise LookupError("an item's owner is held before the item is stored")
            self.remember([user_from(row)])
        return self._usernames[user_id]

    def remember(self, users: Iterable[User]) -> dict[UserId, User]:
        """Remember the usernames for username_of(), and return the users by id."""
        by_id = {user.id: user for user in users}
        self._usernames |= {id: user.username for id, user in by_id.items()}
        return by_id


class BeanieItems:
    """Stores, changes and removes items within a unit of work (port ItemRepository)."""

    def __init__(self, items: TransactionCollection, users: BeanieUsers) -> None:
        self._items = items
        self._users = users
        self._unlocked: set[ItemId] = set()
        """The items of get_with_users() that have not been written yet, so that MongoDB has not locked them."""

    async def add(self, item: Item) -> None:
        """Store a new item, with a copy of its owner's username; raise LookupError if there is no such owner."""
        await self._items.insert(await self._document_of(item))

    async def get_for_update(self, item_id: ItemId) -> Item:
        """Return the item, locked until the unit of work ends; raise NotFound.

        If another unit of work has locked it, wait for that one if it is in this process and this is the first call of
        the unit of work; otherwise raise TryAgain. Also raise TryAgain if it was changed after the unit's first call.
        """
        row = await self._items.lock(item_id)
        return item_from(require(row, "item"))

    async def get_with_users(
        self, item_id: ItemId, user_ids: Iterable[UserId]
    ) -> tuple[Item, dict[UserId, User]] | None:
        """Return the item, and those of the users that exist, who are held as by BeanieUsers.hold(); None without item.

        This takes two round trips, however many users there are. The item is locked when it is saved or removed, or by
        lock_rest(). Wait and raise TryAgain as get_for_update() does.
        """
        row = await self._items.find_with_others(item_id, self._users.collection, user_ids)
        if row is None:
            return None
        users = self._users.remember(map(user_from, row.pop("others")))
        await self._users.collection.lock_all(users)
        self._unlocked.add(item_id)
        return item_from(row), users

    async def lock_rest(self) -> None:
        """Lock the items of get_with_users() that have been neither saved nor removed; raise TryAgain if changed."""
        while self._unlocked:
            await self._items.lock(self._unlocked.pop())

    async def save(self, item: Item) -> None:
        """Store a changed item; raise TryAgain if the stored version is not `version - 1`.

        Its copy of the owner's username is renewed; raise LookupError if there is no such owner.
        """
        if not await self._items.replace(await self._document_of(item), version=item.version - 1):
            raise TryAgain("the item has changed")
        self._unlocked.discard(item.id)

    async def remove(self, item: Item) -> None:
        """Remove the item; raise TryAgain if it is missing or its version has changed."""
        if not await self._items.remove(_id=item.id, version=item.version):
            raise TryAgain("the item has changed")
        self._unlocked.discard(item.id)

    async def _document_of(self, item: Item) -> ItemDocument:
        """Return the item's document, with its owner's username; raise LookupError if there is no such owner."""
        return document_of_item(item, await self._users.username_of(item.owner_id))


class BeanieTransfers:
    """Adds transfers to the history within a unit of work (port TransferRepository)."""

    def __init__(self, transfers: TransactionCollection) -> None:
        self._transfers = transfers

    async def add(self, transfer: Transfer) -> None:
        """Store a transfer; raise TryAgain if the item has one of that number."""
        await self._transfers.insert(document_of_transfer(transfer))


class BeanieTasks:
    """Stores, changes and removes tasks within a unit of work (port TaskRepository)."""

    def __init__(self, tasks: TransactionCollection) -> None:
        self._tasks = tasks

    async def add(self, task: Task) -> None:
        """Store a new task."""
        await self._tasks.insert(document_of_task(task))

    async def get_for_update(self, task_id: TaskId) -> Task:
        """Return the task, locked until the unit of work ends; raise NotFound.

        If another unit of work has locked it, wait for that one if it is in this process and this is the first call of
        the unit of work; otherwise raise TryAgain. Also raise TryAgain if it was changed after the unit's first call.
        """
        row = await self._tasks.lock(task_id)
        return task_from(require(row, "task"))

    async def save(self, task: Task) -> None:
        """Store a changed task; raise TryAgain if the stored version is not `version - 1`."""
        if not await self._tasks.replace(document_of_task(task), version=task.version - 1):
            raise TryAgain("the task has changed")

    async def remove(self, task: Task) -> None:
        """Remove the task; raise TryAgain if it is missing or its version has changed."""
        if not await self._tasks.remove(_id=task.id, version=task.version):
            raise TryAgain("the task has changed")

    async def remove_all(self, user_id: UserId) -> None:
        """Remove all tasks of the user."""
        await self._tasks.remove_all(owner_id=user_id)


class BeanieSessions:
    """Stores sessions and the hashes of their tokens within a unit of work (port SessionRepository)."""

    def __init__(self, sessions: TransactionCollection, tokens: TransactionCollection) -> None:
        self._sessions = sessions
        self._tokens = tokens
        self._token_hashes: dict[SessionId, bytes] = {}
        """The current token hash of each session that this unit of work has read or stored."""

    async def add(self, session: Session) -> None:
        """Store a new session and its token hash."""
        await self._sessions.insert(document_of_session(session))
        await self._add_token(session)

    async def find(self, token_hash: bytes) -> tuple[SessionId, UserId] | None:
        """Return the session and user of a token's hash, even of a replaced token; None if the hash is unknown."""
        row = await self._tokens.find(_id=token_hash)
        return None if row is None else (SessionId(row["session_id"]), UserId(row["user_id"]))

    async def get_for_update(self, session_id: SessionId) -> Session:
        """Return the session, locked until the unit of work ends; raise NotFound.

        If another unit of work has locked it, wait for that one if it is in this process and this is the first call of
        the unit of work; otherwise raise TryAgain. Also raise TryAgain if it was changed after the unit's first call.
        """
        row = await self._sessions.lock(session_id)
        if row is None:
            raise not_found("session")
        session = session_from(row)
        self._token_hashes[session.id] = session.token_hash
        return session

    async def save(self, session: Session) -> None:
        """Store a changed session, and its token hash if that is new; earlier hashes can still be found.

        Raise TryAgain if the stored version is not `version - 1`.
        """
        if not await self._sessions.replace(document_of_session(session), version=session.version - 1):
            raise TryAgain("the session has changed")
        if self._token_hashes.get(session.id) != session.token_hash:
            await self._add_token(session)

    async def revoke_all(self, user_id: UserId) -> None:
        """Revoke all sessions of the user that are not revoked yet; the version of each grows by one."""
        changes: dict[str, object] = {"$set": {"revoked": True}, "$inc": {"version": 1}}
        await self._sessions.update_all({"user_id": user_id, "revoked": False}, changes)

    async def remove_all(self, user_id: UserId) -> None:
        """Remove all sessions of the user, and their tokens."""
        await self._sessions.remove_all(user_id=user_id)
        await self._tokens.remove_all(user_id=user_id)

    async def _add_token(self, session: Session) -> None:
        """Insert the session's current token hash in the collection of tokens.

        Remember the hash in `_token_hashes`, so that save() does not insert it again.
        """
        await self._tokens.insert(document_of_token(SessionToken.of(session)))
        self._token_hashes[session.id] = session.token_hash


class BeanieAttempts:
    """Stores recent log-in attempts within a unit of work (port LoginAttemptRepository)."""

    def __init__(self, attempts: TransactionCollection) -> None:
        self._attempts = attempts
        self._versions: dict[bytes, int] = {}

    async def get_for_update(self, *subjects: bytes) -> list[LoginAttempts]:
        """Return the attempts of each subject, in the order of the arguments, locked until the unit of work ends.

        For a subject without a document, an empty one is inserted, so that it can be locked. If another unit of work
        has locked a subject, wait for that one if it is in this process and this is the first call of the unit of work;
        otherwise raise TryAgain. Also raise TryAgain if one was changed after the unit's first call.
        """
        found: dict[bytes, LoginAttempts] = {}
        await self._attempts.wait_for(*subjects)
        for subject in sorted(set(subjects)):
            row = await self._attempts.lock_or_insert(document_of_attempts(LoginAttempts(subject=subject)))
            found[subject] = attempts_from(row)
            self._versions[subject] = found[subject].version
        return [found[subject] for subject in subjects]

    async def save(self, *attempts: LoginAttempts) -> None:
        """Store attempts that get_for_update() returned in this unit of work and that have changed since.

        Raise TryAgain if another unit of work has changed one of them meanwhile.
        """
        for counted in attempts:
            version = self._versions.get(counted.subject)
            if not await self._attempts.replace(document_of_attempts(counted), version=version):
                raise TryAgain("other attempts have been counted")
            self._versions[counted.subject] = counted.version
