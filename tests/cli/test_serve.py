"""`handover serve` as it is run, on every engine: it starts, serves and stops.

tests/faults is about what it does while it, or its store, is killed.
"""

from collections import Counter
from pathlib import Path

import pytest

from interfaces.certification.database import NewDatabase
from tests.support import engines
from tests.support.clients.writers import history, new_writer, sign_up
from tests.support.served import served


async def test_it_starts_serves_and_stops(engine: str, new_database: NewDatabase, tmp_path: Path) -> None:
    async with new_database() as database:
        settings = {"DATABASE_URL": database.settings.database_url, "PERSISTENCE": database.settings.adapter}
        async with served(tmp_path, **settings) as server:
            async with server.client() as http:
                assert (await http.get("/health/ready")).json() == {"status": "ready"}
                assert (await http.get("/docs")).status_code == 200
                writer = await new_writer(http, 0)
                assert await writer.transfer(http)
                assert [row["number"] for row in await history(http, writer.item, writer.headers[0])] == [1]
                assert "server" not in (await http.get("/health/live")).headers
            assert await server.stop() == 0


@pytest.mark.parametrize("engine", [name for name in engines.selected_above_the_store() if name != "memory"])
async def test_workers_accept_one_another_s_tokens(engine: str, new_database: NewDatabase, tmp_path: Path) -> None:
    """Memory has one worker, and refuses two: see test_refusals.py."""
    async with new_database() as database:
        settings = {"DATABASE_URL": database.settings.database_url, "PERSISTENCE": database.settings.adapter}
        async with served(tmp_path, WORKERS="2", **settings) as server:
            async with server.client() as http:
                _, headers = await sign_up(http, "ann")
            seen: Counter[int] = Counter()
            for _ in range(20):
                async with server.client() as http:  # a connection of its own, so any worker's
                    seen[(await http.get("/users/me", headers=headers)).status_code] += 1
            assert seen == {200: 20}
