"""Users: signing up, and one's own account."""

from dataclasses import dataclass

from application.callers import own_account
from application.errors import Busy
from application.passwords import ProvePassword
from application.ports import Clock, Ids, PasswordHasher, UnitOfWork
from application.readers import UserReader
from application.transact import Transact
from domain.errors import Conflict, Forbidden, NotFound
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


@dataclass(frozen=True, slots=True)
class ChangeAccount:
    """Change one's own e-mail address or password.

    - Only one's own, and only who knows its present password; wrong guesses are counted as failed log-ins are.
    - A new password ends every session.
    - The username never changes.
    """

    transact: Transact
    users: UserReader
    prove: ProvePassword
    passwords: PasswordHasher

    async def __call__(
        self,
        user_id: UserId,
        *,
        by: UserId,
        current_password: str,
        email: str | None = None,
        password: str | None = None,
        address: str,
    ) -> User:
        email = None if email is None else checked_email(email)
        password = None if password is None else checked_password(password)
        if user_id != by:
            await self.transact(lambda uow: own_account(uow, user_id, by))
        seen = await ReadAccount(self.users)(by)
        attempt = await self.prove(seen, str(by), current_password, address)

        async def work(uow: UnitOfWork) -> User | None:
            user = await own_account(uow, user_id, by)
            await attempt.settle(uow, failed=not attempt.right)
            if not attempt.right:
                return None
            if user.password_hash == seen.password_hash:
                user.change(email=email, password_hash=new_hash)
                await uow.users.save(user)
                if new_hash is not None:
                    await uow.sessions.revoke_of(user.id)
            return user

        try:
            new_hash = await self.passwords.hash(password) if attempt.right and password is not None else None
            changed = await attempt.conclude(self.transact, work)
        except (Busy, Conflict):
            await attempt.withdraw(self.transact)
            raise
        if changed is None:
            raise Forbidden("wrong-password", "the current password is not right")
        if changed.password_hash not in {seen.password_hash, new_hash}:  # somebody else's: judge ours again
            return await self(
                user_id, by=by, current_password=current_password, email=email, password=password, address=address
            )
        return changed


@dataclass(frozen=True, slots=True)
class DeleteAccount:
    """Delete one's own account.

    - Not while it owns items.
    - Its tasks and sessions go with it; the history of what it owned stays.
    """

    transact: Transact

    async def __call__(self, user_id: UserId, *, by: UserId) -> None:
        async def work(uow: UnitOfWork) -> None:
            user = await own_account(uow, user_id, by)
            await uow.tasks.remove_of(user.id)
            await uow.sessions.remove_of(user.id)
            await uow.users.remove(user)

        await self.transact(work)


@dataclass(frozen=True, slots=True)
class ActivateUser:
    """Let a user act again: for operators, by username."""

    transact: Transact
    users: UserReader

    async def __call__(self, username: str) -> User:
        known = await known_as(username, self.users)

        async def work(uow: UnitOfWork) -> User:
            user = await uow.users.get_for_update(known.id)
            if not user.is_active:
                user.activate()
                await uow.users.save(user)
            return user

        return await self.transact(work)


@dataclass(frozen=True, slots=True)
class DeactivateUser:
    """Let a user act no longer: for operators, by username.

    - Every session ends, and what is under way in the user's name fails.
    """

    transact: Transact
    users: UserReader

    async def __call__(self, username: str) -> User:
        known = await known_as(username, self.users)

        async def work(uow: UnitOfWork) -> User:
            user = await uow.users.get_for_update(known.id)
            if user.is_active:
                user.deactivate()
                await uow.users.save(user)
            await uow.sessions.revoke_of(user.id)
            return user

        return await self.transact(work)


async def known_as(username: str, users: UserReader) -> User:
    user = await users.by_login(checked_username(username))
    if user is None:
        raise NotFound("user-not-found", "there is no such user")
    return user
