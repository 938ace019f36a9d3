"""What adapters need whose engine cannot lock several records in one round trip."""

from collections.abc import Collection

from application.ports import UnitOfWork
from domain.errors import NotFound
from domain.item import Item, ItemId
from domain.user import User, UserId


async def lock_one_by_one(
    uow: UnitOfWork, item_id: ItemId, user_ids: Collection[UserId]
) -> tuple[Item | None, dict[UserId, User]]:
    """Hold the users, then lock the item, as UnitOfWork.lock_item() has to do; return both."""
    users = await uow.users.hold(*user_ids)
    try:
        return await uow.items.get_for_update(item_id), users
    except NotFound:
        return None, users
