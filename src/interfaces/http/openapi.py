"""The OpenAPI document: FastAPI's, with the problems that each operation can answer, and who may call it."""

from http import HTTPStatus
from typing import Annotated, Any, Generic, TypeVar

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, WithJsonSchema

from interfaces.http import problems as table

T = TypeVar("T")

Id = Annotated[
    str, WithJsonSchema({"type": "string", "format": "uuid", "examples": ["019a9d4c-5f2e-7c11-9a51-3d4f0e6b7a21"]})
]
Timestamp = Annotated[
    str, WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-22T09:30:00.123Z"]})
]

_MARK = "x-problems"
_SECURITY = "password"
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. Its `type` answers GET with an explanation.",
    "required": ["type", "title", "status", "detail", "instance", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri-reference"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}


class PageOut(BaseModel, Generic[T]):
    items: list[T]
    total: int | None
    total_exact: bool | None
    skip: int
    limit: int
    next_cursor: str | None


TEXT = {"pattern": r"^[^\u0000]*$"}
NAME = {"pattern": r"^[^\u0000]*\S[^\u0000]*$"}
"""As `json_schema_extra`: which characters a text may have, and that a name is not blank."""
ETAG = "The version, for If-Match and If-None-Match."
NEXT_PAGE = "The next page, if there is one."


def problems(*slugs: str) -> dict[int | str, dict[str, Any]]:
    """As a route's `responses`: what can go wrong there besides what its parameters already tell."""
    declared: dict[int | str, dict[str, Any]] = {}
    for slug in slugs:
        declared.setdefault(table.PROBLEMS[slug].status, {_MARK: []})[_MARK].append(slug)
    return declared


def headers(status: int, **described: str) -> dict[int | str, dict[str, Any]]:
    """As a part of a route's `responses`: the headers that tell something of their own."""
    schema = {"type": "string"}
    return {status: {"headers": {name: {"description": text, "schema": schema} for name, text in described.items()}}}


def document(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title, version=app.version, summary=app.summary, description=app.description, routes=app.routes
    )
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = _PROBLEM
    components["securitySchemes"] = {
        _SECURITY: {"type": "oauth2", "flows": {"password": {"tokenUrl": "auth/token", "scopes": {}}}}
    }
    schema["security"] = [{_SECURITY: []}]
    for operations in schema["paths"].values():
        for operation in operations.values():
            _add_problems(operation)
            for parameter in operation.get("parameters", []):
                _drop_null(parameter["schema"])
    return schema


def _drop_null(schema: dict[str, Any]) -> None:
    """An optional parameter is left out; unlike a field of a body it cannot be null."""
    match schema:
        case {"anyOf": [dict(kind), {"type": "null"}]}:
            del schema["anyOf"]
            schema.update(kind)


def _add_problems(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    slugs = _implied(operation)
    for response in responses.values():
        slugs += response.pop(_MARK, [])
    by_status: dict[int, list[str]] = {}
    for slug in slugs:
        by_status.setdefault(table.PROBLEMS[slug].status, []).append(slug)
    for status, these in sorted(by_status.items()):
        responses[str(status)] = _response(status, these)


def _implied(operation: dict[str, Any]) -> list[str]:
    """What follows from who may call it and what it takes."""
    parameters = {parameter["name"] for parameter in operation.get("parameters", [])}
    slugs = ["store-unavailable", "busy"]
    if "security" not in operation:
        slugs += ["not-signed-in", "invalid-token"]
    if "requestBody" in operation:
        slugs += ["request-timeout", "content-too-large", "unsupported-media-type"]
    if "requestBody" in operation or parameters:
        slugs += ["invalid-request"]
    if "If-Match" in parameters:
        slugs += ["version-mismatch"]
    if "Idempotency-Key" in parameters:
        slugs += ["idempotency-key-reused", "request-in-progress", "outcome-unknown"]
    return slugs


def _response(status: int, slugs: list[str]) -> dict[str, Any]:
    examples = {
        slug: {
            "summary": table.PROBLEMS[slug].title,
            "value": {
                "type": f"/problems/{slug}",
                "title": table.PROBLEMS[slug].title,
                "status": status,
                "detail": table.PROBLEMS[slug].explanation,
                "instance": "/…",
                "request_id": "0f8fad5bd9cb469fa165708867728950",
            },
        }
        for slug in slugs
    }
    response: dict[str, Any] = {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(f'`{slug}`' for slug in slugs)}",
        "content": {table.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}},
    }
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return response
