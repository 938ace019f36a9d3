"""Error responses: `application/problem+json` (RFC 9457), and the table of all problem types."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote

from fastapi import Response
from pydantic_core import to_json
from starlette.types import Scope

MEDIA_TYPE = "application/problem+json"
RETRY_SOON = {"Retry-After": "1"}
REPEAT = (
    "Repeat the request after Retry-After seconds, a POST with the same Idempotency-Key. Details are at /docs, under"
    " Retrying."
)
"""What to do after 503, if the request may have changed something."""


SAFE_METHODS = {"GET", "HEAD"}


class Problem(NamedTuple):
    """A problem type: its status, its title, and an explanation for the people who use the API.

    `explanation_of_reads` is that for GET and HEAD, if it differs.
    """

    status: int
    title: str
    explanation: str
    explanation_of_reads: str = ""

    def explain(self, method: str) -> str:
        """Return the explanation for a request with this method, such as `GET`."""
        return (method in SAFE_METHODS and self.explanation_of_reads) or self.explanation


PROBLEMS = {
    "bad-request": Problem(400, "Bad request", "The request or its body cannot be read."),
    "not-signed-in": Problem(
        401, "Not signed in", "Sign in with POST /auth/token and send the token as Authorization: Bearer."
    ),
    "invalid-token": Problem(
        401,
        "Invalid access token",
        "The access token is malformed, forged or has expired. Get a new one with POST /auth/refresh, or sign in"
        " again.",
    ),
    "wrong-credentials": Problem(
        401,
        "Wrong credentials",
        "No active account has this name and password. The response does not say which of them is wrong.",
    ),
    "account-inactive": Problem(
        401, "Account inactive", "The account behind the access token was deactivated or deleted after it signed in."
    ),
    "invalid-refresh-token": Problem(
        401,
        "Invalid refresh token",
        "The refresh token is unknown, used or expired, or its session has ended. Sign in again.",
    ),
    "not-your-account": Problem(403, "Not your account", "Only its own user can change or delete an account."),
    "wrong-password": Problem(403, "Wrong password", "The current password is not right."),
    "item-not-owned": Problem(403, "Not your item", "Only the owner of an item can change it or hand it over."),
    "not-found": Problem(404, "Not found", "There is nothing at this address."),
    "item-not-found": Problem(404, "Item not found", "There is no item with this id."),
    "task-not-found": Problem(404, "Task not found", "There is no task with this id on your list."),
    "user-not-found": Problem(404, "User not found", "There is no user with this id."),
    "method-not-allowed": Problem(405, "Method not allowed", "The header Allow names the methods of this address."),
    "request-timeout": Problem(
        408, "Request timeout", "The request took more than 10 seconds to arrive. Nothing was done: repeat it."
    ),
    "email-taken": Problem(409, "E-mail address taken", "There is an account with this e-mail address already."),
    "username-taken": Problem(409, "Username taken", "There is an account with this username already."),
    "user-owns-items": Problem(409, "User owns items", "Hand the items over or delete them first."),
    "recipient-inactive": Problem(409, "Recipient inactive", "The recipient's account is not active."),
    "request-in-progress": Problem(
        409, "Request in progress", "The first request with this Idempotency-Key has not ended yet. Repeat it later."
    ),
    "version-mismatch": Problem(
        412, "Version mismatch", "The current version is none of those in If-Match. Read the object again, then decide."
    ),
    "content-too-large": Problem(413, "Content too large", "A request body has at most 64 KiB."),
    "unsupported-media-type": Problem(
        415,
        "Unsupported media type",
        "Send application/json, to POST /auth/token application/x-www-form-urlencoded, and do not compress it.",
    ),
    "headers-too-large": Problem(
        431, "Headers too large", "The address and the headers of a request have at most 512 KiB together."
    ),
    "invalid-request": Problem(422, "Invalid request", "The member `errors` says what is wrong, and where."),
    "common-password": Problem(
        422,
        "Common password",
        "This password, or one much like it, is among those that attackers try first. Choose another.",
    ),
    "recipient-not-found": Problem(422, "Recipient not found", "There is no user with the id of the recipient."),
    "recipient-is-owner": Problem(422, "Recipient is the owner", "The recipient owns the item already."),
    "idempotency-key-reused": Problem(
        422, "Idempotency key reused", "A request with this key succeeded before, with another body, path or If-Match."
    ),
    "too-many-attempts": Problem(
        429,
        "Too many attempts",
        "Too many sign-ins to this account, or from this address, have failed recently, or too many accounts were"
        " created from this address. Wait for `Retry-After` seconds, up to 15 minutes; until then the right password is"
        " refused, too. Further attempts do not lengthen the wait.",
    ),
    "internal-error": Problem(
        500, "Internal error", "This is an error of the server. It is logged under the request id."
    ),
    "store-unavailable": Problem(
        503,
        "Store unavailable",
        f"The store cannot be used now. A change may have been made. {REPEAT}",
        "The store cannot be used now. Repeat the request after the seconds in Retry-After.",
    ),
    "busy": Problem(
        503,
        "Busy",
        f"The server could not finish in time. A change may have been made. {REPEAT}",
        "The server could not finish in time. Repeat the request after the seconds in Retry-After.",
    ),
    "outcome-unknown": Problem(
        503,
        "Outcome unknown",
        f"The connection to the store was lost during the commit, which may have taken effect. {REPEAT}",
    ),
}
"""All problem types by slug. The `type` of a problem is the path `/problems/{slug}`, which explains it."""


TOKEN_REFUSED = {"invalid-token", "account-inactive"}
"""The problems 401 of requests whose access token was sent, and does not work."""


def challenge(slug: str) -> str:
    """Return the header WWW-Authenticate of this problem, whose status is 401.

    It has the error `invalid_token` only if an access token was sent (RFC 6750, section 3.1).
    """
    return 'Bearer error="invalid_token"' if slug in TOKEN_REFUSED else "Bearer"


def explanation(slug: str) -> dict[str, Any]:
    """Return what `/problems/{slug}` answers about this problem type."""
    problem = PROBLEMS[slug]
    return {
        "type": f"/problems/{slug}",
        "title": problem.title,
        "status": problem.status,
        "explanation": problem.explanation,
    }


def explanations() -> list[dict[str, Any]]:
    """Return the explanations of all problem types, ordered by status, then by slug."""
    return [explanation(slug) for slug in sorted(PROBLEMS, key=lambda slug: (PROBLEMS[slug].status, slug))]


def problem_response(
    scope: Scope,
    slug: str,
    *,
    status: int | None = None,
    detail: str | None = None,
    headers: Mapping[str, str] | None = None,
    errors: list[dict[str, str]] | None = None,
) -> Response:
    """Return the problem of this type as a response to the request.

    Status and detail are those of PROBLEMS for the request's method unless given. For an unknown slug the status is 500
    unless given, and the title is that of the status. `errors` are the fields that are wrong, as field_errors() returns
    them.
    """
    known = PROBLEMS.get(slug)
    status = status or (known.status if known else 500)
    content: dict[str, Any] = {
        "type": f"/problems/{slug}",
        "title": known.title if known else HTTPStatus(status).phrase,
        "status": status,
        "detail": detail or (known.explain(scope.get("method", "")) if known else HTTPStatus(status).phrase),
        "instance": quote(scope["path"], safe="/:@!$&'()*+,;=~", errors="replace"),
        "request_id": scope["state"]["request_id"],
    }
    if errors is not None:
        content["errors"] = errors
    return Response(to_json(content), status, headers, MEDIA_TYPE)
