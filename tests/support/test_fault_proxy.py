"""The fault proxy that other tests rely on: each fault is what it says, and ends when it is told to."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.clients.exchanges import MongoCommits, PostgresCommits, SuccessfulPosts
from tests.support.fault_proxy import DroppedReplies, FaultProxy, fault_proxy, reset_connection

PATIENCE = 30.0
A_MOMENT = 0.1
"""Seconds in which something that must not happen would have happened."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo:
    """A server that sends back what it receives, and remembers it."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.ends: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(64 * 1024):
                self.received.append(data)
                writer.write(data)
            self.ends.append("closed")
        except ConnectionResetError:
            self.ends.append("reset")
        writer.close()


class Marked:
    """Recognizes the reply to a request that contains a question mark."""

    def __init__(self) -> None:
        self.asked = False

    def request(self, data: bytes) -> None:
        self.asked = b"?" in data

    def reply(self, data: bytes) -> bool:
        return self.asked


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[FaultProxy]:
    server = await asyncio.start_server(echo.serve, "127.0.0.1")
    async with fault_proxy(server.sockets[0].getsockname()[1]) as proxy:
        async with asyncio.timeout(PATIENCE):
            yield proxy
    server.close()


async def connected(proxy: FaultProxy) -> Streams:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def ask(streams: Streams, text: bytes) -> bytes:
    """Send a text and return what comes back, which is empty when the connection has ended."""
    reader, writer = streams
    writer.write(text)
    return await reader.read(100)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.001)


async def test_it_forwards(proxy: FaultProxy, echo: Echo) -> None:
    first, second = await connected(proxy), await connected(proxy)
    assert await ask(first, b"one") == b"one"
    assert await ask(second, b"two") == b"two"
    first[1].write_eof()
    assert await first[0].read() == b""
    assert echo.ends == ["closed"]
    second[1].close()
    await until(lambda: echo.ends == ["closed", "closed"])
    first[1].close()


async def test_it_forwards_more_than_fits_into_buffers(proxy: FaultProxy) -> None:
    reader, writer = await connected(proxy)
    sent = bytes(range(256)) * 8000
    writer.write(sent)
    assert await reader.readexactly(len(sent)) == sent
    writer.close()


@pytest.mark.parametrize("direction", ["requests", "replies"])
async def test_each_direction_can_be_delayed(direction: str, proxy: FaultProxy) -> None:
    streams = await connected(proxy)
    getattr(proxy, direction).delay = A_MOMENT
    started = time.monotonic()
    assert await ask(streams, b"one") == b"one"
    assert time.monotonic() - started >= A_MOMENT
    streams[1].close()


async def test_connections_can_fall_silent_while_new_ones_work(proxy: FaultProxy, echo: Echo) -> None:
    silent = await connected(proxy)
    assert await ask(silent, b"one") == b"one"
    proxy.silence()
    silent[1].write(b"two")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(A_MOMENT):
            await silent[0].read(100)
    new = await connected(proxy)
    assert await ask(new, b"three") == b"three"
    assert echo.received == [b"one", b"three"]
    for _, writer in (silent, new):
        writer.close()


@pytest.mark.parametrize("stopped", ["requests", "replies", "both"])
async def test_a_stopped_direction_forwards_later(stopped: str, proxy: FaultProxy, echo: Echo) -> None:
    fault = proxy if stopped == "both" else getattr(proxy, stopped)
    old = await connected(proxy)
    assert await ask(old, b"one") == b"one"
    fault.stop()
    new = await connected(proxy)
    answers = [asyncio.create_task(ask(streams, b"two")) for streams in (old, new)]
    direction = proxy.replies if stopped == "replies" else proxy.requests
    await until(lambda: direction.stopped == 2)
    assert not (await asyncio.wait(answers, timeout=A_MOMENT))[0]
    assert len(echo.received) == (3 if stopped == "replies" else 1)

    fault.go_on()
    assert await asyncio.gather(*answers) == [b"two", b"two"]
    assert direction.stopped == 0
    for _, writer in (old, new):
        writer.close()


async def test_a_reset_ends_old_and_new_connections_on_both_sides(proxy: FaultProxy, echo: Echo) -> None:
    old = await connected(proxy)
    assert await ask(old, b"one") == b"one"
    proxy.reset()
    new = await connected(proxy)
    for reader, writer in (old, new):
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
    await until(lambda: echo.ends == ["reset"])

    proxy.go_on()
    newest = await connected(proxy)
    assert await ask(newest, b"two") == b"two"
    newest[1].close()


async def test_a_reset_of_one_side_is_passed_on(proxy: FaultProxy, echo: Echo) -> None:
    reader, writer = await connected(proxy)
    assert await ask((reader, writer), b"one") == b"one"
    reset_connection(writer)
    await until(lambda: echo.ends == ["reset"])


async def test_without_a_server_connections_are_reset() -> None:
    async with fault_proxy(1) as proxy:
        reader, writer = await connected(proxy)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_only_recognized_replies_are_dropped_after_the_request_has_arrived(proxy: FaultProxy, echo: Echo) -> None:
    drops = proxy.drops = DroppedReplies(Marked, every=2)
    answers = []
    for text in (b"one", b"one?", b"two", b"two?", b"three?", b"four?"):
        streams = await connected(proxy)
        answers.append(await ask(streams, text))
        streams[1].close()
    assert answers == [b"one", b"one?", b"two", b"", b"three?", b""]
    assert (drops.recognized, drops.dropped) == (4, 2)
    assert echo.received[-1] == b"four?"


def test_the_address_in_a_url_is_replaced() -> None:
    proxy = FaultProxy("127.0.0.1", 1)
    proxy.port = 2
    assert proxy.url("postgresql://me:p%40@127.0.0.1:1/db?a=b") == "postgresql://me:p%40@127.0.0.1:2/db?a=b"
    assert proxy.url("mongodb://127.0.0.1:1/db?a=b") == "mongodb://127.0.0.1:2/db?a=b"


def message(kind: bytes, content: bytes) -> bytes:
    return kind + (len(content) + 4).to_bytes(4, "big") + content


STARTUP = message(b"", (80877103).to_bytes(4, "big")) + message(b"", b"\0\3\0\0user\0me\0\0")
PARSE = message(b"P", b"s1\0SELECT 'handover: a conflict'\0\0\0") + message(b"P", b"s2\0SELECT 1\0\0\0")
DONE, REFUSED = message(b"C", b"SELECT 1\0"), message(b"E", b"SERROR\0VERROR\0C22P02\0\0")


@pytest.mark.parametrize(
    ("request_", "reply", "recognized"),
    [
        (message(b"Q", b"COMMIT;\0"), DONE, True),
        (message(b"Q", b"COMMIT;\0"), REFUSED, False),
        (message(b"Q", b"ROLLBACK;\0"), DONE, False),
        (PARSE, DONE, False),
        (PARSE + message(b"B", b"\0s1\0\0\0\0\0\0\0"), DONE, True),
        (PARSE + message(b"B", b"\0s1\0\0\0\0\0\0\0"), REFUSED, False),
        (PARSE + message(b"B", b"\0s2\0\0\0\0\0\0\0"), DONE, False),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_commits_on_postgresql_are_recognized(request_: bytes, reply: bytes, recognized: bool, size: int) -> None:
    """However the bytes are cut into pieces."""
    exchange = PostgresCommits()
    sent = STARTUP + request_
    for start in range(0, len(sent), size):
        exchange.request(sent[start : start + size])
    assert exchange.reply(reply) == recognized
    assert not exchange.reply(reply)


def test_commits_on_mongodb_are_recognized() -> None:
    exchange = MongoCommits()
    exchange.request(b"...\x10commitTransaction\x00\x01\x00\x00\x00...")
    assert exchange.reply(b"...\x01ok\x00\x00\x00\x00\x00\x00\x00\xf0\x3f...")
    exchange.request(b"...\x10abortTransaction\x00\x01\x00\x00\x00...")
    assert not exchange.reply(b"...\x01ok\x00\x00\x00\x00\x00\x00\x00\xf0\x3f...")
    exchange.request(b"...\x10commitTransaction\x00\x01\x00\x00\x00...")
    assert not exchange.reply(b"...\x01ok\x00\x00\x00\x00\x00\x00\x00\x00\x00...")


def test_successful_posts_are_recognized() -> None:
    exchange = SuccessfulPosts()
    for request, reply, recognized in (
        (b"POST /items HTTP/1.1\r\n", b"HTTP/1.1 201 Created\r\n", True),
        (b"POST /items HTTP/1.1\r\n", b"HTTP/1.1 503 Service Unavailable\r\n", False),
        (b"GET /items HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", False),
    ):
        exchange.request(request)
        assert exchange.reply(reply) == recognized
        assert not exchange.reply(b"the rest")
