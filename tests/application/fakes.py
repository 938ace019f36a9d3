"""Passwords and tokens that cost nothing: the real ones need what the core does without."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from application.ports import AccessToken
from domain.errors import Unauthenticated
from domain.user import UserId


@dataclass
class FakePasswords:
    verified: list[str | None] = field(default_factory=list)
    """The hashes that passwords were compared to: whoever compares none tells by the time that it takes."""

    async def hash(self, password: str) -> str:
        return f"hash of {password}"

    async def verify(self, password: str, password_hash: str | None) -> bool:
        self.verified.append(password_hash)
        return password_hash == await self.hash(password)


class FakeTokens:
    def issue(self, user_id: UserId, at: datetime) -> AccessToken:
        return AccessToken(f"{user_id} {at.isoformat()}", expires_in=900)

    def verify(self, token: str, at: datetime) -> UserId:
        try:
            return UserId(UUID(token.partition(" ")[0]))
        except ValueError:
            raise Unauthenticated("invalid-token", "no token of ours") from None
