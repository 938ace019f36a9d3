"""What is wrong with a request, field by field, in our own words: a library's may repeat what was sent."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import MISSING, BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from domain.errors import Invalid

T = TypeVar("T")

RULE = "rule"
LEFT_OUT: Any = MISSING
"""As the default of a field: not null, and not in the dump."""
_TEXTS = {
    "missing": "is required",
    "extra_forbidden": "has a field that is not known",
    "json_invalid": "is not valid JSON: {error}",
    "string_type": "must be a string",
    "string_unicode": "lone surrogates are not text",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "is too large",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "uuid_parsing": "must be a UUID",
    "uuid_type": "must be a UUID",
    "datetime_from_date_parsing": "must be a date and time (RFC 3339)",
    "datetime_parsing": "must be a date and time (RFC 3339)",
    "timezone_aware": "must have a time zone",
}


class In(BaseModel):
    """Base of all request bodies: a JSON object in which no value is converted and no field is unknown."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def refuse_other_types(cls, value: object) -> object:
        """Accept an object only.

        FastAPI validates bodies with `from_attributes=True`, so that anything with attributes would pass for a model
        whose fields are all optional: a JSON number with a fraction, for instance, which is a Decimal here.
        """
        if isinstance(value, dict):
            return value
        raise PydanticCustomError(RULE, "{detail}", {"detail": "must be an object"})


def rule(check: Callable[..., T], *args: Any, **kwargs: Any) -> Callable[[Any], T]:
    """A rule of the domain as a validator, so that it is written once and all broken rules are told together."""
    check = partial(check, *args, **kwargs)

    def validator(value: Any) -> T:
        try:
            return check(value)
        except Invalid as invalid:
            raise PydanticCustomError(RULE, "{detail}", {"detail": invalid.detail}) from None

    return validator


def pointer(field: str | None) -> str:
    return f"/{field}" if field else ""


def faults(error: RequestValidationError) -> list[dict[str, str]]:
    return [_fault(found) for found in error.errors()]


def _fault(found: dict[str, Any]) -> dict[str, str]:
    kind, (_, *path) = found["type"], found["loc"]
    if kind == "json_invalid":
        path = []
    elif kind == "extra_forbidden":
        path = path[:-1]  # its name is the sender's
    text = found["msg"] if kind == RULE else _TEXTS.get(kind, "is not valid").format(**found.get("ctx", {}))
    return {"pointer": "".join(pointer(str(part)) for part in path), "detail": text}
