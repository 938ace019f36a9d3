"""The outermost middleware: request id, common headers, HEAD, the Host check, metrics, and one log line per request."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from application.transact import collect_reruns
from interfaces.http.middleware.headers import common_headers, get_request_id, has_valid_host, without_origin
from interfaces.http.responses.problems import problem_response
from interfaces.http.routing.auth import CALLER
from interfaces.http.telemetry import describe_span
from interfaces.logs import log_request

Observe = Callable[[str, str | None, int, float, Sequence[str]], None]
"""Called after each request with its method, the route's path template or None, the status, the seconds it took, and
the reason of each rerun of a unit of work."""


@dataclass(frozen=True, slots=True)
class RequestLogMiddleware:
    """Gives each request an id and each response the common headers; logs one line when the response is complete.

    `observe` is called just before that line is logged. Both get the status 0 if no response began.

    A HEAD request is passed on as GET, and the body of its response is left out. A request without a valid Host header
    gets 400.
    """

    app: ASGIApp
    observe: Observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = get_request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status, method = 0, scope["method"]
        if method == "HEAD":
            scope = {**scope, "method": "GET"}

        async def send_adjusted(message: Message) -> None:
            """Send a message, with the common headers added, and note the status.

            The body is left out if the request was HEAD, and scheme and host are removed from the address of a redirect
            307.
            """
            nonlocal status
            if message["type"] == "http.response.start":
                status, headers = message["status"], message["headers"]
                if status == HTTPStatus.TEMPORARY_REDIRECT:
                    headers = without_origin(headers)
                message = {**message, "headers": [*headers, *common_headers(headers, request_id)]}
            elif method == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        # Never unbound: each request runs in a task, and so in a context, of its own.
        structlog.contextvars.bind_contextvars(request_id=request_id)
        more: dict[str, str | int] = {}
        if trace_id := describe_span(request_id, scope.get("query_string", b"")):
            more["trace_id"] = trace_id
            structlog.contextvars.bind_contextvars(trace_id=trace_id)
        reruns = collect_reruns()
        try:
            if has_valid_host(scope):
                await self.app(scope, receive, send_adjusted)
            else:
                detail = "HTTP/1.1 needs the header Host, once, with a host and perhaps a port."
                response = problem_response(scope, "bad-request", detail=detail, headers={"Connection": "close"})
                await response(scope, receive, send_adjusted)
        finally:
            route, seconds = getattr(scope.get("route"), "path_format", None), time.perf_counter() - began
            self.observe(method, route, status, seconds, reruns)
            if CALLER in scope:
                more["user_id"] = str(scope[CALLER])
            if reruns:
                more["reruns"] = len(reruns)
            log_request(request_id, method, route, status, round(seconds * 1000, 1), **more)
