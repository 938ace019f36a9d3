"""Sessions: one sign-in each, with all the refresh tokens that descend from it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NewType
from uuid import UUID

from domain.errors import DomainError, Unauthenticated
from domain.user import UserId

SessionId = NewType("SessionId", UUID)

REFUSED = "this refresh token does not work; sign in again"

ATTEMPT_WINDOW = timedelta(minutes=15)
ATTEMPT_LASTS = timedelta(seconds=15)
"""After this an attempt was cut off before it ended, and counts as failed."""


class TooManyAttempts(DomainError):
    """Guessing is slowed down, whether or not this guess would have been right."""

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__("too-many-attempts", "too many failed log-ins; wait before the next")
        self.retry_after = retry_after


class TokenReused(Unauthenticated):
    """A spent refresh token came back, so that one of two who hold it is a thief. Whoever sent it is not told."""

    def __init__(self, user_id: UserId) -> None:
        super().__init__("invalid-refresh-token", REFUSED)
        self.user_id = user_id


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
    """Log-ins for one account, or from one address: those that failed of late, and those still being judged."""

    subject: bytes
    failed: tuple[datetime, ...] = ()
    pending: tuple[datetime, ...] = ()
    version: int = 0

    def admit(self, at: datetime, limit: int) -> bool:
        """Whether one more may be judged now. Not before others are, if those could use up the limit by failing."""
        abandoned = tuple(time for time in self.pending if time <= at - ATTEMPT_LASTS)
        self.pending = tuple(time for time in self.pending if time > at - ATTEMPT_LASTS)
        self.failed = tuple(time for time in sorted(self.failed + abandoned) if time > at - ATTEMPT_WINDOW)
        if len(self.failed) >= limit:
            raise TooManyAttempts(self.failed[-limit] + ATTEMPT_WINDOW - at)
        if len(self.failed) + len(self.pending) >= limit:
            return False
        self.pending = (*self.pending, at)
        self.version += 1
        return True

    def settle(self, at: datetime, *, failed: bool) -> None:
        """Success is not a failure, and that is all: it does not make up for the failures before it."""
        pending = list(self.pending)
        if at in pending:
            pending.remove(at)
            self.pending = tuple(pending)
            self.failed = (*self.failed, at) if failed else self.failed
        self.version += 1
