"""What no request may have: more headers, or more around its body, than a server should keep; how answers leave."""

import asyncio
import json
from pathlib import Path

import pytest

from interfaces.cli.serving import protocol
from interfaces.cli.serving.coalescing_transport import CoalescingTransport
from tests.support.served import Served, served

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


def assert_refused(answered: bytes, status: int, slug: str) -> None:
    """One answer, and it is this problem, with the headers that all answers have."""
    head, _, body = answered.partition(b"\r\n\r\n")
    status_line, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert status_line.startswith(f"HTTP/1.1 {status} "), answered
    problem = json.loads(body)
    assert (problem["type"], problem["status"]) == (f"/problems/{slug}", status)
    assert headers["content-type"] == "application/problem+json"
    assert headers["content-length"] == str(len(body))
    assert headers["x-request-id"] == problem["request_id"]
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["connection"] == "close"


UNREADABLE = {
    "no HTTP": b"what is this?\r\n\r\n",
    "no method": b"/health/live HTTP/1.1\r\n" + HOST + b"\r\n",
    "no version": b"GET /health/live HTTP/9.9\r\n" + HOST + b"\r\n",
    "no address": b"GET  HTTP/1.1\r\n" + HOST + b"\r\n",
    "an address of other characters": b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "no header": HEALTH + b"what is this?\r\n\r\n",
    "two lengths": HEALTH + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "no length": HEALTH + b"Content-Length: x\r\n\r\n",
    "no chunk": SIGN_UP + b"what is this?\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}
WITHOUT_A_HOST = {
    "no host": b"GET /health/live HTTP/1.1\r\n\r\n",
    "two hosts": HEALTH + HOST + b"\r\n",
    "a host with a path": b"GET /health/live HTTP/1.1\r\nHost: handover.test/x\r\n\r\n",
    "a host with a user": b"GET /health/live HTTP/1.1\r\nHost: ada@handover.test\r\n\r\n",
    "a host with a space": b"GET /health/live HTTP/1.1\r\nHost: handover test\r\n\r\n",
}


async def test_what_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    async with served(tmp_path, DATABASE_URL="memory://") as server, server.client() as client:
        for sent in {**UNREADABLE, **WITHOUT_A_HOST}.values():
            assert_refused(await answer(server, sent), 400, "bad-request")
        assert_refused(await answer(server, HEALTH, MIB), 431, "headers-too-large")
        longest = b"/health/live?" + b"x" * (protocol.MAX_ADDRESS_BYTES - 13)
        assert (await client.get(longest.decode())).status_code == 200
        too_long = b"GET %bx HTTP/1.1\r\n%b\r\n" % (longest, HOST)
        assert_refused(await answer(server, too_long), 431, "headers-too-large")
        assert (await client.get("/health/live")).status_code == 200
        assert "Traceback" not in server.said


async def test_http_1_0_needs_no_host(tmp_path: Path) -> None:
    async with served(tmp_path, DATABASE_URL="memory://") as server:
        assert (await answer(server, b"GET /health/live HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert_refused(await answer(server, b"GET /health/live HTTP/1.0\r\n" + HOST * 2 + b"\r\n"), 400, "bad-request")


async def test_garbage_behind_a_request_does_not_garble_its_answer(tmp_path: Path) -> None:
    async with served(tmp_path, DATABASE_URL="memory://") as server:
        answered = await answer(server, HEALTH + b"\r\n" + b"what is this?\r\n\r\n")
        assert answered.count(b"HTTP/1.1 ") <= 1
        assert b"bad-request" not in answered
        first, second = await two_answers(server, HEALTH + b"\r\n", b"what is this?\r\n\r\n")
        assert first.startswith(b"HTTP/1.1 200 ")
        assert_refused(second, 400, "bad-request")


async def two_answers(server: Served, first: bytes, second: bytes) -> tuple[bytes, bytes]:
    """The answer to what is sent first, and then, on the same connection, to what is sent second."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    async with asyncio.timeout(60):
        writer.write(first)
        answered = await reader.readuntil(b"}")
        writer.write(second)
        rest = await reader.read()
    writer.close()
    return answered, rest


async def test_an_upgrade_that_is_not_supported_is_ignored(tmp_path: Path) -> None:
    upgrade = HEALTH + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    async with served(tmp_path, DATABASE_URL="memory://") as server:
        first, second = await two_answers(server, upgrade, HEALTH + b"Connection: close\r\n\r\n")
        assert first.startswith(b"HTTP/1.1 200 ")
        assert second.startswith(b"HTTP/1.1 200 "), second


class Wire(asyncio.Transport):
    """Notes what it is told to send, and when it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    def is_closing(self) -> bool:
        return b"closed" in self.sent

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def close(self) -> None:
        self.sent.append(b"closed")


async def test_head_and_body_are_sent_together() -> None:
    wire = Wire()
    gathering = CoalescingTransport(wire, asyncio.get_running_loop())
    gathering.write(b"head ")
    gathering.write(b"body")
    await asyncio.sleep(0)
    gathering.write(b"next")
    await asyncio.sleep(0)
    assert wire.sent == [b"head body", b"next"]


async def test_what_was_written_is_sent_before_the_end() -> None:
    wire = Wire()
    gathering = CoalescingTransport(wire, asyncio.get_running_loop())
    gathering.write(b"last")
    gathering.close()
    await asyncio.sleep(0)
    assert wire.sent == [b"last", b"closed"]


async def test_nothing_is_sent_after_the_end() -> None:
    """uvloop would raise RuntimeError. uvicorn writes an answer for which a client has not waited, if others follow."""
    wire = Wire()
    gathering = CoalescingTransport(wire, asyncio.get_running_loop())
    gathering.write(b"lost")
    wire.close()
    await asyncio.sleep(0)
    gathering.write(b"late")
    gathering.close()
    await asyncio.sleep(0)
    assert wire.sent == [b"closed", b"closed"]
