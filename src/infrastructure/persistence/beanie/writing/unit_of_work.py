"""The unit of work: one transaction with snapshot reads and majority writes."""

import asyncio

from beanie import Document
from pymongo.errors import PyMongoError

from application.errors import OutcomeUnknown
from application.store import lock_one_by_one
from domain.item import Item, ItemId
from domain.user import User, UserId
from infrastructure.lock_queue import LockQueue
from infrastructure.persistence.beanie.connection import TIMEOUT_SECONDS, Connection
from infrastructure.persistence.beanie.documents import (
    AttemptsDocument,
    ItemDocument,
    KeyDocument,
    SessionDocument,
    TaskDocument,
    TokenDocument,
    TransferDocument,
    UserDocument,
)
from infrastructure.persistence.beanie.driver_calls import DriverTransaction
from infrastructure.persistence.beanie.errors import translate_errors
from infrastructure.persistence.beanie.writing.idempotency_keys import BeanieKeys
from infrastructure.persistence.beanie.writing.repositories import (
    BeanieAttempts,
    BeanieItems,
    BeanieSessions,
    BeanieTasks,
    BeanieTransfers,
    BeanieUsers,
)
from infrastructure.persistence.beanie.writing.transaction import TransactionCollection


class BeanieUnitOfWork:
    """A unit of work in a transaction, with a repository per aggregate (port UnitOfWork)."""

    def __init__(self, connection: Connection, transaction: DriverTransaction, queue: LockQueue) -> None:
        self._transaction = transaction

        def within(kind: type[Document]) -> TransactionCollection:
            """Return the collection of a document class, bound to this transaction."""
            return TransactionCollection(connection.collection(kind), transaction, queue)

        self.users = BeanieUsers(within(UserDocument), within(ItemDocument))
        self.items = BeanieItems(within(ItemDocument), self.users)
        self.transfers = BeanieTransfers(within(TransferDocument))
        self.tasks = BeanieTasks(within(TaskDocument))
        self.sessions = BeanieSessions(within(SessionDocument), within(TokenDocument))
        self.attempts = BeanieAttempts(within(AttemptsDocument))
        self.keys = BeanieKeys(within(KeyDocument), connection.collection(KeyDocument))

    async def lock_item(self, item_id: ItemId, *user_ids: UserId) -> tuple[Item | None, dict[UserId, User]]:
        """Hold the users, then lock the item; return the item, None if there is none, and the users that exist.

        For several users this takes two round trips, and the item is locked when it is written, or by commit().
        """
        found = await self.items.get_with_users(item_id, user_ids) if len(user_ids) > 1 else None
        return found or await lock_one_by_one(self, item_id, user_ids)

    async def commit(self) -> None:
        """Commit the transaction, and send the commit again until its outcome is known.

        The server applies a commit once, however often it is sent. Raise OutcomeUnknown if the outcome is not known
        after TIMEOUT_SECONDS, and TryAgain or another error of translate_errors() if nothing was stored.
        """
        await self.items.lock_rest()
        clock = asyncio.get_running_loop()
        until = clock.time() + TIMEOUT_SECONDS
        while True:
            try:
                await self._transaction.run(self._transaction.session.commit_transaction())
            except PyMongoError as error:
                if not error.has_error_label("UnknownTransactionCommitResult"):
                    with translate_errors():
                        raise
                if clock.time() >= until:
                    raise OutcomeUnknown("MongoDB did not say whether the commit took effect") from error
                await asyncio.sleep(0.05)
            else:
                return
