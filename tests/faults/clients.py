"""Clients whose items change hands, and who remember what they were told: for tests of what faults do to that."""

import asyncio
import itertools
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.faults.checks import FULL

PATIENCE = 900.0 if FULL else 120.0
"""Seconds after which a test is given up, far more than it takes."""
PASSWORD = "correct horse battery"
PAUSE = 0.02
"""Seconds before a request is sent again: fewer than `Retry-After` says, so that tests take less time."""


@dataclass(slots=True)
class User:
    id: str
    name: str
    headers: dict[str, str]


async def sign_up(http: httpx2.AsyncClient) -> User:
    name = f"user{secrets.token_hex(6)}"
    account = {"username": name, "password": PASSWORD}
    user = checked(await http.post("/users", json=account | {"email": f"{name}@example.org"}), 201)
    token = checked(await http.post("/auth/token", data=account), 200)
    return User(user["id"], name, {"Authorization": f"Bearer {token['access_token']}"})


def checked(answer: httpx2.Response, status: int) -> dict[str, Any]:
    """Return the body; raise AssertionError unless the answer has this status."""
    assert answer.status_code == status, f"{answer.request.method} {answer.request.url}: {answer.text}"
    body: dict[str, Any] = answer.json()
    return body


@dataclass(slots=True)
class Client:
    """Hands one item to and fro between two users. Each transfer has a key, and is sent until it is acknowledged."""

    users: list[User]
    item: str
    answers: list[str] = field(default_factory=list)
    """The answer to each transfer, in order."""
    repeated: int = 0
    """How many requests were sent again."""
    slowest: float = 0.0
    """The seconds that the slowest answer has taken."""

    async def transfer(self, http: httpx2.AsyncClient) -> None:
        """Do the next transfer; send it again after a lost connection, and after an answer with `Retry-After`."""
        while True:
            answer = await self.ask(http, len(self.answers))
            if answer and answer.status_code == 200:
                assert answer.json()["version"] == len(self.answers) + 2
                self.answers.append(answer.text)
                return
            assert answer is None or "Retry-After" in answer.headers, answer.text
            self.repeated += 1
            await asyncio.sleep(PAUSE)

    async def ask(self, http: httpx2.AsyncClient, number: int) -> httpx2.Response | None:
        """Send the request for one of the transfers once; return the answer, or None if the connection was lost."""
        path, body, headers = self.request(number)
        started = time.monotonic()
        try:
            return await http.post(path, json=body, headers=headers)
        except httpx2.TransportError:
            return None
        finally:
            self.slowest = max(self.slowest, time.monotonic() - started)

    def request(self, number: int) -> tuple[str, dict[str, str], dict[str, str]]:
        """Return the path, body and headers of the request for one of the transfers, which are numbered from 0."""
        giver, taker = self.users[number % 2], self.users[1 - number % 2]
        headers = giver.headers | {"Idempotency-Key": f"{self.item}-{number}"}
        return f"/items/{self.item}/transfer", {"to_user_id": taker.id}, headers

    async def history(self, http: httpx2.AsyncClient) -> list[dict[str, Any]]:
        """Return all transfers of the item."""
        rows: list[dict[str, Any]] = []
        address = f"/items/{self.item}/transfers?limit=100"
        while address:
            page = await http.get(address, headers=self.users[0].headers)
            rows += checked(page, 200)["items"]
            address = page.links["next"]["url"] if "next" in page.links else ""
        return rows

    async def check(self, http: httpx2.AsyncClient) -> None:
        """Check that the history has exactly the acknowledged transfers, and that each key repeats its answer."""
        done = len(self.answers)
        rows = await self.history(http)
        owners = [self.users[number % 2].id for number in range(done + 1)]
        assert [(row["from_user_id"], row["to_user_id"]) for row in rows] == [*itertools.pairwise(owners)]
        assert [row["number"] for row in rows] == [*range(1, done + 1)]
        assert [row["version"] for row in rows] == [*range(2, done + 2)]
        item = checked(await http.get(f"/items/{self.item}", headers=self.users[0].headers), 200)
        assert (item["owner_id"], item["version"]) == (owners[-1], done + 1)

        for number, first in enumerate(self.answers):
            again = await self.ask(http, number)
            assert again
            assert (again.status_code, again.text) == (200, first)
            assert again.headers["Idempotency-Replayed"] == "true"
        assert len(await self.history(http)) == done


async def new_clients(http: httpx2.AsyncClient, count: int) -> list[Client]:
    """Return clients with an item each, all of the same two users."""
    users = [await sign_up(http), await sign_up(http)]
    answers = [
        await http.post("/items", json={"name": "item", "price": 1}, headers=users[0].headers) for _ in range(count)
    ]
    return [Client(users, checked(answer, 201)["id"]) for answer in answers]
