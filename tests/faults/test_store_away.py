"""A store that hangs or is cut off: requests are answered in time meanwhile, and all is well soon after its return.

`make test-faults` does this with the default deadline, and with locking transactions too.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from tests.faults.checks import FULL
from tests.faults.clients import PASSWORD, PATIENCE, Client, User, new_clients
from tests.faults.store_connections import all_are_usable, open_transactions, through, until_all_are_back
from tests.support import engines, servers
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.served import Served, served

POOL_SIZE = 3
CLIENTS = 2
"""For each connection, so that some wait for one, or for another client, when the store goes away."""
DEADLINE = 4.5 if FULL else 2.5
"""Seconds; 4.5 is the default. It is more than readiness waits for the store, so that this can say what is wrong."""
ROUNDS = 3 if FULL else 1
"""How many times requests of each kind are sent while the store is away."""
SECONDS_TO_ANSWER = DEADLINE + 0.5
SECONDS_TO_RECOVER = 10.0
BUSY_MACHINE = 3.0
"""Seconds that a machine may need in addition if it is busy with other things, and BUSY_ROUNDS times what the requests
take while all is well."""
BUSY_ROUNDS = 5

Store = servers.Postgres | servers.Mongo
SERVERS: dict[str, Callable[[], AbstractContextManager[Store]]] = {
    "postgresql": servers.postgres,
    "mongodb": servers.mongodb,
}
LOCKING = {"ISOLATION": "SERIALIZABLE"}
CASES: list[tuple[str, str, dict[str, str]]] = [
    ("postgresql", "hangs", LOCKING),
    ("postgresql", "cut off", {}),
    ("mongodb", "hangs", {}),
    *([("postgresql", "hangs", {}), ("postgresql", "cut off", LOCKING), ("mongodb", "cut off", {})] if FULL else []),
]


@dataclass(slots=True)
class Observer:
    """Sends requests and remembers how they were answered."""

    http: httpx2.AsyncClient
    user: User
    item: str
    slowest: float = 0.0
    """Seconds."""
    answers: dict[str, list[httpx2.Response]] = field(default_factory=dict)

    async def see(self, name: str, request: Awaitable[httpx2.Response | None]) -> bool:
        """Await an answer, and return whether it is one of success."""
        started = time.monotonic()
        answer = await request
        assert answer, "the connection was lost"
        self.slowest = max(self.slowest, time.monotonic() - started)
        self.answers.setdefault(name, []).append(answer)
        return answer.is_success

    async def ask_everything(self) -> bool:
        """Send one request of each kind at the same time; return whether all have succeeded."""
        account = {"username": self.user.name, "password": PASSWORD}
        headers = self.user.headers
        item = {"name": "item", "price": 1}
        http = self.http
        successes = await asyncio.gather(
            self.see("live", http.get("/health/live")),
            self.see("ready", http.get("/health/ready")),
            self.see("read", http.get(f"/items/{self.item}", headers=headers)),
            self.see("list", http.get("/items", headers=headers)),
            self.see("sign in", http.post("/auth/token", data=account)),
            self.see("create", http.post("/items", json=item, headers=headers)),
        )
        return all(successes)


@asynccontextmanager
async def running(
    engine: str, folder: Path, settings: dict[str, str]
) -> AsyncIterator[tuple[Served, Store, FaultProxy]]:
    """A server, its store, and the proxy between them."""
    with SERVERS[engine]() as store:
        async with fault_proxy(store.port) as proxy:
            settings = settings | {
                "DATABASE_URL": through(proxy, store.url),
                "LOG_LEVEL": "warning",
                "POOL_SIZE": str(POOL_SIZE),
                "REQUEST_DEADLINE": str(DEADLINE),
                "SECRET_KEY": secrets.token_hex(32),
            }
            async with served(folder, **settings) as server:
                yield server, store, proxy


@pytest.mark.parametrize(
    ("engine", "way", "settings"),
    [case for case in CASES if case[0] in engines.selected()],
    ids=lambda value: ("locking" if value else "default") if isinstance(value, dict) else value,
)
async def test_a_store_that_goes_away_and_comes_back(
    engine: str, way: str, settings: dict[str, str], tmp_path: Path
) -> None:
    async with (
        running(engine, tmp_path, settings) as (server, store, proxy),
        server.client() as http,
        asyncio.timeout(PATIENCE),
    ):
        pairs = [await new_clients(http, CLIENTS) for _ in range(POOL_SIZE)]
        clients = [client for pair in pairs for client in pair]
        stop = asyncio.Event()

        async def work(client: Client) -> None:
            """Transfer without a pause, so that requests are in all states when the store goes away and comes back."""
            while not stop.is_set():
                await client.transfer(http)

        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(work(client))
            while min(len(client.answers) for client in clients) < 3:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.005)

            started = time.monotonic()
            await Observer(http, clients[0].users[0], clients[0].item).ask_everything()
            more = BUSY_MACHINE + BUSY_ROUNDS * (time.monotonic() - started)

            away = Observer(http, clients[0].users[0], clients[0].item)
            done = sum(len(client.answers) for client in clients)
            (store.pause if way == "hangs" else proxy.stop)()
            for _ in range(ROUNDS):
                await away.ask_everything()
            done = sum(len(client.answers) for client in clients) - done
            (store.resume if way == "hangs" else proxy.go_on)()
            returned = time.monotonic()
            stop.set()
            assert away.slowest < SECONDS_TO_ANSWER + more
            check_answers(away)
            assert done <= len(clients)  # those that the store had answered by then

        back = Observer(http, clients[0].users[0], clients[0].item)
        while not await back.ask_everything():
            assert time.monotonic() - returned < SECONDS_TO_RECOVER + more, back.answers
            await asyncio.sleep(0.05)
        assert time.monotonic() - returned < SECONDS_TO_RECOVER + more
        slowest = max(back.slowest, *(client.slowest for client in clients))
        assert slowest < SECONDS_TO_ANSWER + more

        while await open_transactions(store.url):
            assert time.monotonic() - returned < SECONDS_TO_RECOVER + more
            await asyncio.sleep(0.05)
        await until_all_are_back(http)
        await all_are_usable(proxy, POOL_SIZE, http, [client for client, *_ in pairs])
        for client in clients:
            await client.check(http)
        assert "Traceback" not in server.said


def check_answers(away: Observer) -> None:
    """Check the answers while the store was away."""
    assert {answer.status_code for answer in away.answers.pop("live")} == {200}
    for name, answers in away.answers.items():
        assert {answer.status_code for answer in answers} == {503}, name
        assert all(answer.headers["Retry-After"] == "1" for answer in answers), name
    for answer in away.answers["ready"]:
        assert answer.json()["type"] == "/problems/store-unavailable"
        assert "store" in answer.json()["detail"]
