"""Signing in, staying signed in, and signing out."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from application.errors import OutcomeUnknown, Unavailable
from application.passwords import ProvePassword
from application.ports import AccessToken, Clock, Ids, PasswordHasher, Tokens, UnitOfWork
from application.readers import UserReader
from application.transact import Transact
from domain.errors import DomainError, NotFound, Unauthenticated
from domain.session import REFUSED, Session, SessionId, TokenReused
from domain.text import caseless
from domain.user import User, UserId

NewToken = Callable[[], str]
"""256 bits that nobody can guess, as text."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    user_id: UserId
    access: AccessToken
    refresh_token: str


@dataclass(frozen=True, slots=True)
class SignIn:
    """Exchange a password for tokens.

    - By username or by e-mail address, however spelt.
    - Whether the account is unknown, inactive or the password wrong: the same answer after the same time.
    - A password that changes while it is judged lets nobody in.
    - A hash made with outdated parameters is made anew, which keeps nobody out who signs in meanwhile.
    """

    transact: Transact
    users: UserReader
    prove: ProvePassword
    passwords: PasswordHasher
    tokens: Tokens
    new_token: NewToken
    ids: Ids
    now: Clock
    lifetime: timedelta

    async def __call__(self, *, login: str, password: str, address: str) -> SignedIn:
        login = caseless(login)
        seen = await self.users.by_login(login)
        attempt = await self.prove(seen, login, password, address)
        refresh_token = self.new_token()

        async def work(uow: UnitOfWork) -> User | None:
            user = (await uow.users.hold(seen.id)).get(seen.id) if seen and attempt.right else None
            right = user is not None and user.is_active
            await attempt.settle(uow, failed=not right)
            if user is None or not right:
                return None
            if user.password_hash == seen_hash:
                await uow.sessions.add(
                    Session(
                        id=SessionId(self.ids()),
                        user_id=user.id,
                        token_hash=digest(refresh_token),
                        expires_at=self.now() + self.lifetime,
                    )
                )
            return user

        seen_hash = seen.password_hash if seen else None
        user = await attempt.conclude(self.transact, work)
        if user is None:
            raise Unauthenticated("wrong-credentials", "no active account has this name and password")
        if user.password_hash != seen_hash:  # meanwhile it was changed, or only made anew: judge it again
            return await self(login=login, password=password, address=address)
        if self.passwords.outdated(user.password_hash):
            with suppress(DomainError, Unavailable, OutcomeUnknown):  # there will be other log-ins
                await self._rehash(user, password)
        return SignedIn(user.id, self.tokens.issue(user.id, self.now()), refresh_token)

    async def _rehash(self, seen: User, password: str) -> None:
        async def work(uow: UnitOfWork) -> None:
            user = await uow.users.get_for_update(seen.id)
            if user.password_hash == seen.password_hash:
                user.change(password_hash=new_hash)
                await uow.users.save(user)

        new_hash = await self.passwords.hash(password)
        await self.transact(work)


@dataclass(frozen=True, slots=True)
class RefreshSession:
    """Exchange a refresh token for new tokens.

    - Each works once; whoever presents a spent one ends the whole session, since one of two holders is a thief.
    - Not after the session's absolute end, nor once its user is inactive or gone.
    """

    transact: Transact
    tokens: Tokens
    new_token: NewToken
    now: Clock

    async def __call__(self, *, refresh_token: str) -> SignedIn:
        presented, successor = digest(refresh_token), self.new_token()

        async def work(uow: UnitOfWork) -> UserId | Unauthenticated:
            found = await uow.sessions.find(presented)
            if found is None:
                return refusal
            session_id, user_id = found
            user = (await uow.users.hold(user_id)).get(user_id)
            if user is None or not user.is_active:
                return refusal
            session = await uow.sessions.get_for_update(session_id)
            version = session.version
            rotated = session.rotate(presented, digest(successor), self.now())
            if session.version == version:
                return refusal
            await uow.sessions.save(session)
            return user_id if rotated else TokenReused(user_id)

        refusal = Unauthenticated("invalid-refresh-token", REFUSED)
        try:
            outcome = await self.transact(work)
        except NotFound:  # it ended between being found and being locked
            outcome = refusal
        if isinstance(outcome, Unauthenticated):
            raise outcome
        return SignedIn(outcome, self.tokens.issue(outcome, self.now()), successor)


@dataclass(frozen=True, slots=True)
class SignOut:
    """End the session that a refresh token belongs to.

    - A token that is unknown or spent is as good as any: its session is over afterwards.
    """

    transact: Transact

    async def __call__(self, *, refresh_token: str) -> UserId | None:
        """Who has signed out, if anybody has."""

        async def work(uow: UnitOfWork) -> UserId | None:
            found = await uow.sessions.find(digest(refresh_token))
            if found is None:
                return None
            session = await uow.sessions.get_for_update(found[0])
            if session.revoked:
                return None
            session.revoke()
            await uow.sessions.save(session)
            return session.user_id

        try:
            return await self.transact(work)
        except NotFound:  # it ended between being found and being locked
            return None


def digest(token: str) -> bytes:
    """Tokens are random enough for a fast hash; only this is stored."""
    return sha256(token.encode()).digest()
