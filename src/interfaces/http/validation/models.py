"""The base of request models, and the texts of validation errors.

The texts are our own, because those of the library may repeat what was sent, passwords included.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import MISSING, BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from domain.errors import Invalid

T = TypeVar("T")

RULE_ERROR = "rule"
"""The error type of violated rules, whose message is shown as it is."""
ABSENT: Any = MISSING
"""The default of a field that may be absent: it is not null, and absent from model_dump(), too."""
_TEXTS = {
    "missing": "is required",
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


class InputModel(BaseModel):
    """The base of all request bodies: a JSON object. Values are not converted, and unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def refuse_other_types(cls, value: object) -> object:
        """Return the value if it is a JSON object (a dict); raise PydanticCustomError for anything else.

        FastAPI validates bodies with `from_attributes=True`, so that anything with attributes would pass for a model
        whose fields are all optional: a JSON number with a fraction, for instance, which is a Decimal here.
        """
        if isinstance(value, dict):
            return value
        raise PydanticCustomError(RULE_ERROR, "{detail}", {"detail": "must be an object"})


def domain_rule(check: Callable[..., T], *args: Any, **kwargs: Any) -> Callable[[Any], T]:
    """Return a Pydantic validator that applies a rule of the domain, so that each rule is written only once.

    `check` returns the valid value or raises Invalid, and is called with `args`, the value, and `kwargs`. The validator
    returns what `check` returns, and turns Invalid into a PydanticCustomError with its detail.
    """
    check = partial(check, *args, **kwargs)

    def validator(value: Any) -> T:
        """Return what `check` returns; raise PydanticCustomError if that raises Invalid."""
        try:
            return check(value)
        except Invalid as invalid:
            raise PydanticCustomError(RULE_ERROR, "{detail}", {"detail": invalid.detail}) from None

    return validator


def json_pointer(field: str | None) -> str:
    """Return the JSON pointer (RFC 6901) `/field`, or `""` for the whole request if there is no field.

    The name is not escaped, so it must contain neither `/` nor `~`.
    """
    return f"/{field}" if field else ""


def field_errors(error: RequestValidationError, known: list[str]) -> list[dict[str, str]]:
    """Return the `errors` of a problem response: the JSON pointer of each wrong field, and what is wrong with it.

    `known` are the names of the body's fields. If there are others, they are one error of the body as a whole, the last
    one. It says how many they are, and not their names, which the sender has chosen.
    """
    found = [one for one in error.errors() if one["type"] != "extra_forbidden"]
    errors = [_field_error(one) for one in found]
    if unknown := len(error.errors()) - len(found):
        errors.append({"pointer": "", "detail": unknown_fields(unknown, known)})
    return errors


def unknown_fields(count: int, known: list[str]) -> str:
    """Return what is wrong with a body that has so many fields that are not among the known ones."""
    unknown = "a field that is" if count == 1 else f"{count} fields that are"
    return f"has {unknown} not known; known are: {', '.join(known)}"


def _field_error(found: dict[str, Any]) -> dict[str, str]:
    """Return the JSON pointer and our own text of one of Pydantic's errors.

    Malformed JSON is an error of the whole request.
    """
    kind, (_, *path) = found["type"], found["loc"]
    if kind == "json_invalid":
        path = []
    text = found["msg"] if kind == RULE_ERROR else _TEXTS.get(kind, "is not valid").format(**found.get("ctx", {}))
    return {"pointer": "".join(json_pointer(str(part)) for part in path), "detail": text}
