"""Connections that send half a request and stop: they end in time, and do not keep others from being served."""

import asyncio
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from interfaces.cli.serving import protocol
from tests.support.served import Served, served

MANY = 1500
HALF = b"GET /health/live HTTP/1.1\r\nHost: handover.test\r\n"


@pytest.fixture
def many_files() -> Iterator[int]:
    """Let this process open as many files as the tests need; return the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def half_open(server: Served, count: int) -> list[socket.socket]:
    connections = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", server.port))
        connections.append(connection)
        with suppress(ConnectionError):  # the server may have closed it already
            connection.sendall(HALF)
    return connections


async def seconds_to_answer(server: Served) -> float:
    """On a connection of its own."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(HALF + b"Connection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()
    return time.monotonic() - began


@pytest.mark.parametrize(("soft", "hard"), [(256, 1024), (1024, 4096)])
async def test_half_open_connections_keep_nobody_from_being_served(
    soft: int, hard: int, tmp_path: Path, many_files: int
) -> None:
    assert many_files > MANY + 100, "this machine allows too few open files: raise the hard limit (ulimit -Hn)"
    limited = f"prlimit --nofile={soft}:{hard}"
    async with served(tmp_path, wrapper=limited, LOG_LEVEL="warning") as server, server.client() as client:
        assert (await client.get("/health/ready")).status_code == 200
        connections = await asyncio.to_thread(half_open, server, MANY)
        try:
            # Without its limits the server would not answer at all. On an idle machine it takes milliseconds.
            for _ in range(20):
                assert await seconds_to_answer(server) < 30
                assert (await client.get("/health/ready")).status_code == 200  # which needs files of the store
            assert "Too many open files" not in server.said
            assert "Traceback" not in server.said
        finally:
            for connection in connections:
                connection.close()
        assert await server.stop() == 0


def not_reading(server: Served, count: int) -> list[socket.socket]:
    """Clients that ask a hundred times for more than the kernel keeps for them, and read nothing of it."""
    connections = []
    for _ in range(count):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(10)
        connections.append(connection)
        with suppress(ConnectionError):  # the server may have closed it already
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: handover.test\r\n\r\n" * 100)
    return connections


async def test_clients_that_read_nothing_keep_nobody_from_being_served(tmp_path: Path) -> None:
    settings = {"DATABASE_URL": "memory://", "LOG_LEVEL": "warning"}
    async with served(tmp_path, wrapper="prlimit --nofile=128:128", **settings) as server:
        connections = await asyncio.to_thread(not_reading, server, 80)
        try:
            async with asyncio.timeout(60):
                while True:  # until they have had the time to read
                    with suppress(ConnectionError, AssertionError):
                        await seconds_to_answer(server)
                        break
                    await asyncio.sleep(0.1)
        finally:
            for connection in connections:
                connection.close()
        assert await server.stop() == 0
        assert "Traceback" not in server.said
        assert "RuntimeError" not in server.said


async def test_a_head_has_a_time_limit(tmp_path: Path) -> None:
    async with served(tmp_path, DATABASE_URL="memory://") as server:

        async def ended(*pieces: bytes) -> tuple[bytes, float]:
            """What the server says before it closes the connection, and after how many seconds it does."""
            began = time.monotonic()
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            async with asyncio.timeout(60):
                answered = await reader.read()
            writer.close()
            return answered, time.monotonic() - began

        whole = HALF + b"\r\n"
        (nothing, at_once), (half, late), (next_half, later) = await asyncio.gather(
            ended(), ended(HALF), ended(whole, HALF)
        )
        assert nothing == b""
        assert half.startswith(b"HTTP/1.1 408 ")
        assert b"/problems/request-timeout" in half
        assert next_half.startswith(b"HTTP/1.1 200 ")
        assert b"HTTP/1.1 408 " in next_half
        for seconds in (at_once, late, later):
            assert protocol.HEAD_SECONDS <= seconds < protocol.HEAD_SECONDS + 15


async def test_a_connection_that_is_kept_may_pause_for_longer_than_a_head(tmp_path: Path) -> None:
    async with served(tmp_path, DATABASE_URL="memory://") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for pause in (protocol.HEAD_SECONDS + 2, 0):
            writer.write(HALF + b"\r\n")
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
            await asyncio.sleep(pause)
        writer.close()


async def test_a_body_that_is_refused_may_be_longer_than_any_head(tmp_path: Path) -> None:
    """The limit for heads does not count it, so the connection goes on."""
    async with served(tmp_path, DATABASE_URL="memory://") as server, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        body = b"x" * (2 * protocol.MAX_FRAMING_BYTES)
        head = b"POST /users HTTP/1.1\r\nHost: handover.test\r\nContent-Type: application/json\r\n"
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body + HALF + b"\r\n")
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 413 ")
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
        writer.close()
