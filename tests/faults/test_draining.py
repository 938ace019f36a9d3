"""A server that is told to stop while clients write answers every request whose bytes it has, and loses no change."""

import asyncio
import signal
from pathlib import Path

import httpx2
import pytest

from interfaces.certification.database import NewDatabase
from tests.faults.checks import FULL, check_store
from tests.support import engines
from tests.support.clients.writers import Writer, new_writer
from tests.support.served import Served, served

CLIENTS = 8 if FULL else 4
BOTH = ["1", "2"]
WORKERS = {"memory": ["1"]} if FULL else {"memory": ["1"], "postgresql": ["2"], "mongodb": ["2"]}
"""Numbers of workers, where they are not both: memory has one, and elsewhere SQLite stands for all in a short run."""


@pytest.mark.parametrize(
    ("engine", "workers"),
    [(engine, workers) for engine in engines.selected_above_the_store() for workers in WORKERS.get(engine, BOTH)],
)
async def test_no_request_is_lost_when_it_stops(
    engine: str, workers: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    """Each client transfers and reads, and sees every answer in full until the port is closed.

    Half of the clients keep their connections, half make a new one for each request.
    """
    busy = asyncio.Event()

    async def use(server: Served, writer: Writer, keep: bool) -> None:
        while True:
            limits = httpx2.Limits() if keep else httpx2.Limits(max_keepalive_connections=0)
            async with httpx2.AsyncClient(base_url=server.url, limits=limits, timeout=30) as client:
                try:
                    while True:
                        assert await writer.transfer(client), writer.refused
                        item = await client.get(f"/items/{writer.item}", headers=writer.headers[0])
                        assert item.json()["version"] == writer.done + 1
                        if sum(writer.done for writer in writers) >= CLIENTS * 5:
                            busy.set()
                except httpx2.ConnectError:
                    return  # the port is closed; anything else is a request lost

    async with new_database() as database:
        settings = {"DATABASE_URL": database.settings.database_url, "ISOLATION": database.settings.isolation or ""}
        async with served(tmp_path, **settings, WORKERS=workers, DRAIN_SECONDS="0.3", LOG_LEVEL="warning") as server:
            async with server.client() as http:
                writers = [await new_writer(http, number) for number in range(CLIENTS)]
            async with asyncio.timeout(90), asyncio.TaskGroup() as group:
                for number, writer in enumerate(writers):
                    group.create_task(use(server, writer, keep=number % 2 == 0))
                await busy.wait()
                server.process.send_signal(signal.SIGTERM)
            assert await server.wait() == 0
            assert "Traceback" not in server.said
        if engine != "memory":  # of which nothing is left
            await check_store(tmp_path, transfers=sum(writer.done for writer in writers), **settings)
