"""How a server stops: in full when asked to, promptly when interrupted, and never with its port still taken.

tests/faults/test_draining.py stops servers on every engine while clients write.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support import engines, servers
from tests.support.served import Served, served

DRAIN = 5.0
BODY = b'{"email": "ann@example.org", "username": "ann", "password": "correct horse battery"}'
SERVERS: dict[str, Callable[[], AbstractContextManager[servers.Postgres | servers.Mongo]]] = {
    "postgresql": servers.postgres,
    "mongodb": servers.mongodb,
}

both = pytest.mark.parametrize("workers", ["1", "2"])


async def begun_request(server: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request that is half sent, so that the server has to wait for the rest of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        b"POST /users HTTP/1.1\r\nhost: handover\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY[:20])
    )
    await writer.drain()
    return reader, writer


async def is_open(server: Served) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    except ConnectionError:  # refused, or reset where the port was closed before it was accepted
        return False
    writer.close()
    return True


async def status(server: Served, path: str) -> int:
    """On a connection of its own, and without the half second that a client's preparations may take."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: handover\r\nconnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return int(answer.split()[1])


async def closed_after(server: Served, since: float) -> float:
    while await is_open(server):
        assert time.monotonic() - since < 60
        await asyncio.sleep(0.02)
    return time.monotonic() - since


@both
async def test_sigterm_drains(workers: str, tmp_path: Path) -> None:
    async with served(tmp_path, WORKERS=workers, DRAIN_SECONDS=str(DRAIN)) as server:
        reader, writer = await begun_request(server)
        assert await status(server, "/health/ready") == 200

        server.process.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        refused = 0
        while refused < 10:  # in a row, so that each worker was most likely asked
            refused = refused + 1 if await status(server, "/health/ready") == 503 else 0
        for _ in range(5):
            assert await status(server, "/health/ready") == 503
            assert await status(server, "/health/live") == 200
        assert time.monotonic() - asked < DRAIN  # or the above has shown nothing
        assert await closed_after(server, asked) >= DRAIN

        assert server.process.returncode is None
        writer.write(BODY[20:])
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 201 ")
        assert b'"username":"ann"' in answer
        writer.close()
        assert await server.wait() == 0
        assert time.monotonic() - asked < 30
        assert "Traceback" not in server.said


@both
async def test_a_client_that_never_finishes_does_not_keep_it(workers: str, tmp_path: Path) -> None:
    async with served(tmp_path, WORKERS=workers, DRAIN_SECONDS="0") as server:
        _, writer = await begun_request(server)
        asked = time.monotonic()
        assert await server.stop() == 0
        assert time.monotonic() - asked < 30
        assert "Traceback" not in server.said
        writer.close()


@both
async def test_an_interrupt_ends_it_promptly(workers: str, tmp_path: Path) -> None:
    async with served(tmp_path, WORKERS=workers, DRAIN_SECONDS="20") as server:
        server.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)
        server.process.send_signal(signal.SIGINT)
        asked = time.monotonic()
        assert await server.wait() == 0
        assert time.monotonic() - asked < 18
        assert "Traceback" not in server.said


@both
async def test_interrupting_twice_is_no_worse(workers: str, tmp_path: Path) -> None:
    async with served(tmp_path, WORKERS=workers) as server:
        server.process.send_signal(signal.SIGINT)
        server.process.send_signal(signal.SIGINT)
        assert await server.wait() == 0
        assert "Traceback" not in server.said


@pytest.mark.parametrize("engine", [name for name in SERVERS if name in engines.selected()])
async def test_a_store_that_hangs_does_not_keep_it(engine: str, tmp_path: Path) -> None:
    with SERVERS[engine]() as store:
        async with served(tmp_path, DATABASE_URL=store.url, WORKERS="2", PURGE_INTERVAL="1") as server:
            assert await status(server, "/health/ready") == 200
            store.pause()
            asked = time.monotonic()
            request = asyncio.create_task(status(server, "/health/ready"))
            await asyncio.sleep(0.1)
            assert await server.stop() == 0
            assert time.monotonic() - asked < 30
            assert await request == 503
            assert "Traceback" not in server.said
            assert "error" not in server.said
            store.resume()


async def test_a_signal_for_the_whole_group_is_the_same(tmp_path: Path) -> None:
    async with served(tmp_path, WORKERS="2", DRAIN_SECONDS="0.5") as server:
        for pid in [*workers_of(server), server.process.pid]:
            os.kill(pid, signal.SIGTERM)
        assert await server.wait() == 0
        assert "another" not in server.said


async def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    async with served(tmp_path, WORKERS="2") as server:
        assert len(workers_of(server)) == 2
        killed = time.monotonic()
        await server.kill()
        assert await closed_after(server, killed) < 30


async def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    async with served(tmp_path, WORKERS="2") as server:
        victim, other = workers_of(server)
        os.kill(victim, signal.SIGKILL)
        async with asyncio.timeout(60):
            while len(now := workers_of(server)) < 2 or victim in now:  # noqa: ASYNC110 - nothing tells us
                await asyncio.sleep(0.05)
        assert other in now
        assert await status(server, "/health/ready") == 200
        assert await server.stop() == 0


def workers_of(server: Served) -> list[int]:
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    return [int(pid) for pid in children.split()]
