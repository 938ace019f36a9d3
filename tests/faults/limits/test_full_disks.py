"""The disk of PostgreSQL or MongoDB is full: writes are answered with 503, no acknowledged change is lost, and the same
server of Handover accepts writes again when there is space. If the folder of the metrics is full, no worker ends.

`tests/http/requests/test_full_disk.py` does this with SQLite. The small file systems need `unshare`; without it these
tests fail with a line that says so.
"""

import asyncio
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx2
import pytest

from interfaces.certification.parity.problems import assert_problem
from tests.faults.checks import ALLOWED, check
from tests.faults.clients import sign_up
from tests.faults.limits.small_disk import small_disk
from tests.support import engines, servers
from tests.support.clients.writers import Writers, history, writing
from tests.support.served import Served, served

Record = Callable[[str, object], None]
PATIENCE = 120.0
"""Seconds in which anything that is waited for must happen, however slow the machine is."""
WRITERS = 4
METRICS_MEGABYTES = 1
POSTGRESQL_MEGABYTES = 120
"""A new database takes 40 MB and its log 16 to 80 MB."""
MONGODB_MEGABYTES = 400
"""The journal alone takes 300 MB from the beginning."""
MONGODB_OPTIONS = ["--syncdelay", "1", "--setParameter", "diagnosticDataCollectionEnabled=false"]
"""A checkpoint each second, so that a full disk is soon found; by default it takes up to a minute. Without the
diagnostic data, nothing but the data of databases uses space."""


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not reached():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.02)


async def each_is_refused(writers: Writers) -> None:
    """Wait until each writer has twice more been asked to try again; the first request may be older than this call."""
    before = [writer.refused.total() for writer in writers.all]
    await until(lambda: all(w.refused.total() >= n + 2 for w, n in zip(writers.all, before, strict=True)))


@asynccontextmanager
async def under_load(
    store: servers.Server, folder: Path, record: Record
) -> AsyncIterator[tuple[Served, httpx2.AsyncClient, Writers]]:
    """A server of Handover with writers. After the block, each writer must finish, and all must be well."""
    url = store.url
    async with served(folder, DATABASE_URL=url, LOG_LEVEL="warning") as server, server.client() as http:
        async with asyncio.timeout(PATIENCE), writing(server.url, number=WRITERS) as writers:
            await writers.each()
            yield server, http, writers
            began = time.monotonic()
            await writers.each()
            await until_ready(http)
            record("all is well after", f"{time.monotonic() - began:.1f} s")
        assert {*writers.refused} <= ALLOWED
        await check(writers, server, folder, DATABASE_URL=url)
        assert "Traceback" not in server.said
        assert await server.stop() == 0


async def until_ready(http: httpx2.AsyncClient) -> None:
    while (await http.get("/health/ready")).status_code != 200:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.05)


async def says_that_there_is_no_space(http: httpx2.AsyncClient) -> None:
    """Check readiness several times, since its own attempt to write must not succeed by chance."""
    for _ in range(5):
        answer = await http.get("/health/ready")
        assert_problem(answer, 503, "store-unavailable")
        assert "disk space" in answer.json()["detail"]
        assert int(answer.headers["Retry-After"]) > 0
    assert (await http.get("/health/live")).status_code == 200


@pytest.mark.skipif("postgresql" not in engines.selected(), reason="ENGINES leaves PostgreSQL out")
async def test_tables_of_postgresql_cannot_grow(tmp_path: Path, record_property: Record) -> None:
    with small_disk(POSTGRESQL_MEGABYTES) as disk, servers.postgres(mount=disk.mount) as store:
        async with under_load(store, tmp_path, record_property) as (server, http, writers):
            disk.fill()
            await each_is_refused(writers)
            await says_that_there_is_no_space(http)
            assert "has no disk space left: free some" in server.said
            for writer in writers.all:
                assert len(await history(http, writer.item, writer.headers[0])) == writer.done  # reads go on
            assert not store.has_ended()
            disk.free()


@pytest.mark.skipif("postgresql" not in engines.selected(), reason="ENGINES leaves PostgreSQL out")
async def test_space_in_the_pages_of_one_table_does_not_mean_that_there_is_space(tmp_path: Path) -> None:
    """The page that has the first idempotency key has space for others, but not for an answer of the largest size."""
    with small_disk(POSTGRESQL_MEGABYTES) as disk, servers.postgres(mount=disk.mount) as store:
        async with served(tmp_path, DATABASE_URL=store.url) as server, server.client() as http:
            user = await sign_up(http)
            item = {"name": "Book", "price": 1}
            keyed = user.headers | {"Idempotency-Key": "first"}
            assert (await http.post("/items", json=item, headers=keyed)).status_code == 201
            disk.fill()
            async with asyncio.timeout(PATIENCE):
                while True:
                    large = item | {"description": secrets.token_hex(1000)}
                    answer = await http.post("/items", json=large, headers=user.headers)
                    if answer.status_code != 201:
                        break
            assert_problem(answer, 503, "store-unavailable")
            await says_that_there_is_no_space(http)
            disk.free()
            await until_ready(http)


@pytest.mark.skipif("postgresql" not in engines.selected(), reason="ENGINES leaves PostgreSQL out")
async def test_the_log_of_postgresql_cannot_grow(tmp_path: Path, record_property: Record) -> None:
    """PostgreSQL ends itself when it cannot write to pg_wal, so it has to be started again."""
    settings = ["min_wal_size=32MB", "max_wal_size=32MB"]
    with small_disk(POSTGRESQL_MEGABYTES) as disk, servers.postgres(*settings, mount=disk.mount) as store:
        async with under_load(store, tmp_path, record_property) as (server, http, writers):
            connection = await asyncpg.connect(store.url)
            disk.fill()
            await ends_by_itself(store, connection)
            connection.terminate()
            await is_away(server, http, writers, "cannot be reached: is it running")
            disk.free()
            await asyncio.to_thread(store.start)


async def ends_by_itself(store: servers.Postgres, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Let PostgreSQL begin new segments of its log until there is no space for another one."""
    async with asyncio.timeout(PATIENCE):
        while not connection.is_closed():
            try:
                await connection.execute("SELECT pg_switch_wal()")
                await connection.execute("CREATE SEQUENCE IF NOT EXISTS nothing; SELECT nextval('nothing')")
            except (asyncpg.DiskFullError, asyncpg.PostgresConnectionError, OSError):
                await asyncio.sleep(0.05)
    await until(store.has_ended)


async def is_away(server: Served, http: httpx2.AsyncClient, writers: Writers, reason: str) -> None:
    """Check the answers while the store has ended itself, and that the log has the reason."""
    await each_is_refused(writers)
    ready = await http.get("/health/ready")
    assert_problem(ready, 503, "store-unavailable")
    assert int(ready.headers["Retry-After"]) > 0
    assert (await http.get("/health/live")).status_code == 200
    assert reason in server.said


@pytest.mark.skipif("mongodb" not in engines.selected(), reason="ENGINES leaves MongoDB out")
async def test_mongodb_ends_itself_when_its_disk_is_full(tmp_path: Path, record_property: Record) -> None:
    with small_disk(MONGODB_MEGABYTES) as disk, servers.mongodb(*MONGODB_OPTIONS, mount=disk.mount) as store:
        async with under_load(store, tmp_path, record_property) as (server, http, writers):
            disk.fill()
            await until(store.has_ended)
            await is_away(server, http, writers, "MongoDB does not answer")
            disk.free()
            await asyncio.to_thread(store.start)


async def test_the_folder_of_the_metrics_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker ends, not even one that starts meanwhile, and what that has counted is there in the end."""
    with small_disk(METRICS_MEGABYTES) as disk:
        folder = disk.mount({})
        folder.mkdir()
        monkeypatch.setenv("TMPDIR", str(folder))
        async with served(tmp_path, WORKERS="2", LOG_FORMAT="json") as server:
            first, second = await workers_of(server)
            disk.fill()
            await ask_all_routes(server)
            os.kill(first, signal.SIGKILL)
            async with asyncio.timeout(PATIENCE):
                while "metrics cannot be recorded" not in server.said or len(await workers_of(server)) < 2:
                    await ask_all_routes(server)
            assert second in await workers_of(server)
            disk.free()
            async with asyncio.timeout(PATIENCE), server.client() as http:
                while "\nhandover_worker_starts_total 3.0\n" not in (await http.get("/metrics")).text:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            assert await server.stop() == 0
        assert server.said.count("a worker has ended") == 1
        assert "Traceback" not in server.said


async def workers_of(server: Served) -> list[int]:
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return [int(pid) for pid in (await asyncio.to_thread(children.read_text)).split()]


async def ask_all_routes(server: Served) -> None:
    """Send several requests to each route, on connections of their own, and so to any worker."""
    async with server.client() as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
    for path in paths:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "MADE-UP"):
            headers = {"Connection": "close"}
            async with server.client() as http:
                assert (await http.request(method, path, headers=headers)).status_code < 500
