"""What routes say of themselves for the OpenAPI document: shapes of answers, headers, and what can go wrong."""

from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, WithJsonSchema

from interfaces.http.responses import problems as table

T = TypeVar("T")

EXAMPLE_ID = "019a9d4c-5f2e-7c11-9a51-3d4f0e6b7a21"
Id = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid", "examples": [EXAMPLE_ID]})]
Timestamp = Annotated[
    str, WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-22T09:30:00.123Z"]})
]

MARK = "x-problems"
"""Where problems() leaves its words for the document, which spells them out."""


class PageOut(BaseModel, Generic[T]):
    items: list[T]
    total: int | None
    total_exact: bool | None
    skip: int
    limit: int
    next_cursor: str | None


BLANK = r"\t-\r\u001c- \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""The characters that str.strip() removes, for a character class. `\\s` has others in JavaScript than in Python."""
TEXT = {"pattern": r"^[^\u0000]*$"}
"""For `json_schema_extra`: a text of any characters but NUL."""
NAME = {"pattern": rf"^[^\u0000]*[^\u0000{BLANK}][^\u0000]*$"}
"""For `json_schema_extra`: a text of any characters but NUL that is not blank."""
ETAG = "The version, for If-Match and If-None-Match."
NEXT_PAGE = "The next page, if there is one."


def problems(*slugs: str) -> dict[int | str, dict[str, Any]]:
    """As a route's `responses`: what can go wrong there besides what its parameters already tell."""
    declared: dict[int | str, dict[str, Any]] = {}
    for slug in slugs:
        declared.setdefault(table.PROBLEMS[slug].status, {MARK: []})[MARK].append(slug)
    return declared


def headers(status: int, **described: str) -> dict[int | str, dict[str, Any]]:
    """As a part of a route's `responses`: the headers that tell something of their own."""
    schema = {"type": "string"}
    return {status: {"headers": {name: {"description": text, "schema": schema} for name, text in described.items()}}}
