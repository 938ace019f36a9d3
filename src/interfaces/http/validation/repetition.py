"""Parameters that may be sent only once, and are refused if they are there more than once."""

from collections.abc import Collection, Iterable

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from interfaces.http.validation.models import RULE_ERROR

REPEATED = "is there more than once"


def refuse_repeated(place: str, names: Iterable[str], known: Collection[str]) -> None:
    """Raise RequestValidationError if one of the known names is among the names more than once.

    `place` is where the names were sent: `query` or `body`. Names that are not known may be repeated.
    """
    seen: set[str] = set()
    repeated: dict[str, None] = {}  # each once, in the order in which they were sent
    for name in names:
        if name in seen and name in known:
            repeated[name] = None
        seen.add(name)
    if repeated:
        raise RequestValidationError([{"type": RULE_ERROR, "loc": (place, name), "msg": REPEATED} for name in repeated])


async def refuse_repeated_fields(request: Request) -> None:
    """Raise RequestValidationError if a field of the form is there more than once (RFC 6749, section 3.2).

    A dependency of routes that take a form, of which FastAPI would use the last value. An unknown field that is there
    more than once is left to the validation of the form.
    """
    known = request.scope["route"].body_field.field_info.annotation.model_fields
    refuse_repeated("body", [name for name, _ in (await request.form()).multi_items()], known)
