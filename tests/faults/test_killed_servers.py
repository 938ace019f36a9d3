"""A server is killed while clients write, again and again: what it had acknowledged is there when it is back."""

import asyncio
import random
import secrets
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from interfaces.certification.database import NewDatabase
from tests.faults.checks import FULL, check
from tests.support import engines, guard, servers
from tests.support.clients.writers import PATIENCE, writing
from tests.support.served import Served, served

ROUNDS = 20 if FULL else 2
ENGINES = [name for name in engines.selected_above_the_store() if name != "memory"]


async def kill(server: Served) -> None:
    """Kill the server, of several workers their parent; return when its port is free."""
    processes = guard.family(server.process.pid)
    await server.kill()
    async with asyncio.timeout(PATIENCE):
        while guard.alive(processes):  # noqa: ASYNC110 - they are not our children
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("engine", ENGINES)
async def test_what_was_acknowledged_survives_a_kill(engine: str, new_database: NewDatabase, tmp_path: Path) -> None:
    """Every other server has two workers."""
    chance = random.Random(1)
    async with new_database() as database, AsyncExitStack() as ends:
        store = {
            "DATABASE_URL": database.settings.database_url,
            "PERSISTENCE": database.settings.adapter,
            "ISOLATION": database.settings.isolation or "",
        }
        settings = {
            "PORT": str(servers.free_port()),
            "SECRET_KEY": secrets.token_hex(32),  # tokens outlive the process
            "LOG_LEVEL": "warning",
        }

        async def start(workers: int) -> Served:
            return await ends.enter_async_context(served(tmp_path, WORKERS=str(workers), **settings, **store))

        server = await start(1)
        async with writing(server.url, server_is_killed=True) as writers:
            for number in range(ROUNDS):
                await writers.more(chance.randrange(30, 90))
                await kill(server)
                server = await start(2 - number % 2)
            await writers.each()
        assert sum(writers.refused.values()) >= ROUNDS
        await check(writers, server, tmp_path, **store)
        assert await server.stop() == 0
