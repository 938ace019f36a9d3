"""Which connection is closed when there are more than the server may have, and what becomes of its answer."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from uvicorn.server import ServerState

from interfaces.cli.serving.protocol import BoundedProtocol
from tests.cli.serving.clients import Client

REQUEST = b"GET / HTTP/1.1\r\nHost: handover.test\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> ServerState:
    """Of a server that may have two connections."""
    monkeypatch.setattr(BoundedProtocol, "max_connections", 2)
    return ServerState()


@pytest.fixture
async def busy(state: ServerState) -> AsyncIterator[list[Client]]:
    """Two clients whose requests are being answered."""
    clients = [Client(state), Client(state)]
    for client in clients:
        client.may_answer.clear()
        await client.send(REQUEST, by_turns=False)
    yield clients
    for client in clients:
        client.may_answer.set()
        client.protocol.resume_writing()
        await client.until_answered()


async def answered(state: ServerState) -> Client:
    """A client that has sent a request and has its answer."""
    client = Client(state)
    await client.send(REQUEST, by_turns=False)
    assert client.answered == ANSWER
    return client


async def test_the_one_that_was_answered_first_is_closed(state: ServerState) -> None:
    """Not the one whose request came first, which may have been answered just now."""
    slow = Client(state)
    slow.may_answer.clear()
    await slow.send(REQUEST, by_turns=False)
    quick = await answered(state)
    await asyncio.sleep(0.01)  # so that the clock tells the answers apart
    slow.may_answer.set()
    await slow.until_answered()
    assert slow.answered == ANSWER
    new = await answered(state)
    assert (slow.closing, quick.closing, new.closing) == (False, True, False)


async def test_its_answer_is_sent_first(state: ServerState) -> None:
    """Head and body are held until the next turn of the event loop; the new client comes before that."""
    busy, ready = Client(state), Client(state)
    busy.may_answer.clear()
    await busy.send(REQUEST, by_turns=False)
    ready.when_answered = lambda: Client(state)
    await ready.send(REQUEST, by_turns=False)
    assert ready.closing
    assert ready.answered == ANSWER


async def test_one_that_has_not_read_its_answer_is_not_idle_yet(state: ServerState) -> None:
    reading, other = await answered(state), await answered(state)
    reading.unread = 1
    third = await answered(state)
    assert (reading.closing, other.closing) == (False, True)
    third.unread = 1
    new = Client(state)
    assert (reading.closing, third.closing, new.closing) == (False, False, True)


async def test_one_that_does_not_read_its_answer_is_ended(state: ServerState, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not keep others from being served, though a part of the answer is lost. Those that read go before."""
    monkeypatch.setattr("interfaces.cli.serving.protocol.SECONDS_TO_READ", 0)
    first, second = await answered(state), await answered(state)
    first.unread = 1
    third = await answered(state)
    assert (first.closing, second.closing, third.closing) == (False, True, False)
    third.unread = 1
    fourth = await answered(state)
    assert (first.aborted, third.closing, fourth.closing) == (True, False, False)


async def test_one_that_does_not_read_while_it_is_answered_is_ended(
    state: ServerState, busy: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of its answer waits until it reads, as do the answers to its next requests."""
    for client in busy:
        client.unread = 100_000
        client.protocol.pause_writing()
    assert Client(state).closing, "they have not had the time to read"
    assert (busy[0].closing, busy[1].closing) == (False, False)
    monkeypatch.setattr("interfaces.cli.serving.protocol.SECONDS_TO_READ", 0)
    busy[0].protocol.resume_writing()
    new = await answered(state)
    assert (busy[0].closing, busy[1].aborted, new.closing) == (False, True, False)


async def test_the_new_one_is_closed_if_no_other_is_idle(state: ServerState, busy: list[Client]) -> None:
    assert Client(state).closing
    for client in busy:
        client.may_answer.set()
        await client.until_answered()
        assert (client.answered, client.closing) == (ANSWER, False)
