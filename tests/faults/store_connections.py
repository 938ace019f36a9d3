"""The connections between a server and its store: through a proxy, and what is left of them after faults."""

import asyncio
import re
from collections.abc import Awaitable
from typing import Any

import asyncpg
import httpx2
from pymongo import AsyncMongoClient

from tests.faults.clients import Client, checked
from tests.support.fault_proxy import FaultProxy

SECONDS_TO_WAIT = 30.0


def through(proxy: FaultProxy, url: str) -> str:
    """Return the URL of a database through the proxy. MongoDB's driver would otherwise connect to the server itself."""
    return proxy.url(url) + ("&directConnection=true" if url.startswith("mongodb") else "")


async def open_transactions(url: str) -> int:
    """Return how many transactions are open in a PostgreSQL database, or on a MongoDB server."""
    if url.startswith("postgresql"):
        sessions = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        connection = await asyncpg.connect(url)
        try:
            return int(await connection.fetchval(f"{sessions} AND state <> 'idle'"))
        finally:
            await connection.close()
    client: AsyncMongoClient[dict[str, Any]]
    async with AsyncMongoClient(url) as client:
        status = await client.admin.command("serverStatus")
        return int(status["transactions"]["currentOpen"])


async def until_all_are_back(http: httpx2.AsyncClient) -> None:
    """Wait until the server says that it uses no connection to the store, or thread of SQLite."""
    async with asyncio.timeout(SECONDS_TO_WAIT):
        while True:
            metrics = (await http.get("/metrics")).text
            in_use = re.findall(r"^handover_pool_in_use{.*} (.*)$", metrics, re.MULTILINE)
            if not any(map(float, in_use)):
                return
            await asyncio.sleep(0.05)


async def all_are_usable(proxy: FaultProxy, number: int, http: httpx2.AsyncClient, clients: list[Client]) -> None:
    """Check that so many reads, and then so many transfers, can use connections to the store at the same time.

    They meet at the proxy, which lets none pass until all are there. There must be as many clients, none of whom
    has a user in common with another one: on MongoDB they would wait for each other.
    """

    async def read(client: Client) -> None:
        checked(await http.get(f"/items/{client.item}", headers=client.users[0].headers), 200)

    async def meet(*requests: Awaitable[None]) -> None:
        proxy.requests.stop()
        sent = asyncio.gather(*requests)
        try:
            async with asyncio.timeout(SECONDS_TO_WAIT):
                while proxy.requests.stopped < number:  # noqa: ASYNC110 - there is no event for it
                    await asyncio.sleep(0.001)
        finally:
            proxy.requests.go_on()
            await sent

    await meet(*(read(client) for client in clients[:number]))
    await meet(*(client.transfer(http) for client in clients[:number]))
