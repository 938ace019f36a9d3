"""Clients of the server's protocol without a network between."""

import asyncio
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from interfaces.cli.serving.protocol import BoundedProtocol


class Client(asyncio.Transport):
    """The client's end of a connection to the server's protocol; `app` notes the requests that arrive there.

    What is sent here arrives in exactly these pieces, and what the server writes is read at once unless `unread` says
    how many bytes of it are not. With real sockets both would be left to chance.
    """

    def __init__(self, state: ServerState | None = None) -> None:
        """`state` is the same for all connections to one server."""
        super().__init__()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.when_answered: Callable[[], object] = lambda: None
        self.unread = 0
        self.requests: list[tuple[str, str, bytes]] = []
        self.headers: list[list[tuple[bytes, bytes]]] = []
        self.answered = b""
        self.closing = self.aborted = False
        config = uvicorn.Config(self.app, interface="asgi3", ws="none", lifespan="off", log_config=None)
        self.protocol = BoundedProtocol(config, state or ServerState(), {})
        self.protocol.connection_made(self)

    async def app(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        self.requests.append((scope["method"], scope["path"], body))
        self.headers.append(scope["headers"])
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
        self.when_answered()

    async def send(self, *pieces: bytes, by_turns: bool) -> None:
        """Let the server read these pieces one after another; `by_turns` lets it work between two of them."""
        for piece in pieces:
            if not self.closing:
                self.protocol.data_received(piece)
            if by_turns:
                await self.until_answered()
        await self.until_answered()

    async def until_answered(self) -> None:
        """Wait until the server does nothing but wait for more bytes."""
        for _ in range(20):
            await asyncio.sleep(0)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.closing:
            self.answered += bytes(data)

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...
