"""A database server is killed while clients write, again and again, and comes back.

What was acknowledged is there, and Handover serves again without a restart of its own.
"""

import asyncio
import random
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.faults.checks import ALLOWED, FULL, WORKERS, check
from tests.support import engines, servers
from tests.support.clients.writers import writing
from tests.support.served import served

ROUNDS = 20 if FULL else 2
SERVERS: dict[str, Callable[[], AbstractContextManager[servers.Postgres | servers.Mongo]]] = {
    "postgresql": lambda: servers.postgres("fsync=on"),
    "mongodb": servers.mongodb,
}
SIGNALS = {"postgresql": [signal.SIGQUIT, signal.SIGKILL], "mongodb": [signal.SIGKILL]}
"""SIGQUIT is what `pg_ctl stop -m immediate` sends."""


@pytest.mark.parametrize("engine", [name for name in SERVERS if name in engines.selected()])
async def test_what_was_acknowledged_survives_a_kill_of_the_store(
    engine: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(1)
    pauses = []
    with SERVERS[engine]() as store:
        async with served(tmp_path, DATABASE_URL=store.url, WORKERS=WORKERS, LOG_LEVEL="error") as server:
            async with writing(server.url) as writers:
                for number in range(ROUNDS):
                    await writers.more(chance.randrange(30, 90))
                    began = time.monotonic()
                    await asyncio.to_thread(store.kill, SIGNALS[engine][number % len(SIGNALS[engine])])
                    await asyncio.to_thread(store.start)
                    await writers.each()
                    pauses.append(writers.longest_pause(began))
            assert {*writers.refused} <= ALLOWED
            await check(writers, server, tmp_path, DATABASE_URL=store.url)
            assert await server.stop() == 0
            assert "Traceback" not in server.said
    record_property("longest pause of each round", [f"{pause:.1f} s" for pause in pauses])
