"""Requests that ask for another protocol: they are answered as if they did not, however their bytes arrive."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.serving.clients import Client
from tests.support.served import served

UPGRADES = {
    "Java's HttpClient": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n",
    "WebSocket": b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
    "the last request": b"Connection: close, Upgrade\r\nUpgrade: x\r\n",
    "two": b"Upgrade: x\r\nConnection: Upgrade\r\nupgrade: y/1, z\r\n",
    "none": b"",
}
BODY = b"POST /body HTTP/1.1\r\nHost: handover.test\r\nContent-Length: 0\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: handover.test\r\n\r\n"
CHUNKED = b"%x;extension=1\r\n%b\r\n3\r\n%b\r\n0\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n" % (
    len(BODY) - 3,
    BODY[:-3],
    BODY[-3:],
)
REQUESTS = {
    "length": (b"POST /first HTTP/1.1\r\nContent-Length: %d\r\n" % len(BODY), BODY, ("POST", BODY)),
    "chunks": (b"POST /first HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", CHUNKED, ("POST", BODY)),
    "no body": (b"GET /first HTTP/1.1\r\n", b"", ("GET", b"")),
    "an empty body": (b"POST /first HTTP/1.1\r\nContent-Length: 0\r\n", b"", ("POST", b"")),
    "HTTP 1.0": (b"POST /first HTTP/1.0\r\nContent-Length: %d\r\n" % len(BODY), BODY, ("POST", BODY)),
}
WAYS: dict[str, Callable[[bytes, bytes], list[bytes]]] = {
    "one packet": lambda head, rest: [head + rest],
    "head and rest": lambda head, rest: [head, rest],
    "two halves": lambda head, rest: [(head + rest)[: len(head) // 2], (head + rest)[len(head) // 2 :]],
    "bytes": lambda head, rest: [bytes([byte]) for byte in head + rest],
}


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Check that nothing was logged."""
    yield
    assert not caplog.records


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("by_turns", [False, True], ids=["at once", "by turns"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("upgrade", UPGRADES)
@pytest.mark.parametrize("request_", REQUESTS)
async def test_it_is_answered_as_if_it_did_not_ask(request_: str, upgrade: str, way: str, by_turns: bool) -> None:
    """Its body arrives whole and is never taken for a request, and the request behind it is answered."""
    client = Client()
    start, body, (method, arrived) = REQUESTS[request_]
    head = start + b"Host: handover.test\r\n" + UPGRADES[upgrade] + b"\r\n"
    await client.send(*WAYS[way](head, body + NEXT + NEXT), by_turns=by_turns)
    is_last = request_ == "HTTP 1.0" or upgrade == "the last request"
    followers = [] if is_last else [("GET", "/next", b"")] * 2
    assert client.requests == [(method, "/first", arrived), *followers]
    assert client.answered.count(b"HTTP/1.1 ") == client.answered.count(b"HTTP/1.1 200 OK\r\n") == len(client.requests)
    assert client.closing == is_last


async def test_its_other_headers_arrive() -> None:
    client = Client()
    head = b"GET /first?a=%20b HTTP/1.1\r\nHost: handover.test\r\nX-Empty:\r\nX-Twice: 1\r\nx-twice:  \xff,2\t \r\n"
    await client.send(head + b"\r\n" + head + UPGRADES["WebSocket"] + b"\r\n", by_turns=False)
    without, with_upgrade = client.headers
    assert with_upgrade == [*without, (b"connection", b"keep-alive, Upgrade")]
    assert client.requests[0] == client.requests[1]


async def test_many_of_them_in_one_packet() -> None:
    """Neither recursion nor copies of what is left may limit them."""
    client = Client()
    many = 4000
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" * many, by_turns=False)
    async with asyncio.timeout(60):
        while client.answered.count(b"HTTP/1.1 200 OK\r\n") < many:
            await client.until_answered()
    assert len(client.requests) == many


@pytest.mark.parametrize("address", [b"handover.test:443", b"/first", b"http://handover.test/first", b"*"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_tunnel_is_refused_and_nothing_behind_it_is_a_request(way: str, address: bytes) -> None:
    """CONNECT asks for another protocol without a header. What comes behind it cannot be told from data for it."""
    client = Client()
    head = b"CONNECT %b HTTP/1.1\r\nHost: handover.test\r\nContent-Length: %d\r\n\r\n" % (address, len(BODY))
    await client.send(*WAYS[way](head, BODY + NEXT), by_turns=True)
    assert client.requests == []
    assert client.answered.startswith(b"HTTP/1.1 400 ")
    assert client.answered.count(b"HTTP/1.1 ") == 1
    assert client.closing


async def test_a_head_that_is_wrong_but_for_its_upgrade_is_refused() -> None:
    client = Client()
    await client.send(b"GET http:x HTTP/1.1\r\n" + UPGRADES["WebSocket"] + b"\r\n" + NEXT, by_turns=False)
    assert client.requests == []
    assert client.answered.startswith(b"HTTP/1.1 400 ")


async def test_a_server_answers_a_sign_up_that_offers_http_2(tmp_path: Path) -> None:
    sign_up = {"email": "ada@example.org", "username": "ada", "password": "analytical engine"}
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQCAAAAAAIAAAAA"}
    async with served(tmp_path, DATABASE_URL="memory://") as server, server.client() as client:
        answer = await client.post("/users", json=sign_up, headers=offer)
        assert (answer.status_code, answer.json()["username"]) == (201, "ada")
        assert "pgrade" not in server.said
