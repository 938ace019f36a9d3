"""What every request gets, whatever becomes of it: an id, a deadline, an answer, common headers, a line in the log."""

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from http import HTTPStatus

import structlog
from fastapi import Response
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from interfaces.http.responses.problems import SOON, problem

log = structlog.get_logger()

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_VALID_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
"""The characters of a host and a port (RFC 3986, section 3.2)."""
_HOST = re.compile(rb"^https?://[^/]*")
BODY_PATIENCE = 10.0
"""Seconds that a client has to send its body; they do not count as ours."""

Observe = Callable[[str, str | None, int, float], None]
"""Is told the method, the route's template if there is one, the status and the seconds of each request."""
CORS_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
CORS_SENT = ["Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "X-Request-ID"]
CORS_SHOWN = ["ETag", "Idempotency-Replayed", "Link", "Location", "Retry-After", "WWW-Authenticate", "X-Request-ID"]


@dataclass(frozen=True, slots=True)
class Envelope:
    """The outermost. A HEAD goes in as the GET that it stands for, and comes out without its body."""

    app: ASGIApp
    observe: Observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status, method = 0, scope["method"]
        if method == "HEAD":
            scope = {**scope, "method": "GET"}

        async def send_enveloped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"] if status != HTTPStatus.TEMPORARY_REDIRECT else _here(message["headers"])
                message = {**message, "headers": [*headers, *common_headers(headers, request_id)]}
            elif method == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        # Until the end of the task, since each request has one of its own.
        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            if _has_valid_host(scope):
                await self.app(scope, receive, send_enveloped)
            else:
                detail = "HTTP/1.1 needs the header Host, once, with a host and perhaps a port."
                refusal = problem(scope, "bad-request", detail=detail, headers={"Connection": "close"})
                await refusal(scope, receive, send_enveloped)
        finally:
            route, seconds = getattr(scope.get("route"), "path_format", None), time.perf_counter() - began
            self.observe(method, route, status, seconds)
            log.info("request", method=method, route=route, status=status, ms=round(seconds * 1000, 1))


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_ID.fullmatch(value):
            return str(value, "ascii")
    return secrets.token_hex(16)


def _has_valid_host(scope: Scope) -> bool:
    """Whether the request names its host as RFC 9112, section 3.2, demands; HTTP/1.0 need not."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) == 1:
        return _VALID_HOST.fullmatch(hosts[0]) is not None
    return not hosts and scope["http_version"] == "1.0"


def _here(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """We redirect to nowhere else, whatever host and scheme a request makes the framework believe in."""
    return [(name, _HOST.sub(b"", value) if name == b"location" else value) for name, value in headers]


def common_headers(sent: Iterable[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    """Return the headers that every answer has besides those that are sent already."""
    present = {name.lower() for name, _ in sent}
    headers = [(b"x-request-id", request_id.encode()), (b"x-content-type-options", b"nosniff")]
    if b"cache-control" not in present:
        headers.append((b"cache-control", b"private, no-cache" if b"etag" in present else b"no-store"))
    return headers


class Cors(CORSMiddleware):
    """CORS without credentials, since callers send a token in a header, which browsers never add by themselves."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        super().__init__(app, origins, CORS_METHODS, CORS_SENT, expose_headers=CORS_SHOWN)

    def preflight_response(self, request_headers: Headers) -> Response:
        """What is allowed; it is the browser that refuses what is not, so no answer is an error."""
        allowed = super().preflight_response(request_headers).headers
        return Response(status_code=204, headers={k: v for k, v in allowed.items() if not k.startswith("content-")})


@dataclass(frozen=True, slots=True)
class Faults:
    """Answers what nobody has expected, unless half an answer is out: then the server cuts the connection."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answering = False

        async def send_noted(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        try:
            await self.app(scope, receive, send_noted)
        except Exception:
            log.exception("unexpected error")
            if answering:
                raise
            await problem(scope, "internal-error")(scope, receive, send)


@dataclass(frozen=True, slots=True)
class Deadline:
    """Bounds the time until an answer begins. Waiting for the client to send or to take a body is not in it."""

    app: ASGIApp
    seconds: float

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        now = asyncio.get_running_loop().time
        body_due = now() + BODY_PATIENCE
        receiving = answering = False

        async def receive_patiently() -> Message:
            nonlocal receiving
            due = limit.when()
            if answering or due is None:
                return await receive()
            left, receiving = due - now(), True
            limit.reschedule(body_due)
            message = await receive()
            receiving = False
            if not (answering or limit.expired()):
                limit.reschedule(now() + left)
            return message

        async def send_released(message: Message) -> None:
            nonlocal answering
            if not (answering or limit.expired()):
                limit.reschedule(None)
            answering = True
            await send(message)

        try:
            async with asyncio.timeout(self.seconds) as limit:
                await self.app(scope, receive_patiently, send_released)
        except TimeoutError:
            if answering or not limit.expired():
                raise
            late = problem(scope, "request-timeout", headers={"Connection": "close"}) if receiving else None
            await (late or problem(scope, "busy", headers=SOON))(scope, receive, send)
