"""Fakes of the ports for passwords and access tokens, which take no time and are the same in every run."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from application.errors import Busy
from application.ports import AccessToken, PoolUsage
from domain.errors import Unauthenticated
from domain.user import UserId


@dataclass
class FakePasswords:
    """A PasswordHasher whose hash of `secret` is `hash of secret`.

    `old hash of secret` is a hash of `secret`, too, but one that needs_rehash().
    """

    verified: list[str | None] = field(default_factory=list)
    """The hashes with which verify() was called, in order."""
    busy: bool = False
    """Whether verify() raises Busy."""
    hashing_busy: bool = False
    """Whether hash() raises Busy."""
    meanwhile: Callable[[], Awaitable[None]] | None = None
    """Is awaited during verify(), to let something happen at that time."""

    async def hash(self, password: str) -> str:
        """Return the text `hash of `, followed by the password; raise Busy if `hashing_busy` is set."""
        if self.hashing_busy:
            raise Busy("too many passwords are waiting")
        return f"hash of {password}"

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Return whether the hash, with or without `old ` before it, was made of this password; False for None.

        Raise Busy if `busy` is set. Otherwise add the hash to `verified`, and await `meanwhile`, if it is set, before
        comparing.
        """
        if self.busy:
            raise Busy("too many passwords are waiting")
        self.verified.append(password_hash)
        if self.meanwhile:
            await self.meanwhile()
        await asyncio.sleep(0)
        return (password_hash or "").removeprefix("old ") == f"hash of {password}"

    def needs_rehash(self, password_hash: str) -> bool:
        """Return whether the hash begins with `old `."""
        return password_hash.startswith("old ")

    def usage(self) -> PoolUsage:
        """Return a usage of zeros, because no call takes any time."""
        return PoolUsage(size=1, in_use=0, waiting=0, waits=0, seconds_waited=0.0)


class FakeTokens:
    """A Tokens whose token is the user's id and the time of issue. It never expires."""

    def issue(self, user_id: UserId, at: datetime) -> AccessToken:
        """Return a token that is not signed. `expires_in` is 900 seconds, although verify() accepts it at any time."""
        return AccessToken(f"{user_id} {at.isoformat()}", expires_in=900)

    def verify(self, token: str, at: datetime) -> UserId:
        """Return the user whose id the token begins with; raise Unauthenticated `invalid-token` if it is no id."""
        try:
            return UserId(UUID(token.partition(" ")[0]))
        except ValueError:
            detail = "the access token is not valid or has expired; refresh it with POST /auth/refresh"
            raise Unauthenticated("invalid-token", detail) from None
