"""Who acts, judged inside the transaction: a token alone does not say that its account is still there."""

from application.ports import UnitOfWork
from domain.errors import Forbidden, NotFound
from domain.user import User, UserId, acting


async def acting_user(uow: UnitOfWork, by: UserId) -> User:
    """The caller, kept active until the unit ends; raise Unauthenticated."""
    return acting((await uow.users.hold(by)).get(by))


async def own_account(uow: UnitOfWork, user_id: UserId, by: UserId) -> User:
    """The caller's own account, locked; raise Unauthenticated, NotFound, or Forbidden for somebody else's."""
    if user_id != by:
        users = await uow.users.hold(by, user_id)
        acting(users.get(by))
        if user_id not in users:
            raise NotFound("user-not-found", "there is no such user")
        raise Forbidden("not-your-account", "only the account's own user can do this")
    try:
        return acting(await uow.users.get_for_update(by))
    except NotFound:
        return acting(None)
