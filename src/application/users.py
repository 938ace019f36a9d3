"""Users: signing up, and one's own account."""

from dataclasses import dataclass

from application.ports import Clock, Ids, PasswordHasher, UnitOfWork, UserReader
from application.transact import Transact
from domain.errors import NotFound
from domain.user import User, UserId, acting, checked_email, checked_password, checked_username


@dataclass(frozen=True, slots=True)
class CreateUser:
    """Sign somebody up.

    - E-mail address and username are nobody else's, however they are spelt.
    - The password is one that we accept, and only its hash is kept.
    """

    transact: Transact
    passwords: PasswordHasher
    ids: Ids
    now: Clock

    async def __call__(self, *, email: str, username: str, password: str) -> User:
        email, username = checked_email(email), checked_username(username)  # before the time for a hash is spent
        password_hash = await self.passwords.hash(checked_password(password))
        user = User.sign_up(
            id=UserId(self.ids()), email=email, username=username, password_hash=password_hash, at=self.now()
        )

        async def work(uow: UnitOfWork) -> User:
            await uow.users.add(user)
            return user

        return await self.transact(work)


@dataclass(frozen=True, slots=True)
class ReadAccount:
    """One's own account, e-mail address included.

    - Only while it is active: a token outlives its account's deactivation and deletion by minutes.
    """

    users: UserReader

    async def __call__(self, user_id: UserId) -> User:
        try:
            return acting(await self.users.get(user_id))
        except NotFound:
            return acting(None)
