"""Cursors: where a page ended, as an opaque text that means the same on every engine.

The checksum finds what was mangled or meant for another list. It is no secret, so that cursors outlive a change of
keys; whoever forges one learns no more than `skip` would tell them, and its content is checked as any other input.
"""

import hashlib
import json
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic_core import to_json

from application.paging import Position
from domain.errors import Invalid
from domain.item import checked_price
from domain.text import checked_text

CHECKSUM_LENGTH = 9  # with no rest in base64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def encode(position: Position, kind: type, listing: str) -> str:
    """For the list of this name, where positions have values of this kind; the name tells filters and order too."""
    write, _ = _KINDS[kind]
    payload = to_json([write(position.value), position.id.hex])
    return urlsafe_b64encode(_checksum(payload, listing) + payload).rstrip(b"=").decode()


def decode(cursor: str, kind: type, listing: str) -> Position:
    """Raise Invalid for whatever encode() has not made for this list."""
    try:
        raw = b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        checksum, payload = raw[:CHECKSUM_LENGTH], raw[CHECKSUM_LENGTH:]
        if checksum != _checksum(payload, listing):
            raise ValueError
        value, id_ = json.loads(payload)
        _, read = _KINDS[kind]
        return Position(read(value), UUID(id_))
    except (Invalid, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError):
        raise Invalid("invalid-request", "is not a cursor of this list", "cursor") from None


def _checksum(payload: bytes, listing: str) -> bytes:
    return hashlib.blake2b(listing.encode() + b"\n" + payload, digest_size=CHECKSUM_LENGTH).digest()


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**31:
        raise ValueError
    return value


_KINDS: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    int: (int, _whole),
    str: (str, lambda text: checked_text("cursor", text, max_length=1000)),
    Decimal: (lambda price: int(price * 100), lambda cents: checked_price(Decimal(cents).scaleb(-2))),
    datetime: (lambda at: (at - _EPOCH) // _MILLISECOND, lambda count: _EPOCH + count * _MILLISECOND),
    UUID: (lambda id_: id_.hex, UUID),
}
