"""The exception handler of the app: one table turns a kind of error into a status."""

from collections.abc import Mapping
from http import HTTPStatus
from math import ceil
from typing import NamedTuple

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from application.errors import Busy, NoSpace, OutcomeUnknown, RequestInProgress, TryAgain, Unavailable
from domain.errors import Conflict, DomainError, Forbidden, Invalid, NotFound, Stale, Unauthenticated
from domain.session import TokenReused, TooManyAttempts
from domain.version import Unversioned
from interfaces.http.conditional import has_malformed_if_match
from interfaces.http.responses.problems import PROBLEMS, REPEAT, RETRY_SOON, challenge, problem_response
from interfaces.http.routing.route import allowed_methods
from interfaces.http.validation.body import UnsupportedMediaType
from interfaces.http.validation.models import field_errors, json_pointer
from interfaces.logs import log_unavailable

log = structlog.get_logger()


class NotReady(Unavailable):
    """The server cannot serve requests now. Unlike that of other Unavailable errors, its message is sent to clients.

    `code` is the slug of its problem type. The error that has caused it, if there is one, is logged.
    """

    def __init__(self, detail: str, code: str = "store-unavailable") -> None:
        super().__init__(detail)
        self.code = code


class ErrorKind(NamedTuple):
    """The status of a kind of error, and headers of its response."""

    status: int
    headers: Mapping[str, str] = {}


KINDS: dict[type[Exception], ErrorKind] = {
    NotFound: ErrorKind(404),
    Unauthenticated: ErrorKind(401),
    Forbidden: ErrorKind(403),
    Conflict: ErrorKind(409),
    RequestInProgress: ErrorKind(409, RETRY_SOON),
    Stale: ErrorKind(412),
    Invalid: ErrorKind(422),
    TooManyAttempts: ErrorKind(429),
    TryAgain: ErrorKind(503, RETRY_SOON),
    Unavailable: ErrorKind(503, RETRY_SOON),
    OutcomeUnknown: ErrorKind(503, RETRY_SOON),
}
"""By class. An error that is not in the table is answered like its nearest base class that is."""

NO_SPACE = f"The store has no disk space left for changes. Reading still works. {REPEAT}"
MALFORMED_IF_MATCH = 'If-Match must be the ETag in double quotes, such as "1", or *'
_SLUG_BY_STATUS = {
    400: "bad-request",
    404: "not-found",
    405: "method-not-allowed",
    408: "request-timeout",
    413: "content-too-large",
    415: "unsupported-media-type",
    500: "internal-error",
}
"""The problem type of an HTTPException, which the framework raises."""


async def answer_error(request: Request, error: Exception) -> Response:
    """Return the problem response for an error that a route, or something below it, has raised.

    Log it, unless it comes from the framework (RequestValidationError, HTTPException): each 503 with log_unavailable(),
    other errors with log_refusal().
    """
    scope = request.scope
    if isinstance(error, RequestValidationError):
        return problem_response(scope, "invalid-request", errors=field_errors(error, _known_fields(request)))
    if isinstance(error, HTTPException):
        status = error.status_code
        headers = {"Allow": allowed_methods(request)} if status == 405 else error.headers  # noqa: PLR2004
        slug = _SLUG_BY_STATUS.get(status, "bad-request")
        detail = error.detail if isinstance(error, UnsupportedMediaType) else None  # others are the framework's
        return problem_response(scope, slug, status=status, detail=detail, headers=headers)
    status, headers = next(KINDS[kind] for kind in type(error).__mro__ if kind in KINDS)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        cause = error.__cause__ if isinstance(error, NotReady) else None
        log_unavailable(scope, _slug(error), cause if isinstance(cause, Unavailable) else error)
    else:
        log_refusal(error, client=request.client and request.client.host)
    if isinstance(error, Unauthenticated):
        headers = {"WWW-Authenticate": challenge(error.code)}
    if isinstance(error, TooManyAttempts):
        headers = {"Retry-After": str(ceil(error.retry_after.total_seconds()))}
    detail = _detail(error)
    if isinstance(error, Stale) and not isinstance(error, Unversioned) and has_malformed_if_match(request):
        detail = MALFORMED_IF_MATCH  # to read the object again would not help
    errors = None
    if isinstance(error, Invalid):
        errors = [{"pointer": json_pointer(error.field), "detail": error.detail}]
    return problem_response(scope, _slug(error), status=status, detail=detail, headers=headers, errors=errors)


def log_refusal(error: Exception, client: str | None) -> None:
    """Log what operators should know about a refused request, and nothing about errors of other kinds.

    Reused refresh tokens and throttling are warnings; other refusals are only information. `client` is the client's
    address. What the client has sent is not logged.
    """
    match error:
        case TokenReused():
            log.warning("refresh token reused", user_id=str(error.user_id), client=client)
        case TooManyAttempts():
            log.warning("throttled", what=error.action, client=client)
        case Unauthenticated() | Forbidden():
            log.info("refused", code=error.code, client=client)


def _known_fields(request: Request) -> list[str]:
    """Return the names of the fields of the body that the request's route takes; an empty list if it takes none."""
    body = getattr(request.scope["route"], "body_field", None)
    return [] if body is None else sorted(body.field_info.annotation.model_fields)


def _slug(error: Exception) -> str:
    """Return the slug of the error's problem type.

    It is the code of a DomainError or NotReady, `outcome-unknown` for OutcomeUnknown, `busy` for Busy and TryAgain, and
    `store-unavailable` for any other error. Rules about single fields, such as `invalid-price`, have no problem type of
    their own, because the routes check them first: it is `invalid-request`, as it would be there.
    """
    match error:
        case Invalid() if error.code not in PROBLEMS:
            return "invalid-request"
        case DomainError() | NotReady():
            return error.code
        case OutcomeUnknown():
            return "outcome-unknown"
        case Busy() | TryAgain():
            return "busy"
        case _:
            return "store-unavailable"


def _detail(error: Exception) -> str | None:
    """Return the detail of the problem; None for that of its type.

    It is the error's message if that is for API clients. An adapter's message says where the store is.
    """
    if isinstance(error, NoSpace):
        return NO_SPACE
    return str(error) if isinstance(error, DomainError | NotReady) else None
