"""Middleware that limits the time until a response begins."""

import asyncio
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from interfaces.http.responses.problems import RETRY_SOON, problem_response

BODY_SECONDS = 10.0
"""How long a client may take to send its request body. This time does not count towards the deadline."""


@dataclass(frozen=True, slots=True)
class DeadlineMiddleware:
    """Cancels a request whose response has not begun after `seconds`, and answers with the problem `busy` (503).

    Waiting for the client does not count: neither for the request body, for which the limit is BODY_SECONDS (problem
    `request-timeout`, 408), nor for sending the response.
    """

    app: ASGIApp
    seconds: float

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        now = asyncio.get_running_loop().time
        body_deadline = now() + BODY_SECONDS
        is_receiving = has_started = False

        async def receive_off_the_clock() -> Message:
            """Receive a message; until then the limit is BODY_SECONDS since the request began, and not the deadline."""
            nonlocal is_receiving
            deadline = limit.when()
            if has_started or deadline is None:
                return await receive()
            remaining, is_receiving = deadline - now(), True
            limit.reschedule(body_deadline)
            message = await receive()
            is_receiving = False
            if not (has_started or limit.expired()):
                limit.reschedule(now() + remaining)
            return message

        async def send_without_limit(message: Message) -> None:
            """Send a message, and end the deadline with the first one."""
            nonlocal has_started
            if not (has_started or limit.expired()):
                limit.reschedule(None)
            has_started = True
            await send(message)

        try:
            async with asyncio.timeout(self.seconds) as limit:
                await self.app(scope, receive_off_the_clock, send_without_limit)
        except TimeoutError:
            if has_started or not limit.expired():
                raise
            if is_receiving:
                response = problem_response(scope, "request-timeout", headers={"Connection": "close"})
            else:
                response = problem_response(scope, "busy", headers=RETRY_SOON)
            await response(scope, receive, send)
