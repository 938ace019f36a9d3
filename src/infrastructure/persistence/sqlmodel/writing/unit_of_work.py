"""The unit of work: one transaction, one session, and a repository per aggregate."""

from application.store import lock_one_by_one
from domain.item import Item, ItemId
from domain.user import User, UserId
from infrastructure.persistence.sqlmodel.orm_sessions import Transaction
from infrastructure.persistence.sqlmodel.writing.idempotency_keys import SqlModelKeys
from infrastructure.persistence.sqlmodel.writing.repositories import (
    SqlModelItems,
    SqlModelTasks,
    SqlModelTransfers,
    SqlModelUsers,
)
from infrastructure.persistence.sqlmodel.writing.sessions import SqlModelAttempts, SqlModelSessions


class SqlModelUnitOfWork:
    """The UnitOfWork: a repository per aggregate, all in the session of one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self.commit = transaction.commit
        self.users = SqlModelUsers(transaction.session)
        self.items = SqlModelItems(transaction.session)
        self.transfers = SqlModelTransfers(transaction.session)
        self.tasks = SqlModelTasks(transaction.session)
        self.sessions = SqlModelSessions(transaction.session)
        self.attempts = SqlModelAttempts(transaction.session)
        self.keys = SqlModelKeys(transaction)

    async def lock_item(self, item_id: ItemId, *user_ids: UserId) -> tuple[Item | None, dict[UserId, User]]:
        """Hold the users, then lock the item; return the item, or None if there is none, and those users that exist."""
        return await lock_one_by_one(self, item_id, user_ids)
