"""Fields that more than one resource takes: the domain's rules, as validators and as JSON Schema."""

import re
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from domain.item import MAX_PRICE, checked_price
from domain.text import MAX_DESCRIPTION_LENGTH, checked_description
from interfaces.http.openapi.annotations import TEXT
from interfaces.http.validation.models import RULE, rule

_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")
_HOUR = "([01][0-9]|2[0-3])"
_TIME = (
    "^(?!0000|(0001-01-01|9999-12-31).*[+-][0-9]{2}:)[0-9]{4}-[0-9]{2}-[0-9]{2}"
    rf"[Tt]{_HOUR}(:[0-5][0-9]){{2}}(\.[0-9]+)?([Zz]|[+-]{_HOUR}:[0-5][0-9])$"
)
"""RFC 3339 without what Python has no times for: leap seconds, the year 0, and offsets on the first and last days."""


def _number(value: object) -> Decimal:
    """JSON's numbers come as int and Decimal, exactly as they were written."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise PydanticCustomError(RULE, "must be a number")
    return Decimal(value)


def _spelt_number(value: object) -> Decimal:
    """Parse a number in JSON's notation. Decimal() would also accept underscores and digits of other scripts."""
    if not (isinstance(value, str) and _NUMBER.fullmatch(value)):
        raise PydanticCustomError(RULE, "must be a number")
    return Decimal(value)


def _spelt_time(value: object) -> datetime:
    """Parse an RFC 3339 time into UTC and truncate it to milliseconds. Pydantic would also accept numbers as times."""
    if isinstance(value, str) and re.fullmatch(_TIME, value):
        with suppress(ValueError):  # no such day in that month
            at = datetime.fromisoformat(value.upper()).astimezone(UTC)
            return at.replace(microsecond=at.microsecond // 1000 * 1000)
    raise PydanticCustomError(RULE, "must be a date and time with its offset (RFC 3339)")


_PRICE: dict[str, Any] = {
    "type": "number",
    "minimum": 0,
    "maximum": float(MAX_PRICE),
    "multipleOf": 0.01,
    "examples": [149.5],
}
Price = Annotated[Decimal, BeforeValidator(_number), AfterValidator(rule(checked_price)), WithJsonSchema(_PRICE)]
SpeltPrice = Annotated[
    Decimal, BeforeValidator(_spelt_number), AfterValidator(rule(checked_price)), WithJsonSchema(_PRICE)
]
"""In a query, where everything is text."""
SpeltTime = Annotated[
    datetime,
    BeforeValidator(_spelt_time),
    WithJsonSchema(
        {"type": "string", "format": "date-time", "pattern": _TIME, "examples": ["2026-11-22T09:30:00.123Z"]}
    ),
]
Description = Annotated[
    str,
    Field(max_length=MAX_DESCRIPTION_LENGTH, examples=["Green, with a basket"], json_schema_extra=TEXT),
    AfterValidator(rule(checked_description)),
]
