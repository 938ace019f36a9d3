"""Signing in."""

from dataclasses import dataclass

from application.ports import AccessToken, Clock, PasswordHasher, Tokens, UserReader
from domain.errors import Unauthenticated
from domain.text import caseless


@dataclass(frozen=True, slots=True)
class SignIn:
    """Exchange a password for an access token.

    - By username or by e-mail address, however spelt.
    - Whether the account is unknown, inactive or the password wrong: the same answer after the same time.
    """

    users: UserReader
    passwords: PasswordHasher
    tokens: Tokens
    now: Clock

    async def __call__(self, *, login: str, password: str) -> AccessToken:
        user = await self.users.by_login(caseless(login))
        fits = await self.passwords.verify(password, user.password_hash if user else None)
        if user is None or not fits or not user.is_active:
            raise Unauthenticated("wrong-credentials", "no active account has this name and password")
        return self.tokens.issue(user.id, self.now())
