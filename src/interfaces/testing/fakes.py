"""Passwords and tokens that cost nothing: the real ones need what the core does without."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from application.errors import Busy
from application.ports import AccessToken
from domain.errors import Unauthenticated
from domain.user import UserId


@dataclass
class FakePasswords:
    verified: list[str | None] = field(default_factory=list)
    """The hashes that passwords were compared to: whoever compares none tells by the time that it takes."""
    busy: bool = False
    hashing_busy: bool = False
    meanwhile: Callable[[], Awaitable[None]] | None = None
    """What happens while a password is compared."""

    async def hash(self, password: str) -> str:
        if self.hashing_busy:
            raise Busy("too many passwords are waiting")
        return f"hash of {password}"

    async def verify(self, password: str, password_hash: str | None) -> bool:
        if self.busy:
            raise Busy("too many passwords are waiting")
        self.verified.append(password_hash)
        if self.meanwhile:
            await self.meanwhile()
        await asyncio.sleep(0)
        return (password_hash or "").removeprefix("old ") == f"hash of {password}"

    def needs_rehash(self, password_hash: str) -> bool:
        return password_hash.startswith("old ")


class FakeTokens:
    def issue(self, user_id: UserId, at: datetime) -> AccessToken:
        return AccessToken(f"{user_id} {at.isoformat()}", expires_in=900)

    def verify(self, token: str, at: datetime) -> UserId:
        try:
            return UserId(UUID(token.partition(" ")[0]))
        except ValueError:
            raise Unauthenticated("invalid-token", "no token of ours") from None
