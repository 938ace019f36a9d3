"""Handover through PgBouncer in transaction mode, with the settings that docs/performance.md names."""

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg

from tests.cluster.programs import PgBouncer
from tests.faults.checks import ALLOWED, check
from tests.support import servers
from tests.support.clients.writers import writing
from tests.support.served import handover, served

ROUNDS = 6
ROLE = """
CREATE ROLE handover LOGIN;
ALTER ROLE handover SET statement_timeout = '5s';
ALTER ROLE handover SET idle_in_transaction_session_timeout = '5s';
ALTER ROLE handover SET jit = off;
"""


async def test_the_server_and_pgbouncer_are_killed(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(1)
    pauses = []
    with servers.Postgres(["fsync=on"]).running() as postgres:
        connection = await asyncpg.connect(postgres.url)
        await connection.execute(ROLE)
        await connection.execute("CREATE DATABASE handover OWNER handover")
        await connection.close()
        direct = f"postgresql://handover@127.0.0.1:{postgres.port}/handover"
        migration = await handover("migrate", "up", folder=tmp_path, DATABASE_URL=direct)
        assert migration.exit_code == 0, migration.err

        with PgBouncer(postgres).running() as pgbouncer:
            settings = {"WORKERS": "2", "LOG_LEVEL": "error", "MIGRATE_ON_START": "false"}
            async with served(tmp_path, DATABASE_URL=pgbouncer.url, **settings) as server:
                async with writing(server.url) as writers:
                    await writers.more(300)
                    for number in range(ROUNDS):
                        victim = pgbouncer if number % 2 else postgres
                        began = time.monotonic()
                        await asyncio.to_thread(victim.kill)
                        await asyncio.to_thread(victim.start)
                        await writers.each()
                        pauses.append(writers.longest_pause(began))
                        await writers.more(chance.randrange(30, 90))
                assert {*writers.refused} <= ALLOWED
                await check(writers, server, tmp_path, DATABASE_URL=pgbouncer.url)
                assert await server.stop() == 0
                assert "Traceback" not in server.said
    record_property("longest pause of each round", [f"{pause:.1f} s" for pause in pauses])
