"""The end of a server's port and of its connections, at the moments at which a client is most easily forgotten.

tests/faults/test_draining.py stops whole servers while clients write, and would meet these moments once in a while.
"""

import asyncio
import errno
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from infrastructure.container import Settings, build_container
from interfaces.cli.serving.listening import listen
from interfaces.cli.serving.protocol import BoundedProtocol
from interfaces.cli.serving.server import DRAIN, STOP, Server
from interfaces.http.app import create_app
from tests.cli.serving.open_files import no_file_left

REQUEST = b"GET /health/live HTTP/1.1\r\nHost: handover.test\r\n\r\n"


class LateClient(socket.socket):
    """A listening socket to which a client connects as soon as nothing is left that could be accepted."""

    client: socket.socket | None = None

    def accept(self) -> tuple[socket.socket, Any]:
        try:
            return super().accept()
        except BlockingIOError:
            self.client = socket.socket()
            self.client.setblocking(False)
            self.client.connect_ex(self.getsockname())
            raise


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with listen("127.0.0.1", 0) as listener:
        yield listener


@pytest.fixture
def control() -> Iterator[socket.socket]:
    """Of a worker whose parent keeps running, and orders nothing; so the worker closes its port without a pause."""
    parent, control = socket.socketpair()
    with parent, control:
        yield control


@asynccontextmanager
async def started(listener: socket.socket, control: socket.socket | None = None) -> AsyncIterator[Server]:
    settings = Settings(database_url="memory://", _env_file=None)
    server = Server(create_app(build_container(settings)), settings, control, lambda: None)
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    port = await asyncio.get_running_loop().create_server(
        lambda: BoundedProtocol(server.config, server.server_state, server.lifespan.state), sock=listener
    )
    server.servers = [port]
    try:
        yield server
    finally:
        port.close()
        for connection in list(server.server_state.connections):
            connection.transport.abort()


async def close_port(server: Server, listener: socket.socket) -> socket.socket:
    """Close it, and return a client that connects in between."""
    late = LateClient(fileno=listener.fileno())
    try:
        await server.close_port([late])
    finally:
        late.detach()
    assert late.client
    return late.client


async def only_connection(server: Server) -> BoundedProtocol:
    while not server.server_state.connections:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.01)
    (connection,) = server.server_state.connections
    assert isinstance(connection, BoundedProtocol)
    return connection


async def end_of(client: socket.socket) -> int:
    """What becomes of a request that this client sends: the number of the error, or 0 for an answer."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(60):
        while (error := client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)) == 0:
            try:
                client.send(REQUEST)
            except BlockingIOError:  # not connected yet
                await asyncio.sleep(0.05)
                continue
            except OSError as refused:
                return refused.errno or 0
            try:
                assert (await loop.sock_recv(client, 65536)).startswith(b"HTTP/1.1 200 ")
            except ConnectionError as reset:
                return reset.errno or 0
            return 0
    return error


ORDERS = {"an order to drain": DRAIN, "an order to stop": STOP}


@pytest.mark.parametrize("noticed", [True, False], ids=["noticed by the event loop", "a signal comes first"])
@pytest.mark.parametrize("stop", ["no parent", *ORDERS, "the parent's end", "the parent's end with unread data"])
async def test_a_client_that_comes_when_the_last_one_was_accepted_is_refused(
    stop: str, noticed: bool, listener: socket.socket
) -> None:
    """Refused, after which a client may try another server; after a reset it does not know if it was heard."""
    parent, control = socket.socketpair()
    with parent, control:
        async with started(listener, None if stop == "no parent" else control) as server:
            if stop in ORDERS:
                parent.send(ORDERS[stop])
            else:
                control.send(b"!" if "unread" in stop else b"")
                parent.close()
            if noticed and stop != "no parent":
                server.follow_order(control)
            else:
                server.handle_exit(signal.SIGINT, None)
            earlier = socket.create_connection(listener.getsockname())
            with earlier, await close_port(server, listener) as late:
                earlier.setblocking(False)
                assert await end_of(earlier) == 0
                assert await end_of(late) == errno.ECONNREFUSED


async def test_a_shutdown_ends_even_if_no_file_is_left(listener: socket.socket, control: socket.socket) -> None:
    """Running requests end and the store is closed, although not all clients could be accepted."""
    async with started(listener, control) as server:
        await server.lifespan.startup()
        with socket.create_connection(listener.getsockname()) as accepted:
            connection = await only_connection(server)
            with socket.create_connection(listener.getsockname()), no_file_left(), capture_logs() as logged:
                async with asyncio.timeout(60):
                    await server.shutdown([listener])
            assert connection.transport.is_closing()
            assert accepted.recv(1) == b""
        assert server.lifespan.shutdown_event.is_set()
        assert [(line["event"], line["reason"]) for line in logged if line["log_level"] == "warning"] == [
            ("clients cannot be accepted", "Too many open files")
        ]


class GoneClient(socket.socket):
    """A listening socket whose next client is gone by the time at which it is accepted, so that accept() fails."""

    failures = 1

    def accept(self) -> tuple[socket.socket, Any]:
        if self.failures:
            self.failures -= 1
            raise ConnectionAbortedError(errno.ECONNABORTED, "Software caused connection abort")
        return super().accept()


async def test_a_client_that_is_gone_does_not_keep_others_from_being_accepted(
    listener: socket.socket, control: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    connect, connected = loop.connect_accepted_socket, list[socket.socket]()

    async def fail_first(protocol: Any, accepted: socket.socket) -> Any:
        connected.append(accepted)
        if len(connected) == 1:
            raise OSError(errno.EINVAL, "Invalid argument")  # some systems say so if the client is gone
        return await connect(protocol, accepted)

    monkeypatch.setattr(loop, "connect_accepted_socket", fail_first)
    async with started(listener, control) as server:
        with (
            socket.create_connection(listener.getsockname()) as first,
            socket.create_connection(listener.getsockname()) as second,
        ):
            gone = GoneClient(fileno=listener.fileno())
            try:
                await server.close_port([gone])
            finally:
                gone.detach()
            first.settimeout(60)
            assert first.recv(1) == b""
            second.setblocking(False)
            assert await end_of(second) == 0
    assert len(connected) == 2


async def test_a_worker_that_stops_alone_leaves_the_port_to_the_others(
    listener: socket.socket, control: socket.socket
) -> None:
    with listener.dup() as of_others:
        async with started(listener, control) as server:
            server.handle_exit(signal.SIGINT, None)  # somebody has sent it to this worker only
            with await close_port(server, listener) as late, of_others.accept()[0] as accepted:
                late.send(REQUEST)
                assert accepted.recv(65536) == REQUEST


async def test_a_request_that_the_server_has_not_read_yet_is_answered(listener: socket.socket) -> None:
    async with started(listener) as server:
        with socket.create_connection(listener.getsockname()) as client:
            connection = await only_connection(server)
            client.sendall(REQUEST)
            connection.shutdown()
            client.setblocking(False)
            assert await end_of(client) == 0
            connection.shutdown()
            assert await asyncio.get_running_loop().sock_recv(client, 1) == b""


async def test_a_head_that_has_begun_may_be_completed(listener: socket.socket) -> None:
    async with started(listener) as server:
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(REQUEST[:20])
        connection = await only_connection(server)
        while not connection.head_has_begun:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
        connection.shutdown()
        writer.write(REQUEST[20:])
        async with asyncio.timeout(60):
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
        writer.close()
