"""Errors as answers: application/problem+json (RFC 9457), one table of kinds and one of the problems that there are."""

from collections.abc import Mapping
from http import HTTPStatus
from math import ceil
from typing import Any, NamedTuple
from urllib.parse import quote

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.types import Scope

from application.errors import Busy, OutcomeUnknown, RequestInProgress, TryAgain, Unavailable
from domain.errors import Conflict, DomainError, Forbidden, Invalid, NotFound, Stale, Unauthenticated
from domain.session import TokenReused, TooManyAttempts
from interfaces.http.routing.route import allowed_methods
from interfaces.http.validation.models import faults, pointer

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"


class NotReady(Unavailable):
    """What anybody may know of why we do not serve."""


class Kind(NamedTuple):
    status: int
    headers: Mapping[str, str] = {}


SOON = {"Retry-After": "1"}
KINDS: dict[type[Exception], Kind] = {
    NotFound: Kind(404),
    Unauthenticated: Kind(401, {"WWW-Authenticate": "Bearer"}),
    Forbidden: Kind(403),
    Conflict: Kind(409),
    RequestInProgress: Kind(409, SOON),
    Stale: Kind(412),
    Invalid: Kind(422),
    TooManyAttempts: Kind(429),
    TryAgain: Kind(503, SOON),
    Unavailable: Kind(503, SOON),
    OutcomeUnknown: Kind(503, SOON),
}
"""Looked up through an error's ancestors, so that a new error of a known kind needs no entry."""


class Problem(NamedTuple):
    status: int
    title: str
    explanation: str


PROBLEMS = {
    "bad-request": Problem(400, "Bad request", "The request or its body cannot be read."),
    "not-signed-in": Problem(
        401, "Not signed in", "Sign in with POST /auth/token and send the token as Authorization: Bearer."
    ),
    "invalid-token": Problem(
        401, "Invalid access token", "The access token is malformed, forged or has expired. Sign in again."
    ),
    "wrong-credentials": Problem(
        401,
        "Wrong credentials",
        "No active account has this name and password. Which of them is wrong is not told.",
    ),
    "account-inactive": Problem(
        401, "Account inactive", "The account behind the access token was deactivated or deleted after it signed in."
    ),
    "invalid-refresh-token": Problem(
        401, "Invalid refresh token", "The refresh token is unknown, spent or expired, or its session is over. Sign in."
    ),
    "not-your-account": Problem(403, "Not your account", "Only its own user can change or delete an account."),
    "wrong-password": Problem(403, "Wrong password", "The current password is not right."),
    "item-not-owned": Problem(403, "Not your item", "Only the owner of an item can change it or hand it over."),
    "not-found": Problem(404, "Not found", "There is nothing at this address."),
    "item-not-found": Problem(404, "Item not found", "There is no item with this id, or no longer."),
    "task-not-found": Problem(404, "Task not found", "There is no task with this id on your list."),
    "user-not-found": Problem(404, "User not found", "There is no user with this id, or no longer."),
    "method-not-allowed": Problem(405, "Method not allowed", "The header Allow names the methods of this address."),
    "request-timeout": Problem(408, "Request timeout", "The request took too long to arrive."),
    "email-taken": Problem(409, "E-mail address taken", "There is an account with this e-mail address already."),
    "username-taken": Problem(409, "Username taken", "There is an account with this username already."),
    "user-owns-items": Problem(409, "User owns items", "Hand the items over or delete them first."),
    "recipient-inactive": Problem(409, "Recipient inactive", "The recipient's account is not active."),
    "request-in-progress": Problem(
        409, "Request in progress", "The first request with this Idempotency-Key has not ended yet. Repeat it later."
    ),
    "version-mismatch": Problem(
        412, "Version mismatch", "If-Match names no version that is the current one. Read it again, then decide."
    ),
    "content-too-large": Problem(413, "Content too large", "A request body has at most 64 KiB."),
    "unsupported-media-type": Problem(
        415,
        "Unsupported media type",
        "Send application/json; to POST /auth/token application/x-www-form-urlencoded.",
    ),
    "headers-too-large": Problem(
        431, "Headers too large", "The address and the headers of a request have at most 512 KiB together."
    ),
    "invalid-request": Problem(422, "Invalid request", "The member `errors` names each field that is wrong, and why."),
    "invalid-text": Problem(422, "Invalid text", "A text is too long, blank, or has characters that cannot be kept."),
    "invalid-price": Problem(422, "Invalid price", "A price is a number with at most two decimals, within bounds."),
    "invalid-email": Problem(422, "Invalid e-mail address", "This is not an e-mail address."),
    "invalid-username": Problem(
        422, "Invalid username", "A username is 3 to 50 of ASCII letters, digits, '_', '.' and '-'."
    ),
    "invalid-password": Problem(422, "Invalid password", "A password has 8 to 128 characters."),
    "common-password": Problem(
        422, "Common password", "Many others have this password, or nearly, so it is tried first. Choose another."
    ),
    "recipient-not-found": Problem(422, "Recipient not found", "There is no user with the id of the recipient."),
    "recipient-is-owner": Problem(422, "Recipient is the owner", "The recipient owns the item already."),
    "idempotency-key-reused": Problem(
        422, "Idempotency key reused", "This Idempotency-Key was sent before with another body, path or If-Match."
    ),
    "too-many-attempts": Problem(
        429, "Too many attempts", "Too many log-ins for this account, or from this address, have failed of late."
    ),
    "internal-error": Problem(500, "Internal error", "The fault is ours. It is logged under the request id."),
    "store-unavailable": Problem(
        503,
        "Store unavailable",
        "The store cannot be used now. A change may have been made: repeat it with its key.",
    ),
    "busy": Problem(
        503, "Busy", "There was too little time to finish. A change may have been made: repeat it with its key."
    ),
    "outcome-unknown": Problem(
        503,
        "Outcome unknown",
        "The store was lost at the moment of the commit, which may have taken effect: repeat the request with its key.",
    ),
}
_BY_STATUS = {
    400: "bad-request",
    404: "not-found",
    405: "method-not-allowed",
    408: "request-timeout",
    413: "content-too-large",
    415: "unsupported-media-type",
    500: "internal-error",
}


def problem(
    scope: Scope,
    slug: str,
    *,
    status: int | None = None,
    detail: str | None = None,
    headers: Mapping[str, str] | None = None,
    errors: list[dict[str, str]] | None = None,
) -> Response:
    known = PROBLEMS.get(slug)
    status = status or (known.status if known else 500)
    content: dict[str, Any] = {
        "type": f"/problems/{slug}",
        "title": known.title if known else HTTPStatus(status).phrase,
        "status": status,
        "detail": detail or (known.explanation if known else HTTPStatus(status).phrase),
        "instance": quote(scope["path"], safe="/:@!$&'()*+,;=~", errors="replace"),
        "request_id": scope["state"]["request_id"],
    }
    if errors is not None:
        content["errors"] = errors
    return Response(to_json(content), status, headers, MEDIA_TYPE)


async def refuse(request: Request, error: Exception) -> Response:
    """The answer to whatever a route or what lies below it raised."""
    scope = request.scope
    if isinstance(error, RequestValidationError):
        return problem(scope, "invalid-request", errors=faults(error))
    if isinstance(error, HTTPException):
        headers = {"Allow": allowed_methods(request)} if error.status_code == 405 else error.headers  # noqa: PLR2004
        return problem(
            scope, _BY_STATUS.get(error.status_code, "bad-request"), status=error.status_code, headers=headers
        )
    status, headers = next(KINDS[kind] for kind in type(error).__mro__ if kind in KINDS)
    note(error, client=request.client and request.client.host)
    if isinstance(error, TooManyAttempts):
        headers = {"Retry-After": str(ceil(error.retry_after.total_seconds()))}
    errors = None
    if isinstance(error, Invalid):
        errors = [{"pointer": pointer(error.field), "detail": error.detail}]
    return problem(scope, _slug(error), status=status, detail=_detail(error), headers=headers, errors=errors)


def note(error: Exception, client: str | None) -> None:
    """What somebody who looks after a server wants to know of refusals; never what was sent."""
    match error:
        case TokenReused():
            log.warning("refresh token reused", user_id=str(error.user_id), client=client)
        case TooManyAttempts():
            log.warning("throttled", client=client)
        case Unauthenticated() | Forbidden():
            log.info("refused", code=error.code, client=client)
        case Unavailable() | OutcomeUnknown():
            log.warning("unavailable", reason=str(error))


def _slug(error: Exception) -> str:
    match error:
        case DomainError():
            return error.code
        case OutcomeUnknown():
            return "outcome-unknown"
        case Busy() | TryAgain():
            return "busy"
        case _:
            return "store-unavailable"


def _detail(error: Exception) -> str | None:
    """Its own words, where they were written for whoever asks: an adapter's tell where the store is."""
    return str(error) if isinstance(error, DomainError | NotReady) else None
