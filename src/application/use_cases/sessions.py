"""Signing in, refreshing tokens, and signing out."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from application.errors import OutcomeUnknown, Unavailable
from application.ports import AccessToken, Clock, Ids, PasswordHasher, Tokens, UnitOfWork
from application.readers import UserReader
from application.transact import Transact, Work
from application.use_cases.passwords import CheckedAttempt, VerifyPassword
from domain.errors import DomainError, NotFound, Unauthenticated
from domain.session import REFRESH_REFUSED, Session, SessionId, TokenReused
from domain.text import normalize_identifier
from domain.user import User, UserId

NewToken = Callable[[], str]
"""Returns a new random refresh token with 256 bits of entropy, as text."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The result of a sign-in or refresh: the user, a new access token, and a new refresh token as plain text."""

    user_id: UserId
    access: AccessToken
    refresh_token: str


@dataclass(frozen=True, slots=True)
class SignIn:
    """Begin a session: exchange a login name and password for tokens.

    - The login name is a username or an e-mail address, in any spelling.
    - An unknown account, an inactive account and a wrong password get the same answer after the same time:
      Unauthenticated `wrong-credentials`. They count as failed attempts; after too many, TooManyAttempts.
    - If the password is changed while it is being verified, the new one counts.
    - A password hash with outdated parameters is replaced. If that fails, the user is signed in all the same.
    """

    transact: Transact
    users: UserReader
    verify_password: VerifyPassword
    passwords: PasswordHasher
    tokens: Tokens
    new_token: NewToken
    ids: Ids
    now: Clock
    lifetime: timedelta

    async def __call__(self, *, login: str, password: str, address: str) -> SignedIn:
        """Verify the password, store a new session and return its tokens. `address` is the client's."""
        login = normalize_identifier(login)
        seen = await self.users.find_by_login(login)
        attempt = await self.verify_password(seen, login, password, address)
        refresh_token = self.new_token()

        user = await attempt.transact(self.transact, self._begin_session(seen, attempt, refresh_token))
        if user is None:
            raise Unauthenticated("wrong-credentials", "no active account has this name and password")
        if seen is None or user.password_hash != seen.password_hash:  # changed or rehashed meanwhile: verify again
            return await self(login=login, password=password, address=address)
        if self.passwords.needs_rehash(user.password_hash):
            with suppress(DomainError, Unavailable, OutcomeUnknown):  # the next sign-in will try again
                await self._rehash(user, password)
        return SignedIn(user.id, self.tokens.issue(user.id, self.now()), refresh_token)

    def _begin_session(self, seen: User | None, attempt: CheckedAttempt, refresh_token: str) -> Work[User | None]:
        """Return work that settles the attempt and, if its password is still the current one, begins a session.

        The work returns the user as stored, or None if they may not sign in; the attempt then counts as failed. If the
        password hash of the returned user is not that of `seen`, no session has begun: the caller has to verify the
        password again.
        """

        async def settle_and_begin(uow: UnitOfWork) -> User | None:
            """Settle the attempt; begin the session if the user is active and the verified hash is still stored.

            Return the user even if the hash has changed, and None if they may not sign in.
            """
            user = (await uow.users.hold(seen.id)).get(seen.id) if seen and attempt.is_correct else None
            may_sign_in = user is not None and user.is_active
            await attempt.settle(uow, failed=not may_sign_in)
            if seen is None or user is None or not may_sign_in:
                return None
            if user.password_hash == seen.password_hash:
                await uow.sessions.add(
                    Session(
                        id=SessionId(self.ids()),
                        user_id=user.id,
                        token_hash=hash_token(refresh_token),
                        expires_at=self.now() + self.lifetime,
                    )
                )
            return user

        return settle_and_begin

    async def _rehash(self, seen: User, password: str) -> None:
        """Store a new hash of the same password, unless the stored hash has changed since `seen` was read.

        Raise NotFound if the user was deleted, Busy if too many passwords are waiting, and what Transact raises.
        """

        async def store_new_hash(uow: UnitOfWork) -> None:
            """Store `new_hash` if the user still has the hash of `seen`; raise NotFound if the user was deleted."""
            user = await uow.users.get_for_update(seen.id)
            if user.password_hash == seen.password_hash:
                user.change(password_hash=new_hash)
                await uow.users.save(user)

        new_hash = await self.passwords.hash(password)
        await self.transact(store_new_hash)


@dataclass(frozen=True, slots=True)
class RefreshSession:
    """Exchange a refresh token for new tokens.

    - Each refresh token works once. Presenting a used one ends the session, because it has probably been stolen.
    - It does not work after the end of the session, or if the user has been deactivated or deleted.
    - In each of these cases Unauthenticated `invalid-refresh-token` is raised; for a used token that has ended the
      session, it is the subclass TokenReused.
    """

    transact: Transact
    tokens: Tokens
    new_token: NewToken
    now: Clock

    async def __call__(self, *, refresh_token: str) -> SignedIn:
        """Return a new access token and a new refresh token, which replaces the presented one."""
        presented, successor = hash_token(refresh_token), self.new_token()

        async def rotate(uow: UnitOfWork) -> UserId | Unauthenticated:
            """Replace the token and return its user.

            A refusal is returned and not raised, so that a session which this ends is stored as ended.
            """
            found = await uow.sessions.find(presented)
            if found is None:
                return refusal
            session_id, user_id = found
            user = (await uow.users.hold(user_id)).get(user_id)
            if user is None or not user.is_active:
                return refusal
            session = await uow.sessions.get_for_update(session_id)
            version = session.version
            rotated = session.rotate(presented, hash_token(successor), self.now())
            if session.version == version:
                return refusal
            await uow.sessions.save(session)
            return user_id if rotated else TokenReused(user_id)

        refusal = Unauthenticated("invalid-refresh-token", REFRESH_REFUSED)
        try:
            outcome = await self.transact(rotate)
        except NotFound:  # the session was removed between find() and get_for_update()
            outcome = refusal
        if isinstance(outcome, Unauthenticated):
            raise outcome
        return SignedIn(outcome, self.tokens.issue(outcome, self.now()), successor)


@dataclass(frozen=True, slots=True)
class SignOut:
    """End the session that a refresh token belongs to.

    - Any of the session's tokens will do, used ones included. An unknown token is not an error.
    """

    transact: Transact

    async def __call__(self, *, refresh_token: str) -> UserId | None:
        """Return the user whose session this call has ended, or None if there was no session to end."""

        async def revoke(uow: UnitOfWork) -> UserId | None:
            """Revoke the token's session and return its user; None if it is unknown or has been revoked before."""
            found = await uow.sessions.find(hash_token(refresh_token))
            if found is None:
                return None
            session = await uow.sessions.get_for_update(found[0])
            if session.revoked:
                return None
            session.revoke()
            await uow.sessions.save(session)
            return session.user_id

        try:
            return await self.transact(revoke)
        except NotFound:  # the session was removed between find() and get_for_update()
            return None


def hash_token(token: str) -> bytes:
    """Return the SHA-256 under which a token is stored. A fast hash is enough, because tokens are random."""
    return sha256(token.encode()).digest()
