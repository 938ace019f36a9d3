"""The primary of a replicated store is killed while clients write, and another server takes its place.

What was acknowledged is there, errors ask for a retry, and Handover serves again without a restart.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from tests.faults.checks import ALLOWED, FULL, WORKERS, check
from tests.faults.replicas import FAIL_POINTS, primary_and_standby, replica_set
from tests.support import engines
from tests.support.clients.writers import PATIENCE, Writer, new_writer, writing
from tests.support.served import served

STALLED = {"REQUEST_DEADLINE": "3", "LOG_LEVEL": "error"}
"""Settings for tests in which nothing is replicated, so that requests fail at their deadline."""
Record = Callable[[str, object], None]


def on(engine: str) -> pytest.MarkDecorator:
    """Leave the test out if ENGINES does not name its engine."""
    return pytest.mark.parametrize("store", [engine] if engine in engines.selected() else [])


@on("postgresql")
async def test_a_synchronous_standby_is_promoted(store: str, tmp_path: Path, record_property: Record) -> None:
    with primary_and_standby("fsync=on") as servers:
        await servers.wait_for_standby(synchronous=True)
        settings = {"DATABASE_URL": servers.url, "WORKERS": WORKERS, "LOG_LEVEL": "error"}
        async with served(tmp_path, **settings) as server:
            async with writing(server.url) as writers:
                await writers.more(200)
                killed = time.monotonic()
                await asyncio.to_thread(servers.primary.kill)
                await servers.standby.promote()
                await writers.each()
                record_property("gap", f"{writers.longest_pause(killed):.2f} s")
                await writers.more(100)
            assert {*writers.refused} <= ALLOWED
            await check(writers, server, tmp_path, DATABASE_URL=servers.url)
            assert await server.stop() == 0
            assert "Traceback" not in server.said


@on("mongodb")
async def test_a_secondary_is_elected(store: str, tmp_path: Path, record_property: Record) -> None:
    """Twice with `FAULTS=full`: the killed primary is started again in between, so that a majority remains."""
    with replica_set() as servers:
        settings = {"DATABASE_URL": servers.url, "WORKERS": WORKERS, "LOG_LEVEL": "error"}
        async with served(tmp_path, **settings) as server:
            async with writing(server.url) as writers:
                for number in range(1, 3 if FULL else 2):
                    await writers.more(50)
                    primary = await asyncio.to_thread(servers.primary)
                    killed = time.monotonic()
                    await asyncio.to_thread(primary.kill)
                    await writers.each()
                    record_property(f"gap {number}", f"{writers.longest_pause(killed):.2f} s")
                    await asyncio.to_thread(primary.start)
                    await asyncio.to_thread(servers.wait_for_secondaries)
            assert {*writers.refused} <= ALLOWED
            await check(writers, server, tmp_path, DATABASE_URL=servers.url)
            assert await server.stop() == 0
            assert "Traceback" not in server.said


@on("postgresql")
@pytest.mark.parametrize("persistence", ["sqlalchemy", "sqlmodel"] if FULL else ["sqlalchemy"])
async def test_a_replay_acknowledges_nothing_that_the_standby_lacks(
    persistence: str, store: str, tmp_path: Path
) -> None:
    """PostgreSQL gives up waiting for a standby if the statement is cancelled, as at the deadline of a request.

    The adapter with SQLModel closes its connection instead, so an administrator cancels the statement here. From then
    on the change is visible, and lost if the standby is promoted. A retry finds the answer of the first request. It has
    to wait for the standby as that request did.
    """
    with primary_and_standby() as servers:
        await servers.wait_for_standby(synchronous=True)
        settings = STALLED | {"DATABASE_URL": servers.url, "PERSISTENCE": persistence}
        async with served(tmp_path, **settings) as server, server.client() as http:
            writer = await new_writer(http, 0)
            while not await writer.transfer(http):
                pass
            await asyncio.to_thread(servers.standby.pause)
            async with asyncio.timeout(PATIENCE):
                while await version(http, writer) < 3:
                    assert not await writer.transfer(http)
                    await servers.give_up_waiting()
            await is_not_acknowledged(http, writer)
            await asyncio.to_thread(servers.standby.resume)
            await is_acknowledged_at_last(http, writer)


@on("mongodb")
async def test_a_replay_acknowledges_nothing_that_the_majority_lacks(store: str, tmp_path: Path) -> None:
    """A commit that the majority does not get in time is answered with 503, but the primary has it, and its key."""
    with replica_set(*FAIL_POINTS) as servers:
        async with served(tmp_path, DATABASE_URL=servers.url, **STALLED) as server, server.client() as http:
            writer = await new_writer(http, 0)
            while not await writer.transfer(http):
                pass
            with servers.without_replication() as primary:
                async with asyncio.timeout(PATIENCE):
                    while primary.handover.transfers.count_documents({}) < 2:
                        assert not await writer.transfer(http)
                await is_not_acknowledged(http, writer)
            await is_acknowledged_at_last(http, writer)


async def is_not_acknowledged(http: httpx2.AsyncClient, writer: Writer) -> None:
    for _ in range(2):
        assert not await writer.transfer(http), "what only the primary has was acknowledged"


async def is_acknowledged_at_last(http: httpx2.AsyncClient, writer: Writer) -> None:
    async with asyncio.timeout(60):
        while not await writer.transfer(http):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    await writer.check(http)


async def version(http: httpx2.AsyncClient, writer: Writer) -> int:
    item = await http.get(f"/items/{writer.item}", headers=writer.headers[0])
    assert item.status_code == 200, item.text
    return int(item.json()["version"])
