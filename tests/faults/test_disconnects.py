"""Clients that disconnect at random moments: no connection to the store is lost, and what was confirmed stays.

`make test-faults` does this 500 times per engine.
"""

import asyncio
import json
import random
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from interfaces.certification.database import NewDatabase
from tests.faults.checks import FULL
from tests.faults.clients import PATIENCE, Client, new_clients
from tests.faults.store_connections import all_are_usable, open_transactions, through, until_all_are_back
from tests.support.fault_proxy import FaultProxy, fault_proxy, reset_connection
from tests.support.served import Served, served

DISCONNECTS = 500 if FULL else 40
POOL_SIZE = 4
"""So small that lost connections would soon be missed."""
SEED = 1


@asynccontextmanager
async def behind_a_proxy(
    engine: str, new_database: NewDatabase, folder: Path
) -> AsyncIterator[tuple[Served, str, FaultProxy | None]]:
    """A server, the URL of its database, and the proxy between them, if the database is a server of its own."""
    settings = {
        "LOG_LEVEL": "warning",
        "POOL_SIZE": str(POOL_SIZE),
        "POOL_TIMEOUT": "30",  # a busy machine changes nothing
        "REQUEST_DEADLINE": "30",
        "SECRET_KEY": secrets.token_hex(32),
    }
    async with new_database() as database:
        url = database.settings.database_url
        address = urlsplit(url)
        if not (address.port and address.hostname):
            async with served(folder, DATABASE_URL=url, **settings) as server:
                yield server, url, None
            return
        async with (
            fault_proxy(address.port, address.hostname) as proxy,
            served(folder, DATABASE_URL=through(proxy, url), **settings) as server,
        ):
            yield server, url, proxy


async def disconnect(server: Served, client: Client, chance: random.Random, usual: float) -> bytes:
    """Send the client's next request, or a part of it, and disconnect, in half of the cases by a reset.

    Do so after a random time of up to twice the seconds that requests usually take, or when an answer arrives. Return
    the body of the answer if it says that the transfer was done, as far as it has arrived, and nothing otherwise.
    """
    path, body, headers = client.request(len(client.answers))
    content = json.dumps(body)
    headers |= {"Host": "handover", "Content-Type": "application/json", "Content-Length": str(len(content))}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", content]
    request = "\r\n".join(lines).encode()
    if chance.random() < 0.2:
        request = request[: chance.randrange(len(request))]
    seconds, resets = chance.random() * 2 * usual, chance.random() < 0.5

    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    received = b""
    try:
        async with asyncio.timeout(seconds):
            received = await reader.read(64 * 1024)
    except TimeoutError:
        pass
    if resets:
        reset_connection(writer)
    writer.close()
    head, _, answer = received.partition(b"\r\n\r\n")
    return answer if head.startswith(b"HTTP/1.1 200 ") else b""


async def test_clients_that_disconnect_at_random_moments(
    engine: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    async with (
        behind_a_proxy(engine, new_database, tmp_path) as (server, url, proxy),
        server.client() as http,
        asyncio.timeout(PATIENCE),
    ):
        clients = [client for _ in range(POOL_SIZE) for client in await new_clients(http, 1)]
        answered = 0

        async def work(client: Client, chance: random.Random) -> None:
            """Disconnect, and then do the same transfer, again and again."""
            nonlocal answered
            started = time.monotonic()
            await client.transfer(http)
            usual = time.monotonic() - started
            for _ in range(DISCONNECTS // POOL_SIZE):
                seen = await disconnect(server, client, chance, usual)
                await client.transfer(http)
                assert client.answers[-1].encode().startswith(seen)
                answered += bool(seen)

        await asyncio.gather(
            *(work(client, random.Random(f"{SEED} {number}")) for number, client in enumerate(clients))
        )
        assert 0 < answered < DISCONNECTS
        await until_all_are_back(http)
        if proxy:
            while await open_transactions(url):  # noqa: ASYNC110 - of requests whose client has gone
                await asyncio.sleep(0.01)
            await all_are_usable(proxy, POOL_SIZE, http, clients)
        await asyncio.gather(*(client.transfer(http) for client in clients))
        for client in clients:
            await client.check(http)
        assert "Traceback" not in server.said
