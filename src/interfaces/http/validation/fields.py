"""Types of fields that several resources have, with the domain's rules as validators and as JSON Schema."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from domain.item import MAX_PRICE, checked_price
from domain.text import MAX_DESCRIPTION_LENGTH, checked_description
from interfaces.http.validation.models import RULE_ERROR, domain_rule
from interfaces.http.validation.patterns import TEXT

_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")
_HOUR = "([01][0-9]|2[0-3])"
_TIME = (
    "^(?!0000|(0001-01-01|9999-12-31).*[+-][0-9]{2}:)[0-9]{4}-[0-9]{2}-[0-9]{2}"
    rf"[Tt]{_HOUR}(:[0-5][0-9]){{2}}(\.[0-9]+)?([Zz]|[+-]{_HOUR}:[0-5][0-9])$"
)
"""RFC 3339, except for times that Python cannot represent: leap seconds, year 0, offsets on the first and last day."""


def _json_number(value: object) -> Decimal:
    """Return a JSON number as Decimal; raise PydanticCustomError for anything else, `true` included.

    The JSON parser has made it an int or a Decimal, exactly as it was written.
    """
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise PydanticCustomError(RULE_ERROR, "must be a number")
    return Decimal(value)


def _query_number(value: object) -> Decimal:
    """Parse a number in JSON's notation; raise PydanticCustomError for anything else.

    Decimal() would also accept underscores and digits of other scripts.
    """
    if not (isinstance(value, str) and _NUMBER.fullmatch(value)):
        raise PydanticCustomError(RULE_ERROR, "must be a number")
    return Decimal(value)


def _whole_number(value: object) -> object:
    """Return the text of a whole number, which Pydantic parses; raise PydanticCustomError for anything else.

    Pydantic would also accept underscores, white space, a plus sign, and `.0` at the end.
    """
    if not (isinstance(value, str) and re.fullmatch(r"-?[0-9]+", value)):
        raise PydanticCustomError(RULE_ERROR, "must be a whole number")
    return value


def _query_time(value: object) -> datetime:
    """Parse an RFC 3339 time into UTC and truncate it to milliseconds; raise PydanticCustomError for anything else.

    Pydantic would also accept numbers as times.
    """
    if isinstance(value, str) and re.fullmatch(_TIME, value):
        try:
            at = datetime.fromisoformat(value.upper()).astimezone(UTC)
        except ValueError:
            raise PydanticCustomError(RULE_ERROR, "is not a date that exists") from None
        return at.replace(microsecond=at.microsecond // 1000 * 1000)
    detail = "must be a date and time with its offset (RFC 3339)"
    if isinstance(value, str) and re.fullmatch(_TIME, value.replace(" ", "+")):
        detail += "; in an address write + as %2B, or use Z"  # it was decoded to a space
    raise PydanticCustomError(RULE_ERROR, "{detail}", {"detail": detail})


_PRICE: dict[str, Any] = {
    "type": "number",
    "minimum": 0,
    "maximum": float(MAX_PRICE),
    "multipleOf": 0.01,
    "examples": [149.5],
}
Price = Annotated[
    Decimal, BeforeValidator(_json_number), AfterValidator(domain_rule(checked_price)), WithJsonSchema(_PRICE)
]
QueryPrice = Annotated[
    Decimal, BeforeValidator(_query_number), AfterValidator(domain_rule(checked_price)), WithJsonSchema(_PRICE)
]
"""A price in the query, where every value is text."""
WHOLE_NUMBER = BeforeValidator(_whole_number)
"""For the annotation of a whole number in the query, where every value is text."""
QueryTime = Annotated[
    datetime,
    BeforeValidator(_query_time),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": _TIME, "examples": ["2026-11-22T00:00:00Z"]}),
]
Description = Annotated[
    str,
    Field(max_length=MAX_DESCRIPTION_LENGTH, examples=["Green, with a basket"], json_schema_extra=TEXT),
    AfterValidator(domain_rule(checked_description)),
]
