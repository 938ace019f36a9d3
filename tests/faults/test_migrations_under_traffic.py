"""`handover migrate` while a server answers: nobody waits for long, and a migration that was killed is run again.

`FAULTS=full` also kills migrations at many moments, and allows no request more than the time that a migration waits for
a lock, and one second.
"""

import asyncio
import os
import secrets
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from httpx2 import AsyncClient
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from application.store import Store
from application.use_cases.check_store import CheckStore
from domain.item import Item, ItemId
from infrastructure.clock_and_ids import utc_now
from interfaces.certification.database import Database, NewDatabase
from interfaces.certification.overlapping import insert
from interfaces.testing.builders import a_user, an_item
from tests.faults.checks import FULL
from tests.support import engines
from tests.support.served import Forked, environment, handover, served

LONGEST_WAIT = 2.0 if FULL else 15.0
"""Seconds that a request may take, with those in which it is refused as busy and sent again."""
PATIENCE = 90.0
"""Seconds for whatever a test waits for, on a busy machine."""
CLIENTS = 2
ITEMS = 6000
"""So many that building the indexes of a SQLite file takes a while."""
MOMENTS = 20
"""How many times a migration is killed, at moments that are spread over the time that it takes."""
PASSWORD = "correct horse battery"

LASTING = [name for name in engines.selected_above_the_store() if name != "memory"]
durable = pytest.mark.parametrize("engine", LASTING)
with_queues_for_locks = pytest.mark.parametrize("engine", [name for name in LASTING if name != "sqlite"])
"""Where one that waits for a lock keeps others from it. On SQLite nobody queues: whoever waits looks again."""


@dataclass(slots=True)
class Traffic:
    """Clients that read items and pages, and transfer an item of their own to and fro, each time with a new key."""

    http: AsyncClient
    people: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Two users: the id and the headers of each."""
    items: list[str] = field(default_factory=list)
    transfers: list[int] = field(default_factory=list)
    """How many of each item were acknowledged."""
    longest: float = 0.0
    stopped: bool = False

    async def prepare(self) -> None:
        for name in ("ada", "grace"):
            account = {"username": name, "password": PASSWORD}
            user = await self.http.post("/users", json=account | {"email": f"{name}@example.org"})
            token = await self.http.post("/auth/token", data=account)
            headers = {"Authorization": f"Bearer {token.json()['access_token']}"}
            self.people.append((user.json()["id"], headers))
        for number in range(CLIENTS):
            body = {"name": f"Item {number}", "price": 1}
            item = await self.http.post("/items", json=body, headers=self.people[0][1])
            self.items.append(item.json()["id"])
            self.transfers.append(0)

    async def client(self, number: int) -> None:
        while not self.stopped:
            done = self.transfers[number]
            (_, giver), (taker, _) = self.people[done % 2], self.people[1 - done % 2]
            await self.send("GET", f"/items/{self.items[number]}", headers=giver)
            await self.send("GET", "/items", headers=giver, params={"limit": "5"})
            await self.send(
                "POST",
                f"/items/{self.items[number]}/transfer",
                json={"to_user_id": taker},
                headers=giver | {"Idempotency-Key": f"{number}-{done}"},
            )
            self.transfers[number] += 1
            await asyncio.sleep(0.05)  # more would slow the migration down and say no more

    async def send(self, method: str, path: str, **options: Any) -> None:
        """Send the request, again while the answer is that the server is busy, until it succeeds."""
        began = time.monotonic()
        while True:
            answer = await self.http.request(method, path, **options)
            if answer.status_code != 503 or time.monotonic() - began > PATIENCE:
                break
        self.longest = max(self.longest, time.monotonic() - began)
        assert answer.status_code == 200, answer.text

    async def progress(self) -> None:
        """Return when each client has made another transfer that began after this was called."""
        goal = [number + 2 for number in self.transfers]
        async with asyncio.timeout(PATIENCE):
            while any(number < needed for number, needed in zip(self.transfers, goal, strict=True)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@dataclass(slots=True)
class Scene:
    """A server on a database of its own, under traffic."""

    database: Database
    folder: Path
    traffic: Traffic

    async def migrate(self, direction: str) -> None:
        run = await handover("migrate", direction, folder=self.folder, **self.settings)
        assert run.exit_code == 0, run.err

    async def start_migrating(self, direction: str) -> Forked:
        streams = Path(os.devnull), self.folder / "migration", self.folder / "migration"
        streams[1].touch()
        return await Forked.start(["migrate", direction], self.folder, environment(self.settings), *streams)

    @property
    def settings(self) -> dict[str, str]:
        return {"DATABASE_URL": self.database.settings.database_url}

    async def is_current(self) -> bool:
        return (await self.database.store.schema()).is_current


@asynccontextmanager
async def under_traffic(new_database: NewDatabase, folder: Path) -> AsyncIterator[Scene]:
    """Yield the scene; at the end, stop the traffic and see that nobody has waited and nothing is lost."""
    async with new_database() as database:
        settings = {
            "DATABASE_URL": database.settings.database_url,
            "SECRET_KEY": secrets.token_hex(32),
            "LOG_LEVEL": "warning",
        }
        async with served(folder, **settings) as server, server.client() as http:
            traffic = Traffic(http)
            await traffic.prepare()
            async with asyncio.TaskGroup() as clients:
                for number in range(CLIENTS):
                    clients.create_task(traffic.client(number))
                try:
                    await traffic.progress()
                    yield Scene(database, folder, traffic)
                    await traffic.progress()
                finally:
                    traffic.stopped = True
            assert traffic.longest < LONGEST_WAIT
            assert "Traceback" not in server.said
        assert await findings(database.store) == []
        for item, transfers in zip(traffic.items, traffic.transfers, strict=True):
            assert (await database.store.items.get(ItemId(UUID(item)))).item.transfers == transfers


async def findings(store: Store) -> list[str]:
    diagnosis = await CheckStore(store, utc_now)()
    return [
        f"{finding.kind} {finding.id}: {finding.problem}" for finding in diagnosis.findings if finding.kind != "setting"
    ]


@durable
async def test_a_server_answers_while_its_schema_goes_down_and_up(
    engine: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    async with under_traffic(new_database, tmp_path) as scene:
        await scene.migrate("down")
        await scene.traffic.progress()
        await scene.migrate("up")
        await scene.traffic.progress()
        await scene.migrate("down")
        await asyncio.gather(scene.migrate("up"), scene.migrate("up"))
        assert await scene.is_current()


# A migration that has to wait


@dataclass(slots=True)
class LongTransaction:
    """A transaction that is open, and keeps migrations from the lock that they need."""

    attempts: Callable[[], Awaitable[set[object]]]
    """Returns what identifies the attempt of a migration that waits at this moment, if one does."""

    async def see_it_retry(self, times: int) -> None:
        """Return when so many different attempts have been seen to wait."""
        seen: set[object] = set()
        async with asyncio.timeout(PATIENCE):
            while len(seen) < times:
                seen |= await self.attempts()
                await asyncio.sleep(0.02)


@asynccontextmanager
async def on_postgresql(url: str) -> AsyncIterator[LongTransaction]:
    """It has read items, and added a user that nobody else sees."""
    holder, watcher = await asyncpg.connect(url), await asyncpg.connect(url)

    async def attempts() -> set[object]:
        waiting = "SELECT query_start FROM pg_stat_activity WHERE datname = current_database()"
        waiting += " AND wait_event_type = 'Lock' AND query ~ '^\\s*(CREATE|DROP|ALTER)'"
        return {row["query_start"] for row in await watcher.fetch(waiting)}

    try:
        async with holder.transaction():
            columns = "email, username, password_hash, is_active, created_at, version"
            values = "gen_random_uuid(), 'carol@example.org', 'carol', 'x', true, now(), 1"
            await holder.execute(f"SELECT FROM items; INSERT INTO users (id, {columns}) VALUES ({values})")
            yield LongTransaction(attempts)
    finally:
        await holder.close()
        await watcher.close()


@asynccontextmanager
async def on_mongodb(url: str) -> AsyncIterator[LongTransaction]:
    """It has added an item that nobody else sees. The server would end it after five seconds, so that is changed."""
    client: AsyncMongoClient[dict[str, Any]]
    limit = "transactionLifetimeLimitSeconds"
    async with AsyncMongoClient(url, uuidRepresentation="standard") as client:
        database: AsyncDatabase[dict[str, Any]] = client.get_default_database()
        before = (await client.admin.command({"getParameter": 1, limit: 1}))[limit]
        await client.admin.command({"setParameter": 1, limit: 600})

        async def attempts() -> set[object]:
            own = {"waitingForLock": True, "ns": {"$regex": f"^{database.name}\\."}}
            pipeline: list[dict[str, Any]] = [{"$currentOp": {"allUsers": True}}, {"$match": own}]
            found: list[dict[str, Any]] = await (await client.admin.aggregate(pipeline)).to_list()
            return {operation["opid"] for operation in found}

        try:
            async with client.start_session() as session:
                await session.start_transaction()
                await database["items"].insert_one({"_id": "of the long transaction"}, session=session)
                yield LongTransaction(attempts)
                await session.abort_transaction()
        finally:
            await client.admin.command({"setParameter": 1, limit: before})


LONG_TRANSACTIONS: dict[str, Callable[[str], AbstractAsyncContextManager[LongTransaction]]] = {
    "postgresql": on_postgresql,
    "mongodb": on_mongodb,
}


@with_queues_for_locks
@pytest.mark.parametrize("direction", ["down", "up"])
async def test_a_migration_that_waits_lets_others_pass_and_can_be_killed(
    direction: str, engine: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    async with under_traffic(new_database, tmp_path) as scene:
        if direction == "up":
            await scene.database.store.downgrade()
        async with LONG_TRANSACTIONS[engine](scene.settings["DATABASE_URL"]) as long:
            migrating = await scene.start_migrating(direction)
            await long.see_it_retry(3)
            await scene.traffic.progress()
            assert migrating.returncode is None
            migrating.kill()
            await migrating.wait()
            again = await scene.start_migrating(direction)
            await long.see_it_retry(1)
        async with asyncio.timeout(PATIENCE):
            assert await again.wait() == 0, (tmp_path / "migration").read_text()
        assert await scene.is_current() == (direction == "up")
        await scene.database.store.upgrade()


@pytest.mark.parametrize("engine", [name for name in LASTING if name == "sqlite"])
async def test_on_sqlite_a_migration_gives_up_when_it_has_waited_for_a_writer(
    engine: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    async with new_database() as database:
        settings = {"DATABASE_URL": database.settings.database_url}
        await database.store.upgrade()
        owner = a_user()
        item = an_item(owner)
        await insert(database.store.begin, owner, item)
        with closing(sqlite3.connect(str(database.settings.sqlite_file), isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            run = asyncio.create_task(handover("migrate", "down", folder=tmp_path, **settings))
            while not run.done():
                assert (await database.store.items.get(item.id)).item == item
                await asyncio.sleep(0.05)
            writer.execute("ROLLBACK")
        assert run.result().exit_code == 1
        assert "is locked by another process" in run.result().err
        assert len(run.result().err.splitlines()) == 1
        assert (await handover("migrate", "down", folder=tmp_path, **settings)).exit_code == 0


@pytest.mark.parametrize("engine", [name for name in LASTING if name == "sqlite"])
@pytest.mark.parametrize("direction", ["down", "up"])
async def test_a_migration_of_sqlite_that_was_killed_in_the_middle_is_undone(
    direction: str, engine: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    async with new_database() as database:
        await database.store.upgrade()
        owner = a_user()
        await insert(database.store.begin, owner)
        await database.store.stream.write([an_item(owner) for _ in range(ITEMS)])
        if direction == "up":
            await database.store.downgrade()
        scene = Scene(database, tmp_path, Traffic(AsyncClient()))
        before = await database.store.schema()

        migrating = await scene.start_migrating(direction)
        await until_amid_changes(database)
        migrating.kill()
        assert await migrating.wait() == -signal.SIGKILL
        assert await database.store.schema() == before

        await scene.migrate(direction)
        await database.store.upgrade()
        assert await findings(database.store) == []
        assert await database.store.stream.count(Item) == ITEMS


async def until_amid_changes(database: Database) -> None:
    """Return when another process has been seen ten times with the write lock on the SQLite file.

    Then it is past its first statements, and would have committed them if it committed each by itself.
    """
    seen = 0
    with closing(sqlite3.connect(str(database.settings.sqlite_file), isolation_level=None, timeout=0)) as prober:
        async with asyncio.timeout(PATIENCE):
            while seen < 10:
                try:
                    prober.execute("BEGIN IMMEDIATE")
                    prober.execute("ROLLBACK")
                except sqlite3.OperationalError:
                    seen += 1
                await asyncio.sleep(0.001)


@pytest.mark.skipif(not FULL, reason="only with FAULTS=full")
@durable
async def test_a_migration_that_was_killed_at_any_moment_is_done_by_the_next(
    engine: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    async with new_database() as database:
        await database.store.upgrade()
        owner = a_user()
        items = [an_item(owner) for _ in range(300)]
        await insert(database.store.begin, owner, *items)
        scene = Scene(database, tmp_path, Traffic(AsyncClient()))
        began = time.monotonic()
        await scene.migrate("down")
        seconds = time.monotonic() - began
        for number in range(MOMENTS):
            direction = "down" if await scene.is_current() else "up"
            migrating = await scene.start_migrating(direction)
            await asyncio.sleep(seconds * (number + 1) / (MOMENTS + 1))
            migrating.kill()
            await migrating.wait()
            await database.store.upgrade()
            assert await scene.is_current()
            assert await findings(database.store) == []
            assert await database.store.stream.count(Item) == len(items)
