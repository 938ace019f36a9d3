"""The user on whose behalf a use case runs, checked inside the unit of work.

An access token alone does not prove that its account still exists and is active.
"""

from application.ports import UnitOfWork
from domain.errors import Forbidden, NotFound, require
from domain.item import Item, ItemId
from domain.user import User, UserId, require_active


async def hold_active_user(uow: UnitOfWork, by: UserId) -> User:
    """Return the user, who stays unchanged until the unit of work ends.

    Raise Unauthenticated `account-inactive` if the account is not active or does not exist any more.
    """
    return require_active((await uow.users.hold(by)).get(by))


async def lock_item_of_active_user(uow: UnitOfWork, item_id: ItemId, by: UserId) -> tuple[Item, User]:
    """Return the item, locked, and the user, who stays unchanged until the unit of work ends.

    Raise Unauthenticated if the user is not active, else NotFound if there is no such item. It may be another user's.
    """
    item, users = await uow.lock_item(item_id, by)
    user = require_active(users.get(by))
    return require(item, "item"), user


async def lock_own_account(uow: UnitOfWork, user_id: UserId, by: UserId) -> User:
    """Return the caller's own account, locked for update.

    Raise Unauthenticated if the caller `by` is not active or was deleted; then, if `user_id` is another account,
    NotFound if it does not exist, else Forbidden.
    """
    if user_id != by:
        users = await uow.users.hold(by, user_id)
        require_active(users.get(by))
        if user_id not in users:
            raise NotFound("user-not-found", "there is no such user")
        raise Forbidden("not-your-account", "only the account's own user can do this")
    try:
        return require_active(await uow.users.get_for_update(by))
    except NotFound:
        return require_active(None)
