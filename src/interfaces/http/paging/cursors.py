"""Cursors: the position at which a page ended, as an opaque text that is the same for every storage engine.

A checksum detects cursors that were damaged or belong to another list. It uses no secret key, so that cursors survive a
change of keys. A forged cursor reveals nothing that `skip` would not, and its content is validated like other input.
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

CHECKSUM_LENGTH = 9  # bytes; a multiple of 3 needs no padding in base64
NO_CURSOR = (
    "is not a cursor of this list with these filters and this sort; send next_cursor as it was, or leave cursor out to"
    " begin again"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def encode_cursor(position: Position, kind: type, list_name: str) -> str:
    """Return the cursor of a position whose value has this type, in the list with this name.

    It contains the position and a checksum of position and name, as base64 text for URLs without padding.
    Times are cut to milliseconds and prices to cents.
    """
    write, _ = _KINDS[kind]
    payload = to_json([write(position.value), position.id.hex])
    return urlsafe_b64encode(_checksum(payload, list_name) + payload).rstrip(b"=").decode()


def decode_cursor(cursor: str, kind: type, list_name: str) -> Position:
    """Return the position from a cursor that encode_cursor() has made with the same `kind` and `list_name`.

    Raise Invalid if the cursor is malformed or damaged, is of another list, or has a value that is not allowed.
    """
    try:
        raw = b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        checksum, payload = raw[:CHECKSUM_LENGTH], raw[CHECKSUM_LENGTH:]
        if checksum != _checksum(payload, list_name):
            raise ValueError
        value, id_ = json.loads(payload)
        _, read = _KINDS[kind]
        return Position(read(value), UUID(id_))
    except (Invalid, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError):
        raise Invalid("invalid-request", NO_CURSOR, "cursor") from None


def _checksum(payload: bytes, list_name: str) -> bytes:
    """Return the checksum of a cursor's payload and its list's name."""
    return hashlib.blake2b(list_name.encode() + b"\n" + payload, digest_size=CHECKSUM_LENGTH).digest()


def _non_negative_int32(value: object) -> int:
    """Return the value if it is an integer from 0 to 2**31 - 1, which every engine can store; else raise ValueError."""
    if type(value) is not int or not 0 <= value < 2**31:
        raise ValueError
    return value


_KINDS: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    int: (int, _non_negative_int32),
    str: (str, lambda text: checked_text("cursor", text, max_length=1000)),
    Decimal: (lambda price: int(price * 100), lambda cents: checked_price(Decimal(cents).scaleb(-2))),
    datetime: (lambda at: (at - _EPOCH) // _MILLISECOND, lambda count: _EPOCH + count * _MILLISECOND),
    UUID: (lambda id_: id_.hex, UUID),
}
"""How a value of each type is written as JSON, and how it is read and validated."""
