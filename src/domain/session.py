"""Sessions: one sign-in each, with all the refresh tokens that descend from it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NewType
from uuid import UUID

from domain.errors import DomainError
from domain.user import UserId

SessionId = NewType("SessionId", UUID)

ATTEMPT_WINDOW = timedelta(minutes=15)


class TooManyAttempts(DomainError):
    """Guessing is slowed down, whether or not this guess would have been right."""

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__("too-many-attempts", "too many failed log-ins; wait before the next")
        self.retry_after = retry_after


@dataclass(slots=True, kw_only=True)
class Session:
    """A family of refresh tokens, of which only the youngest works, and works once.

    Tokens are known by their hashes alone. The end is absolute: refreshing does not put it off.
    """

    id: SessionId
    user_id: UserId
    token_hash: bytes
    expires_at: datetime
    revoked: bool = False
    version: int = 1

    def rotate(self, presented: bytes, successor: bytes, at: datetime) -> bool:
        """Whether the successor now takes the presented token's place; a spent token ends the whole family."""
        if self.revoked or at >= self.expires_at:
            return False
        if presented != self.token_hash:
            self.revoke()
            return False
        self.token_hash = successor
        self.version += 1
        return True

    def revoke(self) -> None:
        self.revoked = True
        self.version += 1


@dataclass(slots=True, kw_only=True)
class Attempts:
    """The log-ins for one account, or from one address, that failed or have not ended yet, within the window."""

    subject: bytes
    times: tuple[datetime, ...] = ()
    version: int = 0

    def admit(self, at: datetime, limit: int) -> None:
        """Count an attempt as failed before it is judged, so that many at once cannot slip past the limit."""
        recent = tuple(time for time in self.times if time > at - ATTEMPT_WINDOW)
        if len(recent) >= limit:
            raise TooManyAttempts(recent[-limit] + ATTEMPT_WINDOW - at)
        self.times = (*recent, at)
        self.version += 1

    def forgive(self, at: datetime) -> None:
        """Take back an attempt that turned out to be right."""
        times = list(self.times)
        if at in times:
            times.remove(at)
        self.times = tuple(times)
        self.version += 1
