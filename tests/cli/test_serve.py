"""`handover serve` as it is run, on every engine: it serves, it is killed amid transfers, and nothing that it had
acknowledged is gone when it is back."""

import asyncio
import secrets
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from interfaces.certification.database import NewDatabase
from tests.support import engines
from tests.support.served import Served, served

CLIENTS = 6
TRANSFERS = 40
"""Of each client, so 240 in all."""
KILLED_AFTER = 60, 150
"""Acknowledged transfers."""
PATIENCE = 60.0
"""Seconds for the transfers of all clients; a killed unit of work keeps its locks on MongoDB for five."""

durable = pytest.mark.parametrize("engine", [name for name in engines.selected_above_the_store() if name != "memory"])


@dataclass(slots=True)
class Client:
    """Hands one item to and fro between two users, each time under a new key and until that is acknowledged."""

    headers: list[dict[str, str]]
    users: list[str]
    item: str
    done: int = 0
    answers: dict[str, str] = field(default_factory=dict)
    """By key, to be had again from then on."""
    sent_again: int = 0

    async def transfer(self, http: httpx2.AsyncClient, key: str) -> httpx2.Response:
        giver, taker = self.done % 2, 1 - self.done % 2
        return await http.post(
            f"/items/{self.item}/transfer",
            json={"to_user_id": self.users[taker]},
            headers=self.headers[giver] | {"Idempotency-Key": key},
        )

    async def work(self, http: httpx2.AsyncClient, acknowledged: "Acknowledged") -> None:
        while self.done < TRANSFERS:
            key = f"{self.item}-{self.done}"
            try:
                answer = await self.transfer(http, key)
            except httpx2.TransportError:
                self.sent_again += 1
                return  # the server is gone; this one's outcome is unknown
            if "Retry-After" in answer.headers:
                self.sent_again += 1
                await asyncio.sleep(0.1)
                continue
            assert answer.status_code == 200, answer.text
            assert answer.json()["version"] == self.done + 2
            self.answers[key] = answer.text
            self.done += 1
            acknowledged.one_more()


@dataclass(slots=True)
class Acknowledged:
    enough: int
    count: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def one_more(self) -> None:
        self.count += 1
        if self.count >= self.enough:
            self.reached.set()


async def sign_up(http: httpx2.AsyncClient, name: str) -> tuple[str, dict[str, str]]:
    account = {"username": name, "password": "correct horse battery"}
    user = await http.post("/users", json=account | {"email": f"{name}@example.org"})
    assert user.status_code == 201, user.text
    token = await http.post("/auth/token", data=account)
    assert token.status_code == 200, token.text
    return user.json()["id"], {"Authorization": f"Bearer {token.json()['access_token']}"}


async def new_client(http: httpx2.AsyncClient, number: int) -> Client:
    people = [await sign_up(http, f"user{number}{letter}") for letter in "ab"]
    item = await http.post("/items", json={"name": f"item {number}", "price": 1}, headers=people[0][1])
    assert item.status_code == 201, item.text
    return Client([headers for _, headers in people], [id for id, _ in people], item.json()["id"])


async def history(http: httpx2.AsyncClient, client: Client) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = await http.get(
            f"/items/{client.item}/transfers", params={"limit": "15"} | cursor, headers=client.headers[0]
        )
        assert page.status_code == 200, page.text
        rows += page.json()["items"]
        if page.json()["next_cursor"] is None:
            return rows
        cursor = {"cursor": page.json()["next_cursor"]}


@durable
async def test_what_was_acknowledged_survives_a_kill(engine: str, new_database: NewDatabase, tmp_path: Path) -> None:
    async with new_database() as database:
        settings = {
            "DATABASE_URL": database.settings.database_url,
            "PERSISTENCE": database.settings.adapter,
            "SECRET_KEY": secrets.token_hex(32),  # tokens outlive the process
            "LOG_LEVEL": "warning",
        }
        clients: list[Client] = []

        async def run_until_killed(server: Served, after: int) -> None:
            acknowledged = Acknowledged(after - sum(client.done for client in clients))
            async with server.client() as http, asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
                for client in clients:
                    group.create_task(client.work(http, acknowledged))
                await acknowledged.reached.wait()
                await server.kill()

        async with served(tmp_path, **settings) as server:
            async with server.client() as http:
                clients += [await new_client(http, number) for number in range(CLIENTS)]
            await run_until_killed(server, KILLED_AFTER[0])
        async with served(tmp_path, **settings) as server:
            await run_until_killed(server, KILLED_AFTER[1])
        assert sum(client.done for client in clients) < CLIENTS * TRANSFERS  # or it was killed too late
        assert sum(client.sent_again for client in clients) >= len(KILLED_AFTER)

        async with served(tmp_path, **settings) as server, server.client() as http:
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*(client.work(http, Acknowledged(1)) for client in clients))
            for client in clients:
                await check(http, client)
            assert await server.stop() == 0


async def check(http: httpx2.AsyncClient, client: Client) -> None:
    assert client.done == TRANSFERS
    rows = await history(http, client)
    assert [row["number"] for row in rows] == list(range(1, TRANSFERS + 1))
    assert [row["version"] for row in rows] == list(range(2, TRANSFERS + 2))
    givers = [client.users[number % 2] for number in range(TRANSFERS)]
    assert [row["from_user_id"] for row in rows] == givers
    assert [row["to_user_id"] for row in rows] == [*givers[1:], givers[0]]
    item = (await http.get(f"/items/{client.item}", headers=client.headers[0])).json()
    assert (item["owner_id"], item["version"]) == (rows[-1]["to_user_id"], TRANSFERS + 1)

    for client.done in range(TRANSFERS):
        key = f"{client.item}-{client.done}"
        again = await client.transfer(http, key)
        assert (again.status_code, again.text) == (200, client.answers[key])
        assert again.headers["Idempotency-Replayed"] == "true"
    assert len(await history(http, client)) == TRANSFERS


async def test_it_starts_serves_and_stops(engine: str, new_database: NewDatabase, tmp_path: Path) -> None:
    async with new_database() as database:
        settings = {"DATABASE_URL": database.settings.database_url, "PERSISTENCE": database.settings.adapter}
        async with served(tmp_path, **settings) as server:
            async with server.client() as http:
                assert (await http.get("/health/ready")).json() == {"status": "ready"}
                assert (await http.get("/docs")).status_code == 200
                client = await new_client(http, 0)
                assert (await client.transfer(http, "key")).status_code == 200
                assert [row["number"] for row in await history(http, client)] == [1]
                assert "server" not in (await http.get("/health/live")).headers
            assert await server.stop() == 0


async def test_workers_accept_one_another_s_tokens(engine: str, new_database: NewDatabase, tmp_path: Path) -> None:
    if engine == "memory":
        return  # which has one worker and refuses two: see tests/cli/test_refusals.py
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
