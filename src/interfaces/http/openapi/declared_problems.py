"""The problems of each operation in the OpenAPI document, with an example of each as the server sends it.

tests/http/documentation/test_examples.py compares the examples with responses.
"""

import re
from collections.abc import Collection
from http import HTTPStatus
from typing import Any

from interfaces.http.openapi.annotations import PROBLEMS_KEY
from interfaces.http.openapi.examples import PARAMETERS
from interfaces.http.responses.problems import MEDIA_TYPE, PROBLEMS, challenge
from interfaces.http.validation.body import FORM, wrong_media_type
from interfaces.http.validation.models import unknown_fields

DETAILS = {
    "bad-request": "HTTP/1.1 needs the header Host, once, with a host and perhaps a port.",
    "not-signed-in": "send an access token in the header Authorization: Bearer",
    "invalid-token": "the access token is not valid or has expired; refresh it with POST /auth/refresh",
    "wrong-credentials": "no active account has this name and password",
    "account-inactive": "the account that signed in is no longer active",
    "invalid-refresh-token": "this refresh token does not work; sign in again",
    "not-your-account": "only the account's own user can do this",
    "wrong-password": "the current password is not right",
    "item-not-owned": "only the item's owner can do this",
    "item-not-found": "there is no such item",
    "task-not-found": "there is no such task",
    "user-not-found": "there is no such user",
    "email-taken": "an account with this e-mail address exists",
    "username-taken": "an account with this username exists",
    "user-owns-items": "an account that owns items cannot be deleted; transfer or delete them first",
    "recipient-inactive": "the recipient's account is not active",
    "request-in-progress": "the first request with this key has not ended yet",
    "version-mismatch": "it has changed since; read it again",
    "common-password": "one of those that are tried first; choose another",
    "recipient-not-found": "the recipient does not exist",
    "recipient-is-owner": "the recipient owns the item already",
    "idempotency-key-reused": "this key was sent before with another request",
    "too-many-attempts": "too many failed log-ins to this account; wait before the next",
}
"""The `detail` of problems by slug. That of other problems is their explanation."""

NO_VERSION = "an account has no version to compare with; leave the expected one out"
DETAILS_OF_OPERATIONS = {
    ("sign_in", "bad-request"): PROBLEMS["bad-request"].explanation,
    ("ready", "store-unavailable"): (
        "the store cannot be used: look whether it runs; the log says why, in the line 'unavailable' with"
        " this request_id. The server becomes ready by itself once that is mended; it needs no restart."
    ),
    ("ready", "busy"): (
        "the store is busy, or all connections to it are in use: look at its load, then at"
        " HANDOVER_POOL_SIZE. The server becomes ready by itself once that is mended; it needs no restart."
    ),
    ("read_metrics", "not-signed-in"): "metrics need the token of HANDOVER_METRICS_TOKEN",
    ("read_metrics", "invalid-token"): "this is not the token of HANDOVER_METRICS_TOKEN",
    ("change_account", "version-mismatch"): NO_VERSION,
    ("delete_account", "version-mismatch"): NO_VERSION,
    ("create_user", "too-many-attempts"): "too many sign-ups from this address; wait before the next",
}
"""The `detail` of problems that have another one for this operation than for the others."""

POINTERS = {
    "common-password": "/password",
    "recipient-not-found": "/to_user_id",
    "recipient-is-owner": "/to_user_id",
    "idempotency-key-reused": "/Idempotency-Key",
}
"""The field or header that is wrong, by slug. Its error has the same detail as the problem."""


def add_problems(
    path: str, method: str, operation: dict[str, Any], schemas: dict[str, Any], *, uses_store: bool
) -> None:
    """Document the problems of an operation: those that its route declares and those that it implies.

    They replace what the route declared with problem_responses(), and FastAPI's own response 422. `schemas` are the
    components of the document.
    """
    responses = operation["responses"]
    slugs = _implied_problems(method, operation, uses_store)
    for response in responses.values():
        slugs += response.pop(PROBLEMS_KEY, [])
    responses.pop("422", None)  # FastAPI writes one for whatever has a parameter
    by_status: dict[int, list[str]] = {}
    for slug in slugs:
        by_status.setdefault(PROBLEMS[slug].status, []).append(slug)
    for status, these in sorted(by_status.items()):
        examples = {slug: _example(slug, path, method, operation, schemas) for slug in these}
        responses[str(status)] = _problem_response(examples)


def _implied_problems(method: str, operation: dict[str, Any], uses_store: bool) -> list[str]:
    """Return the slugs of the problems that follow from an operation's sign-in, input and use of the store."""
    parameters = {parameter["name"]: parameter["schema"] for parameter in operation.get("parameters", [])}
    slugs = []
    if "security" not in operation:
        slugs += ["not-signed-in", "invalid-token"]
    if "requestBody" in operation:
        slugs += ["request-timeout", "content-too-large", "unsupported-media-type"]
    if FORM in operation.get("requestBody", {}).get("content", {}):
        slugs += ["bad-request"]  # of more fields than anybody has
    if "requestBody" in operation or any(map(_restricts, parameters.values())):
        slugs += ["invalid-request"]
    if "If-Match" in parameters:
        slugs += ["version-mismatch"]
    if "Idempotency-Key" in parameters:
        slugs += ["idempotency-key-reused", "request-in-progress"]
    if uses_store:
        slugs += ["store-unavailable", "busy"]
        if method != "get":
            slugs += ["outcome-unknown"]
    return slugs


def _restricts(schema: dict[str, Any]) -> bool:
    """Return whether the schema of a parameter is more than that of a plain string, so that some texts may be invalid.

    Only `title` and `examples` do not count.
    """
    return {name: value for name, value in schema.items() if name not in {"title", "examples"}} != {"type": "string"}


def _example(slug: str, path: str, method: str, operation: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Return an example of the body of this problem, as this operation answers it."""
    kind = PROBLEMS[slug]
    default = DETAILS.get(slug, kind.explain(method.upper()))
    detail = DETAILS_OF_OPERATIONS.get((operation["operationId"], slug), default)
    if slug == "unsupported-media-type":
        detail = wrong_media_type(next(iter(operation["requestBody"]["content"])))
    problem: dict[str, Any] = {
        "type": f"/problems/{slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": re.sub(r"\{(\w+)\}", lambda parameter: str(PARAMETERS[parameter[1]]), path),
        "request_id": "0f8fad5bd9cb469fa165708867728950",
    }
    if slug in POINTERS:
        problem["errors"] = [{"pointer": POINTERS[slug], "detail": detail}]
    if slug == "invalid-request":
        problem["errors"] = _errors_of_a_request(operation, schemas)
    return problem


def _errors_of_a_request(operation: dict[str, Any], schemas: dict[str, Any]) -> list[dict[str, str]]:
    """Return the `errors` of an invalid request.

    If the operation takes a body, that has nothing but an unknown field. Otherwise the id in the path is not a UUID, or
    the limit of a list is too high.
    """
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = schemas[content["schema"]["$ref"].rpartition("/")[2]]
        missing = [{"pointer": f"/{name}", "detail": "is required"} for name in schema.get("required", [])]
        return [*missing, {"pointer": "", "detail": unknown_fields(1, sorted(schema["properties"]))}]
    for parameter in operation["parameters"]:
        name, schema = parameter["name"], parameter["schema"]
        if parameter["in"] == "path" and schema.get("format") == "uuid":
            return [{"pointer": f"/{name}", "detail": "must be a UUID"}]
        if name == "limit":
            return [{"pointer": "/limit", "detail": f"at most {schema['maximum']}"}]
    raise LookupError(operation["operationId"])  # say here what may be invalid


_RETRY = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
_HEADERS: dict[str, dict[str, Any]] = dict.fromkeys(["request-in-progress", "too-many-attempts", "busy"], _RETRY)
"""Headers of problem responses, by slug; those of 401 are made by _challenge()."""


def _challenge(slugs: Collection[str]) -> dict[str, Any]:
    """Return the documentation of the header WWW-Authenticate of a response 401 that is one of these problems."""
    values = sorted({challenge(slug) for slug in slugs})
    return {"WWW-Authenticate": {"description": "How to sign in.", "schema": {"type": "string", "enum": values}}}


def _problem_response(examples: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the documentation of a response that is one of these problems, from an example of each by slug."""
    shown = {slug: {"summary": PROBLEMS[slug].title, "value": example} for slug, example in examples.items()}
    response: dict[str, Any] = {
        "description": f"Problem {', '.join(f'`{slug}`' for slug in examples)}",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": shown}},
    }
    if any(PROBLEMS[slug].status == HTTPStatus.UNAUTHORIZED for slug in examples):
        response["headers"] = _challenge(examples)
    for slug in examples:
        if slug in _HEADERS:
            response["headers"] = _HEADERS[slug]
    return response
