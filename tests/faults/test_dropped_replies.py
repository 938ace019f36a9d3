"""Replies that get lost after the work was done: it is done once, and its answer can be had again.

`make test-faults` drops many more.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from interfaces.certification.database import NewDatabase
from tests.faults.checks import FULL
from tests.faults.clients import PATIENCE, Client, checked, new_clients, sign_up
from tests.faults.store_connections import through
from tests.support import engines
from tests.support.clients.exchanges import MongoCommits, PostgresCommits, SuccessfulPosts
from tests.support.fault_proxy import DroppedReplies, Exchange, FaultProxy, fault_proxy
from tests.support.served import Served, served

CLIENTS = 4
DROPPED = 200 if FULL else 10
"""At least so many replies are dropped in each test."""
COMMITS: dict[str, Callable[[], Exchange]] = {
    "postgresql": PostgresCommits,
    "sqlmodel-postgresql": PostgresCommits,
    "mongodb": MongoCommits,
}
LOCKING = {"ISOLATION": "SERIALIZABLE"}
"""With this setting no transaction is optimistic: each locks, and ends with COMMIT."""


def on_engines(*cases: tuple[str, dict[str, str], int]) -> pytest.MarkDecorator:
    """Run a test with each case: an engine, the server's settings, and how many replies there are per dropped one."""
    names = [f"{engine}-{'locking' if settings else 'default'}-{every}" for engine, settings, every in cases]
    selected = [(case, name) for case, name in zip(cases, names, strict=True) if case[0] in engines.selected()]
    return pytest.mark.parametrize(
        ("engine", "settings", "every"), [case for case, _ in selected], ids=[name for _, name in selected]
    )


CASES: list[tuple[str, dict[str, str], int]] = [
    ("postgresql", {}, 2),
    ("postgresql", LOCKING, 2),
    ("sqlmodel-postgresql", {}, 2),
    ("mongodb", {}, 2),
]
MORE_CASES: list[tuple[str, dict[str, str], int]] = [
    ("postgresql", {}, 3),
    ("postgresql", LOCKING, 3),
    ("sqlmodel-postgresql", {}, 3),
    ("mongodb", {}, 3),
]


@asynccontextmanager
async def behind_a_proxy(
    new_database: NewDatabase, folder: Path, settings: dict[str, str]
) -> AsyncIterator[tuple[Served, FaultProxy]]:
    """A server, and the proxy between it and its database."""
    async with new_database() as database:
        url = database.settings.database_url
        address = urlsplit(url)
        assert address.hostname
        assert address.port
        async with fault_proxy(address.port, address.hostname) as proxy:
            settings = settings | {"SECRET_KEY": secrets.token_hex(32), "LOG_LEVEL": "warning"}
            settings["PERSISTENCE"] = database.settings.persistence
            async with served(folder, DATABASE_URL=through(proxy, url), **settings) as server:
                yield server, proxy


def drop_replies(proxy: FaultProxy, drops: DroppedReplies) -> None:
    """Begin to drop replies, on connections that begin from now on; the others are reset."""
    proxy.reset()
    proxy.drops = drops
    proxy.go_on()


async def transfer_until_dropped(clients: list[Client], http: httpx2.AsyncClient, drops: DroppedReplies) -> None:
    """Let each client do one transfer after another until enough replies were dropped."""

    async def work(client: Client) -> None:
        while drops.dropped < DROPPED:
            await client.transfer(http)

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(work(client))


@on_engines(*CASES, *(MORE_CASES if FULL else []))
async def test_a_transfer_whose_commit_is_not_confirmed_happens_once(
    settings: dict[str, str], every: int, engine: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    """Not every reply is dropped: a replay on PostgreSQL ends with a COMMIT, too, which has to be confirmed at last."""
    async with behind_a_proxy(new_database, tmp_path, settings) as (server, proxy), server.client() as http:
        clients = await new_clients(http, CLIENTS)
        drops = DroppedReplies(COMMITS[engine], every)
        drop_replies(proxy, drops)
        await transfer_until_dropped(clients, http, drops)
        proxy.drops = None
        for client in clients:
            await client.check(http)
        assert "Traceback" not in server.said


@on_engines(("postgresql", {}, 1), ("postgresql", LOCKING, 1))
async def test_without_a_key_a_change_whose_commit_is_not_confirmed_is_not_repeated(
    settings: dict[str, str], every: int, engine: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    """MongoDB is not here: its commit can be sent again, so it is confirmed in the end."""
    async with behind_a_proxy(new_database, tmp_path, settings) as (server, proxy), server.client() as http:
        user = await sign_up(http)
        drops = DroppedReplies(COMMITS[engine], every)
        drop_replies(proxy, drops)
        for _ in range(DROPPED):
            answer = await http.post("/items", json={"name": "item", "price": 1}, headers=user.headers)
            assert checked(answer, 503)["type"] == "/problems/outcome-unknown"
            assert answer.headers["Retry-After"]
        assert drops.dropped == DROPPED
        items = await http.get(f"/users/{user.id}/items?limit=1&count=true", headers=user.headers)
        assert checked(items, 200)["total"] == DROPPED


async def test_a_transfer_whose_answer_is_lost_happens_once(
    engine: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    async with new_database() as database:
        settings = {"DATABASE_URL": database.settings.database_url, "SECRET_KEY": secrets.token_hex(32)}
        async with (
            served(tmp_path, LOG_LEVEL="warning", **settings) as server,
            fault_proxy(server.port) as proxy,
            httpx2.AsyncClient(base_url=proxy.url(server.url), timeout=30) as http,
        ):
            clients = await new_clients(http, CLIENTS)
            drops = DroppedReplies(SuccessfulPosts, every=2)
            drop_replies(proxy, drops)
            await transfer_until_dropped(clients, http, drops)
            assert sum(client.repeated for client in clients) >= DROPPED
            drops.every = 10**9
            for client in clients:
                await client.check(http)
            assert "Traceback" not in server.said
