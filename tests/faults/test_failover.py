"""The primary of a replicated store is killed while clients write, and another server takes its place.

What was acknowledged is there, errors ask for a retry, and Handover serves again without a restart.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.checks import ALLOWED, FULL, WORKERS, check
from tests.faults.replicas import primary_and_standby, replica_set
from tests.support import engines
from tests.support.served import served
from tests.support.writers import writing

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
