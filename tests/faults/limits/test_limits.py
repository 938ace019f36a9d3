"""Limits of the machine and of the stores: requests are answered 503 while one is met, and well again after it."""

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import httpx2
import pytest

from interfaces.certification.database import Database
from interfaces.certification.parity.problems import assert_problem
from tests.faults.store_connections import through
from tests.support import engines, servers
from tests.support.fault_proxy import fault_proxy
from tests.support.served import Served, handover, served

POSTGRESQL = [name for name in ("postgresql",) if name in engines.selected()]
MONGODB = [name for name in ("mongodb",) if name in engines.selected()]
SQLITE = [name for name in ("sqlite",) if name in engines.selected()]
PATIENT = {"REQUEST_DEADLINE": "60"}
"""So that nothing but the limit is a reason for 503, however slow the machine is."""


async def sign_up(client: httpx2.AsyncClient, username: str) -> httpx2.Response:
    account = {"email": f"{username}@example.org", "username": username, "password": "correct horse battery"}
    return await client.post("/users", json=account)


async def is_refused(client: httpx2.AsyncClient, server: Served, reason: str, *, reads: bool = True) -> None:
    """With an answer on which clients can rely, and the reason in the log. `reads` says whether it cannot read."""
    answers = [await sign_up(client, "nobody")] + ([await client.get("/health/ready")] if reads else [])
    for answer in answers:
        assert_problem(answer, 503, answer.json()["type"].rpartition("/")[2])
        assert int(answer.headers["Retry-After"]) > 0
    assert (await client.get("/health/live")).status_code == 200
    assert reason in server.said
    assert "Traceback" not in server.said


async def is_well(client: httpx2.AsyncClient, username: str) -> None:
    assert (await client.get("/health/ready")).status_code == 200
    assert (await sign_up(client, username)).status_code == 201


@contextmanager
def limited(server: Served, limit: int, value: int) -> Iterator[None]:
    """Lower a limit of the running process; it keeps the files that it has opened."""
    soft, hard = resource.prlimit(server.process.pid, limit)
    resource.prlimit(server.process.pid, limit, (value, hard))
    yield
    resource.prlimit(server.process.pid, limit, (soft, hard))


@pytest.mark.parametrize("engine", POSTGRESQL, indirect=True)
async def test_no_further_file_can_be_opened(engine: str, database: Database, tmp_path: Path) -> None:
    """Connections to the store are replaced at each use."""
    settings = {"DATABASE_URL": database.settings.database_url, "POOL_RECYCLE": "0"} | PATIENT
    async with served(tmp_path, **settings) as server, server.client() as client:
        await is_well(client, "ada")
        with limited(server, resource.RLIMIT_NOFILE, 3):
            await is_refused(client, server, "the limit of open files is reached")
        await is_well(client, "grace")
        assert await server.stop() == 0


@pytest.fixture
async def small_postgresql() -> AsyncIterator[str]:
    with servers.postgres("max_connections=6", "superuser_reserved_connections=0") as server:
        yield server.url


@pytest.mark.skipif(not POSTGRESQL, reason="ENGINES leaves PostgreSQL out")
async def test_postgresql_has_no_connection_left(small_postgresql: str, tmp_path: Path) -> None:
    async with served(tmp_path, DATABASE_URL=small_postgresql, **PATIENT) as server, server.client() as client:
        await is_well(client, "ada")
        others = [await asyncpg.connect(small_postgresql)]
        ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        await others[0].execute(f"{ended} AND backend_type = 'client backend'")
        with suppress(asyncpg.TooManyConnectionsError):
            while True:
                others.append(await asyncpg.connect(small_postgresql))
        await is_refused(client, server, "has no connection left")
        for other in others:
            await other.close()
        await is_well(client, "grace")
        assert await server.stop() == 0


@pytest.mark.skipif(not MONGODB, reason="ENGINES leaves MongoDB out")
async def test_mongodb_has_no_connection_left(tmp_path: Path) -> None:
    with servers.mongodb("--maxConns", "12") as store:
        async with fault_proxy(store.port) as proxy:
            settings = {"DATABASE_URL": through(proxy, store.url), "LOG_LEVEL": "warning"} | PATIENT
            async with served(tmp_path, **settings) as server, server.client() as client:
                await is_well(client, "ada")
                proxy.reset()
                others = await take_all_connections(store.port)
                proxy.go_on()
                await is_refused(client, server, "has it connections left (net.maxIncomingConnections)?")
                for other in others:
                    other.close()
                async with asyncio.timeout(60):
                    while (await client.get("/health/ready")).status_code != 200:  # noqa: ASYNC110
                        await asyncio.sleep(0.1)
                await is_well(client, "grace")
                assert await server.stop() == 0


async def take_all_connections(port: int) -> list[asyncio.StreamWriter]:
    """Connect to MongoDB until it closes several new connections in a row; return those that it has kept."""
    kept: list[asyncio.StreamWriter] = []
    refused = 0
    while refused < 3:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.timeout(0.3):
                await reader.read(1)  # MongoDB says nothing before it is asked, so this is the end of the connection
            refused += 1
            writer.close()
            await asyncio.sleep(0.1)  # for MongoDB to notice that connections have ended
        except TimeoutError:
            refused = 0
            kept.append(writer)
        except OSError:
            refused += 1
    return kept


@pytest.mark.skipif(not SQLITE, reason="ENGINES leaves SQLite out")
async def test_the_disk_takes_no_writes_of_sqlite(tmp_path: Path) -> None:
    """The operating system lets no file grow further than the log needs, which SQLite learns from a failed write."""
    async with served(tmp_path, LOG_LEVEL="warning", **PATIENT) as server, server.client() as client:
        await is_well(client, "ada")
        with limited(server, resource.RLIMIT_FSIZE, 8_000):
            await is_refused(client, server, "cannot be read or written: look after its disk", reads=False)
            assert (await client.get("/health/ready")).status_code == 200
        await is_well(client, "grace")
        assert await server.stop() == 0
    assert (await handover("doctor", folder=tmp_path)).exit_code == 0
