"""A TCP proxy on the loopback that fails when a test tells it to.

It stands between a client and a server. Each direction can be delayed or stopped, connections can be reset, and the
reply to a chosen request can be dropped after the server has done its work.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

CHUNK = 64 * 1024
RESET_WHEN_CLOSED = struct.pack("ii", 1, 0)  # see SO_LINGER in socket(7)


class Exchange(Protocol):
    """Follows what one connection carries, and recognizes the replies that may be dropped."""

    def request(self, data: bytes) -> None:
        """Look at the next bytes from the client, which may end in the middle of a message."""
        ...

    def reply(self, data: bytes) -> bool:
        """Look at the next bytes from the server; return whether a reply that may be dropped begins with them."""
        ...


@dataclass(slots=True)
class DroppedReplies:
    """Which replies are dropped: of those that an Exchange recognizes on all connections, each `every`-th one.

    In place of such a reply, the client sees the end of its connection.
    """

    exchange: Callable[[], Exchange]
    """Called once per connection."""
    every: int = 1
    recognized: int = 0
    dropped: int = 0

    def is_next(self) -> bool:
        """Count a recognized reply, and return whether it is to be dropped."""
        self.recognized += 1
        if self.recognized % self.every:
            return False
        self.dropped += 1
        return True


class ReplyDropped(Exception):
    """Ends a connection whose next reply is dropped."""


class Direction:
    """The bytes that flow in one direction, on all connections."""

    def __init__(self) -> None:
        self.delay = 0.0
        """Seconds by which each piece of data is delayed."""
        self.stopped = 0
        """The number of connections on which data wait for go_on()."""
        self._flows = asyncio.Event()
        self._flows.set()

    def stop(self) -> None:
        """Forward nothing from now on. Connections stay open, and new ones are accepted."""
        self._flows.clear()

    def go_on(self) -> None:
        """Forward again, first what has arrived meanwhile, as a network does that was interrupted."""
        self._flows.set()

    async def forward(self, data: bytes, to: asyncio.StreamWriter) -> None:
        """Send the data when it is time."""
        if self.delay:
            await asyncio.sleep(self.delay)
        if not self._flows.is_set():
            self.stopped += 1
            try:
                await self._flows.wait()
            finally:
                self.stopped -= 1
        to.write(data)
        await to.drain()


class FaultProxy:
    """A running proxy, made by fault_proxy(). Its methods and attributes take effect at once."""

    def __init__(self, host: str, port: int) -> None:
        self.requests = Direction()
        """The direction from the client to the server."""
        self.replies = Direction()
        """The direction from the server to the client."""
        self.drops: DroppedReplies | None = None
        """Which replies are dropped, on connections that begin while it is set."""
        self.port = 0
        self._target = host, port
        self._resets = False
        self._silent: set[asyncio.StreamWriter] = set()
        """The sides of connections that get no more data."""
        self._connections: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}

    def stop(self) -> None:
        """Become a black hole: connections stay open and new ones are accepted, but nothing is forwarded."""
        self.requests.stop()
        self.replies.stop()

    def silence(self) -> None:
        """Discard from now on what is sent on the connections of this moment, which stay open; new ones work.

        So does a firewall that has forgotten its connections, or a network address that has moved to another machine.
        """
        for sides in self._connections.values():
            self._silent.update(sides)

    def go_on(self) -> None:
        """End what stop() or reset() began."""
        self._resets = False
        self.requests.go_on()
        self.replies.go_on()

    def reset(self) -> None:
        """Reset all connections (TCP RST), and until go_on() each new one as soon as it is accepted."""
        self._resets = True
        for sides in self._connections.values():
            for side in sides:
                reset_connection(side)

    def url(self, url: str) -> str:
        """Return the URL of the server with this proxy's address in place of the server's."""
        parts = urlsplit(url)
        user, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user}{at}127.0.0.1:{self.port}").geturl()

    def accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """Serve a new connection of a client."""
        sides = [client]
        connection = asyncio.ensure_future(self._serve(reader, sides))
        self._connections[connection] = sides
        connection.add_done_callback(self._connections.pop)

    async def _serve(self, from_client: asyncio.StreamReader, sides: list[asyncio.StreamWriter]) -> None:
        """Forward both directions of a connection until both have ended or one fails, then close its sides."""
        end: Callable[[asyncio.StreamWriter], None] = reset_connection
        try:
            if not self._resets:
                from_server, server = await asyncio.open_connection(*self._target)
                sides.append(server)
                drops = self.drops
                exchange = drops.exchange() if drops else None
                async with asyncio.TaskGroup() as directions:
                    directions.create_task(self._forward_requests(from_client, server, exchange))
                    directions.create_task(self._forward_replies(from_server, sides[0], exchange, drops))
                end = asyncio.StreamWriter.close
        except* ReplyDropped:
            end = asyncio.StreamWriter.close
        except* OSError:  # a side was reset, or the server cannot be reached
            pass
        finally:
            self._silent.difference_update(sides)
            for side in sides:
                end(side)

    async def _forward_requests(
        self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, exchange: Exchange | None
    ) -> None:
        """Forward what the client sends until it has ended its side."""
        while data := await reader.read(CHUNK):
            if exchange:
                exchange.request(data)
            if server not in self._silent:
                await self.requests.forward(data, server)
        server.write_eof()

    async def _forward_replies(
        self,
        reader: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        exchange: Exchange | None,
        drops: DroppedReplies | None,
    ) -> None:
        """Forward what the server sends until it has ended its side; raise ReplyDropped in place of a dropped reply."""
        while data := await reader.read(CHUNK):
            if exchange and drops and exchange.reply(data) and drops.is_next():
                raise ReplyDropped
            if client not in self._silent:
                await self.replies.forward(data, client)
        client.write_eof()

    async def close(self) -> None:
        """Reset all connections, and wait until that is done."""
        connections = [*self._connections]
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


@asynccontextmanager
async def fault_proxy(port: int, host: str = "127.0.0.1") -> AsyncIterator[FaultProxy]:
    """Run a proxy for the server at this address, on a free port of the loopback."""
    proxy = FaultProxy(host, port)
    listener = await asyncio.start_server(proxy.accept, "127.0.0.1")
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()
        await proxy.close()


def reset_connection(writer: asyncio.StreamWriter) -> None:
    """Close a connection so that its peer sees a reset (TCP RST); do nothing if it is closed already."""
    if not writer.transport.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_WHEN_CLOSED)
        writer.transport.abort()
