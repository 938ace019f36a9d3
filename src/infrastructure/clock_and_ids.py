"""Time, ids and chance: what comes in from outside, so that tests can bring their own."""

import secrets
from datetime import UTC, datetime
from uuid import UUID

from uuid_utils.compat import uuid7


def utc_now() -> datetime:
    """Cut to milliseconds, never rounded up: BSON dates hold no more, and no answer may be ahead of the clock."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def new_id() -> UUID:
    return uuid7()


def new_token() -> str:
    return secrets.token_urlsafe(32)
