"""Recording all requests to an ASGI application and its responses."""

import json
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from interfaces.certification.parity.document import operations


@dataclass(frozen=True)
class Exchange:
    """A request and its response.

    `operation` is the operation id, None if no route has matched path and method. `request` is method, path and query,
    such as `GET /items?limit=2`.
    """

    operation: str | None
    request: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def is_declared(self) -> bool:
        """Whether the OpenAPI document declares the status for the operation, and the problem if it is one.

        An exchange without an operation of the document counts as declared.
        """
        operation = operations().get(self.operation or "")
        if operation is None:
            return True
        response = operation["responses"].get(str(self.status))
        problems = (response or {}).get("content", {}).get("application/problem+json", {}).get("examples", {})
        return response is not None and (self.problem is None or self.problem in problems)

    @property
    def problem(self) -> str | None:
        """The last part of the type of the answered problem, such as `not-found`; None if it is not a problem."""
        is_problem = self.body and ("content-type", "application/problem+json") in self.headers
        return json.loads(self.body)["type"].rpartition("/")[2] if is_problem else None


@dataclass
class Recorder:
    """ASGI middleware that appends each exchange to `exchanges`, when the response has ended.

    Of metrics that were read, neither headers nor body are recorded, since they differ in each run.
    """

    app: ASGIApp
    exchanges: list[Exchange] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message = {}
        body = b""

        async def record_and_send(message: Message) -> None:
            """Remember the message's status, headers and body, and send it."""
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
            body += message.get("body", b"")
            await send(message)

        await self.app(scope, receive, record_and_send)
        headers = tuple((name.decode(), value.decode()) for name, value in start["headers"])
        operation = scope["route"].name if "route" in scope and start["status"] != 405 else None
        request = f"{scope['method']} {scope['path']}?{scope['query_string'].decode()}"
        if operation == "read_metrics" and start["status"] == 200:
            headers, body = (), b"not compared, since they contain durations"
        self.exchanges.append(Exchange(operation, request, start["status"], headers, body))
