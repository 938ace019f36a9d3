"""Cross-origin requests of browsers (CORS)."""

from collections.abc import Collection

from fastapi import Response
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
REQUEST_HEADERS = ["Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "X-Request-ID"]
RESPONSE_HEADERS = [
    "ETag",
    "Idempotency-Replayed",
    "Link",
    "Location",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-ID",
]


class CorsMiddleware(CORSMiddleware):
    """Starlette's middleware for the `origins`, without credentials: tokens are sent in a header, not in cookies.

    A preflight request is never refused.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        super().__init__(app, origins, METHODS, REQUEST_HEADERS, expose_headers=RESPONSE_HEADERS)

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return 204 with the headers that say what is allowed, even if the requested origin or method is not.

        No error is needed: the browser itself blocks what is not allowed.
        """
        allowed = super().preflight_response(request_headers).headers
        return Response(status_code=204, headers={k: v for k, v in allowed.items() if not k.startswith("content-")})
