"""Sessions and log-in attempts.

A session begins with one sign-in and includes all refresh tokens that were issued since.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, NewType
from uuid import UUID

from domain.errors import DomainError, Unauthenticated
from domain.user import UserId

SessionId = NewType("SessionId", UUID)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

REFRESH_REFUSED = "this refresh token does not work; sign in again"

ATTEMPT_WINDOW = timedelta(minutes=15)
"""Failed attempts count for this long."""
ATTEMPT_TIMEOUT = timedelta(seconds=15)
"""An attempt that has been pending for longer than this was interrupted, and counts as failed."""


class TooManyAttempts(DomainError):
    """Too many log-in attempts have failed recently, or there were too many sign-ups.

    Raised before the password is verified, right or wrong, or hashed. `retry_after` is the time until the next attempt
    can be admitted. `what` says of what there were too many. `action` is `sign-in` also where the current password is
    asked for again, to change an account.
    """

    def __init__(self, retry_after: timedelta, what: str, *, action: Literal["sign-in", "sign-up"] = "sign-in") -> None:
        super().__init__("too-many-attempts", f"too many {what}; wait before the next")
        self.retry_after = retry_after
        self.action = action


class TokenReused(Unauthenticated):
    """A refresh token was presented a second time, so it has probably been stolen.

    The sender gets the same answer as for any other token that does not work. `user_id` is the session's user.
    """

    def __init__(self, user_id: UserId) -> None:
        super().__init__("invalid-refresh-token", REFRESH_REFUSED)
        self.user_id = user_id


@dataclass(slots=True, kw_only=True)
class Session:
    """A sign-in and its refresh tokens, of which only the newest works, once.

    Only the hash of the newest token is stored. `expires_at` is fixed at sign-in; refreshing does not extend it.
    """

    id: SessionId
    user_id: UserId
    token_hash: bytes
    expires_at: datetime
    revoked: bool = False
    version: int = 1

    def rotate(self, presented: bytes, successor: bytes, at: datetime) -> bool:
        """Replace the token hash by `successor` and return True if `presented` is the newest token's hash.

        Return False and change nothing if the session has been revoked or has expired at the time `at`. Presenting any
        other token of this session returns False and revokes the session. The version grows by one if the session was
        changed or revoked.
        """
        if self.revoked or at >= self.expires_at:
            return False
        if presented != self.token_hash:
            self.revoke()
            return False
        self.token_hash = successor
        self.version += 1
        return True

    def revoke(self) -> None:
        """End the session, so that none of its refresh tokens works any more; the version grows by one.

        It grows even if the session has been revoked before, so check `revoked` first. Access tokens that were issued
        in the session work until they expire.
        """
        self.revoked = True
        self.version += 1


@dataclass(slots=True, kw_only=True)
class LoginAttempts:
    """Recent log-in attempts for one account or from one client address, or recent sign-ups from one address.

    The same attempt is counted for two subjects, the account and the address. The number of attempts is that of the
    times; there is no other count. Two objects are equal if all four fields are.
    """

    subject: bytes
    """The hash of what is counted: of an account's id, of a login name that no account has, or of an address."""
    failed: tuple[datetime, ...] = ()
    """When those attempts began that have failed, and when sign-ups happened; each counts for ATTEMPT_WINDOW."""
    pending: tuple[datetime, ...] = ()
    """When those attempts began whose password is still being verified; after ATTEMPT_TIMEOUT they count as failed."""
    version: int = 0
    """It grows with each change; 0 if there was none yet, so that nothing is stored."""

    @property
    def expires_at(self) -> datetime:
        """The time from which on no attempt counts any more; in 1970 if there are no attempts."""
        return max((*self.failed, *self.pending), default=EPOCH) + ATTEMPT_WINDOW

    def correct(self, at: datetime) -> bool:
        """Replace times in the future by `at`; return whether there were any, which means a new version.

        They are left by a clock that has been set back since, or by a server whose clock is ahead. Without this they
        would count for longer than ATTEMPT_WINDOW. Pending attempts remain as they are if they are less than
        ATTEMPT_TIMEOUT ahead, because they may still be settled; others become failed ones.
        """
        abandoned = tuple(time for time in self.pending if time > at + ATTEMPT_TIMEOUT)
        if not abandoned and all(time <= at for time in self.failed):
            return False
        self.failed = tuple(min(time, at) for time in self.failed + abandoned)
        self.pending = tuple(time for time in self.pending if time not in abandoned)
        self.version += 1
        return True

    def admit(self, at: datetime, limit: int, what: str = "failed log-ins") -> bool:
        """Add a pending attempt at this time and return True, or return False if it has to wait.

        It has to wait while the limit would be reached if all pending attempts failed. Raise TooManyAttempts if `limit`
        attempts have failed within ATTEMPT_WINDOW; `what` says of what there were too many. In any case, pending
        attempts older than ATTEMPT_TIMEOUT become failed ones, and failed ones older than ATTEMPT_WINDOW are dropped;
        only True means a new version.
        """
        abandoned = tuple(time for time in self.pending if time <= at - ATTEMPT_TIMEOUT)
        self.pending = tuple(time for time in self.pending if time > at - ATTEMPT_TIMEOUT)
        self.failed = tuple(time for time in sorted(self.failed + abandoned) if time > at - ATTEMPT_WINDOW)
        if len(self.failed) >= limit:
            raise TooManyAttempts(self.failed[-limit] + ATTEMPT_WINDOW - at, what)
        if len(self.failed) + len(self.pending) >= limit:
            return False
        self.pending = (*self.pending, at)
        self.version += 1
        return True

    def count_sign_up(self, at: datetime, limit: int) -> None:
        """Count a sign-up at this time; raise TooManyAttempts if there were `limit` of them within ATTEMPT_WINDOW.

        Sign-ups that are older are dropped. The version grows by one.
        """
        self.failed = tuple(time for time in sorted(self.failed) if time > at - ATTEMPT_WINDOW)
        if len(self.failed) >= limit:
            retry_after = self.failed[-limit] + ATTEMPT_WINDOW - at
            raise TooManyAttempts(retry_after, "sign-ups from this address", action="sign-up")
        self.failed = (*self.failed, at)
        self.version += 1

    def settle(self, at: datetime, *, failed: bool) -> None:
        """End the pending attempt that was admitted at this time; add it to the failed ones if it failed.

        A successful attempt does not erase earlier failures. An attempt that is no longer pending, because it took
        longer than ATTEMPT_TIMEOUT, stays failed. The version grows by one in any case.
        """
        pending = list(self.pending)
        if at in pending:
            pending.remove(at)
            self.pending = tuple(pending)
            self.failed = (*self.failed, at) if failed else self.failed
        self.version += 1
