"""Middleware that turns unexpected exceptions into a logged 500."""

from dataclasses import dataclass

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from interfaces.http.responses.problems import problem_response

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class UnhandledErrorMiddleware:
    """Logs an unexpected exception and answers with the problem `internal-error`.

    If a part of the response has been sent already, the exception is raised again, so that the server closes the
    connection.
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        has_started = False

        async def send_and_notice(message: Message) -> None:
            """Send a message, and note that the response has begun."""
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_notice)
        except Exception:
            log.exception("unexpected error")
            if has_started:
                raise
            await problem_response(scope, "internal-error")(scope, receive, send)
