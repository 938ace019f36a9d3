"""The current time, new ids and random tokens. Use cases get these as ports, so that tests can replace them."""

import secrets
from datetime import UTC, datetime
from uuid import UUID

from uuid_utils.compat import uuid7


def utc_now() -> datetime:
    """Return the current time in UTC, truncated to milliseconds, because MongoDB stores no more.

    Truncated and not rounded, so that no answer is ahead of the clock.
    """
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def new_id() -> UUID:
    """Return a new UUIDv7 (RFC 9562), greater than all that this process has made before."""
    return uuid7()


def new_token() -> str:
    """Return a random text of 43 characters, which is 256 random bits in URL-safe base64."""
    return secrets.token_urlsafe(32)
