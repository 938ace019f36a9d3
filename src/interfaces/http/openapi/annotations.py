"""Annotations with which routes describe their responses for the OpenAPI document."""

from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, WithJsonSchema

from interfaces.http.openapi.examples import TIME
from interfaces.http.responses.problems import PROBLEMS

T = TypeVar("T")

Timestamp = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time", "examples": [TIME]})]


def id_schema(example: str) -> WithJsonSchema:
    """Return the JSON Schema of an id with this example, for the annotation of a field of a response."""
    return WithJsonSchema({"type": "string", "format": "uuid", "examples": [example]})


PROBLEMS_KEY = "x-problems"
"""The key of a response under which problem_responses() leaves slugs for build_document()."""


class PageOut(BaseModel, Generic[T]):
    """A page of a list.

    `total` is the length of the whole list; counting stops at 10,000, and `total_exact` is then false. Both are null if
    the list was not counted. `next_cursor` is null on the last page.
    """

    items: list[T]
    total: int | None
    total_exact: bool | None
    skip: int
    limit: int
    next_cursor: str | None


ETAG = "The version, for If-Match and If-None-Match."
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {
        "description": "The client has the current version.",
        "headers": {"ETag": {"description": ETAG, "schema": {"type": "string"}}},
    }
}
"""The `responses` of a route that can answer 304."""
NEXT_PAGE = "The next page, if there is one."


def problem_responses(*slugs: str) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that name these problems, by status: `{404: {"x-problems": ["not-found"]}}`.

    build_document() replaces them by descriptions. It also adds problems that follow from the route's parameters, such
    as `invalid-request`.
    """
    declared: dict[int | str, dict[str, Any]] = {}
    for slug in slugs:
        declared.setdefault(PROBLEMS[slug].status, {PROBLEMS_KEY: []})[PROBLEMS_KEY].append(slug)
    return declared


def response_headers(status: int, **described: str) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that document the headers of the response of this status.

    Each keyword is the name of a header, as it is; its value is the description.
    """
    schema = {"type": "string"}
    return {status: {"headers": {name: {"description": text, "schema": schema} for name, text in described.items()}}}
