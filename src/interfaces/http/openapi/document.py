"""The OpenAPI document: FastAPI's own, completed with the problems and links of each operation."""

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from interfaces.http.openapi.declared_problems import add_problems
from interfaces.http.openapi.examples import add_examples
from interfaces.http.routing.dependencies import required_classes
from interfaces.http.validation.body import FORM

CONVENTIONS = """\
JSON in and out, UTF-8. Unknown fields of a body are refused; unknown query parameters are ignored. A query parameter, a
field or the header `Idempotency-Key` that is there more than once is refused. Times are RFC 3339 in UTC with
milliseconds, ids are UUIDs.

**Trying it out.** Sign up with both examples of `POST /users`. On the docs page, sign in under *Authorize* as `ada`,
with the password of the example. The other examples can be sent as they stand, with ids copied from earlier answers.
The accounts are those of the first transfer in the README: if that was done on this server, sign-up is answered with
409, and you can sign in.

**Signing in.** `POST /auth/token` exchanges name and password for an access token and a refresh token. All operations
that are not public need the access token: `Authorization: Bearer …`. It works for `expires_in` seconds. Before or after
that, `POST /auth/refresh` exchanges the refresh token for new tokens. After 401 `invalid-refresh-token`, sign in again.
After 401 `account-inactive`, the account was deactivated or deleted: tell the user, and forget the tokens. A new
password ends all sessions: sign in with it.

**Problems.** Every error is `application/problem+json` (RFC 9457); its `type` answers GET with an explanation, and
`GET /problems` lists all of them. Beside the problems that an operation lists, any request may be answered with these:

| Status | Problem | Reason |
|---|---|---|
| 400 | `bad-request` | The request cannot be read, or its header `Host` is malformed. |
| 404 | `not-found` | There is nothing at this path. |
| 405 | `method-not-allowed` | The path has no such method; `Allow` names those that it has. |
| 408 | `request-timeout` | The request took more than 10 seconds to arrive. Nothing was done: repeat it. |
| 431 | `headers-too-large` | The address and the headers are too large. |
| 500 | `internal-error` | An error of the server: give `request_id` to the operator. |

Requests are checked in a fixed order: path and method, sign-in, size and media type of the body, the validity
of what was sent, then what is stored. Of that, the caller's account comes first (401), then whether the object exists
(404), whether the caller may do this (403), the version (412), then the rest.

**Lists.** Pages are selected by `skip` and `limit`, or by `cursor` with the `next_cursor` of the page before, which is
also in the header `Link`. Following cursors neither repeats nor misses rows that exist all the time. A cursor is valid
for the same filters and order only; `limit` may differ from page to page. With a cursor, `total` and `total_exact` are
null and `skip` is 0. Counting stops at 10,000; `total_exact` is then false.

**Versions.** The `ETag` of an object is its version. With `If-Match`, a change applies to that version or is refused
(412). With `If-None-Match`, an object that the client already has is not sent again (304). Every operation that changes
or removes an object checks `If-Match`; those that create one, and signing in, refreshing and signing out, ignore it.

**Retrying.** After 503, or when an answer is lost, a change may have been made. What to do depends on the operation:

| Operation | What to do |
|---|---|
| POST that lists `Idempotency-Key` | Repeat it with the same key. It has one effect and gets the same answer. |
| GET, signing in, signing out | Repeat it. |
| PATCH, PUT, DELETE with `If-Match` | Repeat it. After 412, or 404 to DELETE, read the object. |
| PATCH, PUT without `If-Match` | Repeat it. It may undo what somebody else has changed in between. |
| DELETE without `If-Match` | Repeat it. 404 means that the object is gone. |
| Signing up | Repeat it. 409 may mean that the first one took effect: sign in. |
| Changing the password | Sign in with the new one. If that is refused, repeat the change. |
| Changing only the e-mail address | Repeat it. |
| Deleting an account | Repeat it. 401 `account-inactive` means that it is done. |
| `POST /auth/refresh` | See there. |

The answer to a repeated key is marked by `Idempotency-Replayed: true`; all other operations ignore the header
`Idempotency-Key`. 412, or 404 to DELETE, means that the first request took effect, or that somebody else was first. The
server answers within 5 seconds: wait longer than that, and retry for at least half a minute, with growing pauses.

**Every response** has an `X-Request-ID`: the client's own if it is 1 to 128 ASCII letters, digits
or `._-`, else a new one. HEAD works wherever GET does.
A path with a slash at its end is redirected to the path without it.
"""

TAGS = [
    {"name": "items", "description": "What is owned: register, find, change and remove items, and hand them over."},
    {"name": "users", "description": "Accounts: sign up, look others up, change or delete one's own."},
    {"name": "tasks", "description": "The caller's own to-do list, which nobody else can see."},
    {"name": "signing in", "description": "Access and refresh tokens."},
    {"name": "health", "description": "For operators: whether the server lives and can serve, and its metrics."},
    {"name": "documentation", "description": "Where to start, and what each problem type means."},
]

_PASSWORD, _TOKEN = "password", "token"
_REQUEST_ID, _REPLAYED = "X-Request-ID", "Idempotency-Replayed"
_HEADERS: dict[str, Any] = {
    _REQUEST_ID: {
        "description": "The client's own `X-Request-ID` if it is sane, else a new one. The server logs it.",
        "schema": {"type": "string"},
    },
    _REPLAYED: {
        "description": "Sent only if this is the answer to an earlier request with the same `Idempotency-Key`.",
        "schema": {"type": "string", "const": "true"},
    },
}
"""Headers of the responses of many operations."""
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. Its `type` answers GET with an explanation.",
    "required": ["type", "title", "status", "detail", "instance", "request_id"],
    "properties": {
        "type": {
            "type": "string",
            "format": "uri-reference",
            "description": "What went wrong; branch on this, not on `detail`.",
        },
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri-reference"},
        "request_id": {"type": "string", "description": "Also in `X-Request-ID`; quote it to the operator."},
        "errors": {
            "type": "array",
            "description": "With 422 and some other problems: what is wrong with each field or parameter.",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {
                        "type": "string",
                        "description": "JSON pointer to a field of the body, or `/` and the name of a parameter or"
                        " header; empty for the body as a whole.",
                    },
                    "detail": {"type": "string"},
                },
            },
        },
    },
}


def build_document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of the app's routes: FastAPI's own, completed as this module says."""
    schema = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=TAGS,
        servers=[{"url": "/"}],
        contact={"name": "The Handover authors"},
        license_info={"name": "MIT", "identifier": "MIT"},
    )
    _add_components(schema)
    schema["security"] = [{_PASSWORD: []}, {_TOKEN: []}]  # either of them
    uses_no_store = {
        route.unique_id for route in app.routes if isinstance(route, APIRoute) and not required_classes(route.dependant)
    }
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", []):
                _drop_null(parameter["schema"])
            _complete_form(operation, schema["components"]["schemas"])
            uses_store = operation["operationId"] not in uses_no_store
            add_problems(path, method, operation, schema["components"]["schemas"], uses_store=uses_store)
            add_examples(operation)
            _add_common_headers(operation)
    _add_links(schema["paths"])
    return schema


def _add_components(schema: dict[str, Any]) -> None:
    """Add the schema of problems, common headers and the ways to sign in; remove FastAPI's own schemas of errors."""
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = _PROBLEM
    components["headers"] = _HEADERS
    components["securitySchemes"] = {
        _PASSWORD: {"type": "oauth2", "flows": {"password": {"tokenUrl": "auth/token", "scopes": {}}}},
        _TOKEN: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    }


def _add_common_headers(operation: dict[str, Any]) -> None:
    """Refer to the common headers of an operation's responses: the request id, and the mark of a repeated answer."""
    takes_key = any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", []))
    for status, response in operation["responses"].items():
        names = [_REPLAYED, _REQUEST_ID] if takes_key and status.startswith("2") else [_REQUEST_ID]
        common = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
        response["headers"] = {**response.get("headers", {}), **common}


def _complete_form(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Change the schema of an operation's form, if it has one: no field is null, and no required field is empty.

    An empty form field counts as a missing one (RFC 6749, section 3.2).
    """
    form = operation.get("requestBody", {}).get("content", {}).get(FORM)
    if form is None:
        return
    schema = schemas[form["schema"]["$ref"].rpartition("/")[2]]
    for field in schema["properties"].values():
        _drop_null(field)
    for required in schema["required"]:
        schema["properties"][required].setdefault("minLength", 1)


def _add_links(paths: dict[str, dict[str, Any]]) -> None:
    """Link each answer 201 to the operations that take the new id in their path (OpenAPI links)."""
    for path, operations in paths.items():
        created = operations.get("post", {}).get("responses", {}).get("201")
        if created is None:
            continue
        inside = re.compile(re.escape(path) + r"/\{(\w+)\}(/\w+)?")
        for there, others in paths.items():
            if found := inside.fullmatch(there):
                for other in others.values():
                    link = {"operationId": other["operationId"], "parameters": {found[1]: "$response.body#/id"}}
                    created.setdefault("links", {})[other["operationId"]] = link


def _drop_null(schema: dict[str, Any]) -> None:
    """Remove null from the schema of a parameter or form field, which can be left out but cannot be null."""
    match schema:
        case {"anyOf": [dict(kind), {"type": "null"}]}:
            del schema["anyOf"]
            schema.update(kind)
