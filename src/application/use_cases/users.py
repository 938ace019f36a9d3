"""Users: signing up, changing and deleting one's own account, and what operators do to accounts."""

from dataclasses import dataclass

from application.errors import Busy
from application.ports import Clock, Ids, PasswordHasher, UnitOfWork
from application.readers import UserReader
from application.transact import Transact, Work
from application.use_cases.callers import lock_own_account
from application.use_cases.passwords import CheckedAttempt, VerifyPassword, hash_subject, throttled_network
from domain.errors import Conflict, Forbidden, NotFound
from domain.user import (
    User,
    UserId,
    check_expects_no_version,
    checked_email,
    checked_password,
    checked_username,
    require_active,
)
from domain.version import ExpectedVersions


@dataclass(frozen=True, slots=True)
class CreateUser:
    """Create a user account.

    - Conflict if the e-mail address or the username is in use, in any spelling.
    - Invalid if the password is too short, too long or a common one, or if the e-mail address or username is not
      valid. Only the password's hash is stored.
    - From one client address, `max_per_address` sign-ups are possible within a quarter of an hour, then
      TooManyAttempts. Each costs a hash, and so it counts even if the account is refused afterwards.
    """

    transact: Transact
    passwords: PasswordHasher
    ids: Ids
    now: Clock
    max_per_address: int | None = None

    async def __call__(self, *, email: str, username: str, password: str, address: str | None = None) -> User:
        """Store a new active user and return it. `address` is the client's; None, for operators, has no limit."""
        email, username = checked_email(email), checked_username(username)  # before hashing, which takes long
        password = checked_password(password)
        if self.max_per_address is not None and address is not None:
            await self._count(address, self.max_per_address)
        password_hash = await self.passwords.hash(password)
        user = User.sign_up(
            id=UserId(self.ids()), email=email, username=username, password_hash=password_hash, at=self.now()
        )

        async def add(uow: UnitOfWork) -> User:
            await uow.users.add(user)
            return user

        return await self.transact(add)

    async def _count(self, address: str, limit: int) -> None:
        """Count a sign-up from this address, in a unit of work of its own; raise TooManyAttempts."""
        subject = hash_subject(f"sign-ups {throttled_network(address)}")

        async def count(uow: UnitOfWork) -> bool:
            """Count the sign-up; return False if times in the future had to be corrected before, and nothing else."""
            [sign_ups] = await uow.attempts.get_for_update(subject)
            is_corrected = sign_ups.correct(at := self.now())
            if not is_corrected:
                sign_ups.count_sign_up(at, limit)
            await uow.attempts.save(sign_ups)
            return not is_corrected

        while not await self.transact(count):
            pass


@dataclass(frozen=True, slots=True)
class ReadAccount:
    """Return one's own account, including the e-mail address.

    - Only while the account is active, else Unauthenticated: an access token stays valid for minutes after its account
      was deactivated or deleted.
    """

    users: UserReader

    async def __call__(self, user_id: UserId) -> User:
        try:
            return require_active(await self.users.get(user_id))
        except NotFound:
            return require_active(None)


@dataclass(frozen=True, slots=True)
class ChangeAccount:
    """Change one's own e-mail address or password.

    - Only while the caller's account is active: else Unauthenticated.
    - Users can change only their own account: else Forbidden `not-your-account`, or NotFound if the other one does not
      exist.
    - Accounts have no versions that callers know: Unversioned if one is expected, before the password is verified.
    - The current password is required: else Forbidden `wrong-password`. Wrong ones count as failed log-in attempts;
      after too many, TooManyAttempts.
    - Conflict `email-taken` if another user has the e-mail address. Invalid if a new value is not valid.
    - A new password ends all sessions of the user.
    - The username cannot be changed.
    """

    transact: Transact
    users: UserReader
    verify_password: VerifyPassword
    passwords: PasswordHasher

    async def __call__(
        self,
        user_id: UserId,
        *,
        by: UserId,
        current_password: str,
        email: str | None = None,
        password: str | None = None,
        expected: ExpectedVersions = None,
        address: str,
    ) -> User:
        """Return the account as it is after the change.

        `email` or `password` None leaves it as it is. `address` is the client's, for the limit on failed attempts.
        """
        email = None if email is None else checked_email(email)
        password = None if password is None else checked_password(password)
        if user_id != by:
            await self.transact(lambda uow: lock_own_account(uow, user_id, by))  # raises the error that applies
        seen = await ReadAccount(self.users)(by)
        check_expects_no_version(expected)
        attempt = await self.verify_password(seen, str(by), current_password, address)
        try:
            new_hash = await self.passwords.hash(password) if attempt.is_correct and password is not None else None
            changed = await attempt.transact(self.transact, self._change(seen, attempt, email, new_hash))
        except (Busy, Conflict):
            await attempt.withdraw(self.transact)
            raise
        if changed is None:
            raise Forbidden("wrong-password", "the current password is not right")
        if changed.password_hash not in {seen.password_hash, new_hash}:  # changed meanwhile: verify against the new one
            return await self(
                user_id, by=by, current_password=current_password, email=email, password=password, address=address
            )
        return changed

    def _change(
        self, seen: User, attempt: CheckedAttempt, email: str | None, new_hash: str | None
    ) -> Work[User | None]:
        """Return work that settles the attempt and, if its password is still the current one, changes the account.

        The work returns the user as stored afterwards, or None if the password was wrong. If the stored password hash
        is no longer that of `seen`, the account is not changed, and the caller has to verify the password again. A new
        password revokes all sessions of the user. The work raises as lock_own_account() does, and Conflict if another
        user has the e-mail address; after such an error the attempt is still pending.
        """

        async def settle_and_change(uow: UnitOfWork) -> User | None:
            """Settle the attempt; change the account if the password was right and the verified hash is still stored.

            Return the account as it is stored then, which is unchanged if it has another hash; None if the password was
            wrong.
            """
            user = await lock_own_account(uow, seen.id, seen.id)
            await attempt.settle(uow, failed=not attempt.is_correct)
            if not attempt.is_correct:
                return None
            if user.password_hash == seen.password_hash:
                user.change(email=email, password_hash=new_hash)
                await uow.users.save(user)
                if new_hash is not None:
                    await uow.sessions.revoke_all(user.id)
            return user

        return settle_and_change


@dataclass(frozen=True, slots=True)
class DeleteAccount:
    """Delete one's own account.

    - Only while the account is active, else Unauthenticated. For another account, Forbidden `not-your-account`, or
      NotFound if there is none.
    - Accounts have no versions that callers know: Unversioned if one is expected.
    - An account that owns items cannot be deleted: Conflict `user-owns-items`.
    - Its tasks and sessions are deleted, too; the transfer history of its former items stays.
    """

    transact: Transact

    async def __call__(self, user_id: UserId, *, by: UserId, expected: ExpectedVersions = None) -> None:
        async def delete(uow: UnitOfWork) -> None:
            """Lock the account and check that it is the caller's, then remove its tasks, its sessions and itself.

            Raise as lock_own_account() and check_expects_no_version() do, and Conflict, here or at commit(), if the
            account owns items.
            """
            user = await lock_own_account(uow, user_id, by)
            check_expects_no_version(expected)
            await uow.tasks.remove_all(user.id)
            await uow.sessions.remove_all(user.id)
            await uow.users.remove(user)

        await self.transact(delete)


@dataclass(frozen=True, slots=True)
class ActivateUser:
    """Activate an account, so that its user can sign in again. For operators."""

    transact: Transact
    users: UserReader

    async def __call__(self, username: str) -> User:
        """Return the active user; change nothing if it was active. Raise NotFound or Invalid as find_by_username()."""
        found = await find_by_username(username, self.users)

        async def activate(uow: UnitOfWork) -> User:
            """Lock the user, activate it unless it is active, and return it; raise NotFound if it was deleted."""
            user = await uow.users.get_for_update(found.id)
            if not user.is_active:
                user.activate()
                await uow.users.save(user)
            return user

        return await self.transact(activate)


@dataclass(frozen=True, slots=True)
class DeactivateUser:
    """Deactivate an account. For operators.

    - All its sessions end, and changes by its user that have not been committed yet fail.
    """

    transact: Transact
    users: UserReader

    async def __call__(self, username: str) -> User:
        """Return the inactive user. Raise NotFound or Invalid as find_by_username()."""
        found = await find_by_username(username, self.users)

        async def deactivate(uow: UnitOfWork) -> User:
            """Deactivate the user if it is active, revoke all its sessions in any case, and return it.

            Raise NotFound if it was deleted.
            """
            user = await uow.users.get_for_update(found.id)
            if user.is_active:
                user.deactivate()
                await uow.users.save(user)
            await uow.sessions.revoke_all(user.id)
            return user

        return await self.transact(deactivate)


async def find_by_username(username: str, users: UserReader) -> User:
    """Return the user with this username, in any spelling, active or not.

    Raise NotFound `user-not-found`, or Invalid `invalid-username` if this cannot be a username.
    """
    user = await users.find_by_login(checked_username(username))
    if user is None:
        raise NotFound("user-not-found", "there is no such user")
    return user
