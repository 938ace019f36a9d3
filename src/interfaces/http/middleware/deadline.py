"""Middleware that limits the time until a response begins."""

import asyncio
import traceback
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from interfaces.http.responses.problems import RETRY_SOON, problem_response
from interfaces.logs import log_unavailable

BODY_SECONDS = 10.0
"""How long a client may take to send its request body. This time does not count towards the deadline."""
WAITS = {
    "infrastructure.capacity_limiter": "a connection to the store (see HANDOVER_POOL_SIZE)",
    "infrastructure.lock_queue": "another request of this process that changes the same",
    "application.locks": "another request of this process that changes the same",
    "infrastructure.security.passwords": "the password hasher",
    "infrastructure.persistence": "the store, for a statement or a lock",
    "application.transact": "the store, for a commit or the end of conflicts",
}
"""What a request waits for, by the beginning of the name of the module that waits."""


@dataclass(frozen=True, slots=True)
class DeadlineMiddleware:
    """Cancels a request whose response has not begun after `seconds`, and answers with the problem `busy` (503).

    Waiting for the client does not count: neither for the request body, for which the limit is BODY_SECONDS (problem
    `request-timeout`, 408), nor for sending the response. The log says what the request has waited for.
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
        except TimeoutError as error:
            if has_started or not limit.expired():
                raise
            if is_receiving:
                response = problem_response(scope, "request-timeout", headers={"Connection": "close"})
            else:
                reason = f"not finished within {self.seconds:g} seconds, but waiting for {_waited_for(error)}"
                log_unavailable(scope, "busy", error, reason)
                response = problem_response(scope, "busy", headers=RETRY_SOON)
            await response(scope, receive, send)


def _waited_for(error: TimeoutError) -> str:
    """Return what the task was waiting for when its time limit cancelled it, as WAITS has it.

    The cancellation, which is the cause of the error, was raised where the task waited. For modules that are not in
    WAITS, such as those of other adapters, return the name of the module.
    """
    frames = traceback.walk_tb(error.__cause__.__traceback__ if error.__cause__ else None)
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in frames]
    for module in reversed(modules):
        for name, what in WAITS.items():
            if module == name or module.startswith(f"{name}."):
                return what
    return modules[-1] if modules else "nothing that is known"
