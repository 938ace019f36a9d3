"""What no request may have: more headers, or more around its body, than a server should keep; how answers leave."""

import asyncio
from pathlib import Path

import pytest

from interfaces.cli.protocol import Gathering
from tests.served import Served, served

MIB = b"x" * 1024 * 1024
HOST = b"Host: handover.test\r\n"
HEALTH = b"GET /health/live HTTP/1.1\r\n" + HOST
SIGN_UP = b"POST /users HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n"


async def answer(server: Served, *pieces: bytes) -> bytes:
    """All that comes back until the server has nothing more to say."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    received = b""
    try:
        async with asyncio.timeout(60):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            while data := await reader.read(65536):
                received += data
    except (ConnectionError, TimeoutError):
        pass
    finally:
        writer.transport.abort()
    return received


@pytest.mark.parametrize(
    "head",
    [
        [b"GET /health/live?", MIB],
        [HEALTH, b"X-Large: ", MIB],
        [HEALTH, *[b"X-Many: 1\r\n" * 10_000] * 10],
        [HEALTH, MIB],
    ],
    ids=["address", "header", "headers", "name of a header"],
)
async def test_a_head_has_an_end(head: list[bytes], tmp_path: Path) -> None:
    async with served(tmp_path, DATABASE_URL="memory://") as server, server.client() as client:
        assert (await answer(server, *head)).startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
        assert (await client.get("/health/live", headers={"X-Large": "x" * 100_000})).status_code == 200
        answers = await answer(
            server, *[HEALTH + b"X: " + b"x" * 100_000 + b"\r\n\r\n"] * 8, HEALTH + b"Connection: close\r\n\r\n"
        )
        assert answers.count(b"HTTP/1.1 200 ") == 9


@pytest.mark.parametrize(
    "rest",
    [[b"2;", MIB], [b"2\r\n{}\r\n0\r\n", b"X-Large: ", MIB], [b"2\r\n{}\r\n0\r\n", *[b"X-Many: 1\r\n" * 10_000] * 10]],
    ids=["chunk extension", "trailer", "trailers"],
)
async def test_so_has_what_is_around_a_body(rest: list[bytes], tmp_path: Path) -> None:
    async with served(tmp_path, DATABASE_URL="memory://") as server, server.client() as client:
        began = asyncio.get_running_loop().time()
        assert b" 201 " not in await answer(server, SIGN_UP, *rest)
        assert asyncio.get_running_loop().time() - began < 5
        body = b'{"email": "a@example.org", "username": "ada", "password": "correct horse battery"}'
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
        close = SIGN_UP.replace(b"Host", b"Connection: close\r\nHost")
        assert (await answer(server, close, chunks)).startswith(b"HTTP/1.1 201 ")
        assert (await client.get("/health/live")).status_code == 200


class Wire(asyncio.Transport):
    """Notes what it is told to send, and when it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def close(self) -> None:
        self.sent.append(b"closed")


async def test_head_and_body_are_sent_together() -> None:
    wire = Wire()
    gathering = Gathering(wire, asyncio.get_running_loop())
    gathering.write(b"head ")
    gathering.write(b"body")
    await asyncio.sleep(0)
    gathering.write(b"next")
    await asyncio.sleep(0)
    assert wire.sent == [b"head body", b"next"]


async def test_what_was_written_is_sent_before_the_end() -> None:
    wire = Wire()
    gathering = Gathering(wire, asyncio.get_running_loop())
    gathering.write(b"last")
    gathering.close()
    await asyncio.sleep(0)
    assert wire.sent == [b"last", b"closed"]
