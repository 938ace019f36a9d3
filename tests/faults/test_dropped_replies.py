"""Replies that are lost after the work was done: every transfer happens once, and its answer can be had again.

`make test-faults` drops many more of them.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from interfaces.certification.database import NewDatabase
from tests.faults.clients import FULL, Client, checked, new_clients, sign_up, through
from tests.support import engines
from tests.support.exchanges import MongoCommits, PostgresCommits, SuccessfulPosts
from tests.support.fault_proxy import DroppedReplies, FaultProxy, fault_proxy
from tests.support.served import Served, served

CLIENTS = 4
DROPPED = 200 if FULL else 12
"""How many replies are dropped at least in each test."""
PATIENCE = 300.0
COMMITS = {"postgresql": PostgresCommits, "mongodb": MongoCommits}
TRANSACTIONS = {"optimistic": {}, "locking": {"ISOLATION": "SERIALIZABLE"}}

on_each_path = pytest.mark.parametrize(
    ("engine", "transactions"),
    [
        (engine, transactions)
        for engine, transactions in (("postgresql", "optimistic"), ("postgresql", "locking"), ("mongodb", "locking"))
        if engine in engines.selected()
    ],
)


@asynccontextmanager
async def behind_a_proxy(
    engine: str, new_database: NewDatabase, folder: Path, **settings: str
) -> AsyncIterator[tuple[Served, FaultProxy]]:
    """A server, and the proxy through which it reaches its database."""
    async with new_database() as database:
        url = database.settings.database_url
        address = urlsplit(url)
        assert address.hostname
        assert address.port
        async with fault_proxy(address.port, address.hostname) as proxy:
            settings |= {"SECRET_KEY": secrets.token_hex(32), "LOG_LEVEL": "warning"}
            async with served(folder, DATABASE_URL=through(proxy, url), **settings) as server:
                yield server, proxy


async def transfer_until_dropped(clients: list[Client], http: httpx2.AsyncClient, drops: DroppedReplies) -> None:
    async def work(client: Client) -> None:
        while drops.dropped < DROPPED:
            await client.transfer(http)

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(work(client))


@on_each_path
@pytest.mark.parametrize("every", [1, 2])
async def test_transfers_whose_commit_is_not_confirmed_happen_once(
    engine: str, transactions: str, every: int, new_database: NewDatabase, tmp_path: Path
) -> None:
    async with (
        behind_a_proxy(engine, new_database, tmp_path, **TRANSACTIONS[transactions]) as (server, proxy),
        server.client() as http,
    ):
        clients = await new_clients(http, CLIENTS)
        proxy.reset()
        proxy.drops = drops = DroppedReplies(COMMITS[engine], every)
        proxy.go_on()
        await transfer_until_dropped(clients, http, drops)
        proxy.drops = None
        print(drops, [client.repeated for client in clients], [len(c.answers) for c in clients])
        for client in clients:
            await client.check(http)
    assert "Traceback" not in server.said
