"""Recording what concurrent clients see of the same items over HTTP."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from httpx2 import AsyncClient, Response, TransportError

from interfaces.certification.concurrency.checking import ItemHistory, Operation, Row

READS = 0.3
"""The share of reads among the operations."""
PASSWORD = "correct horse battery"


@dataclass(slots=True)
class Workload:
    """Clients that transfer and read a few items at the same time, in an order that the seed determines.

    `servers` are clients of one server or of several that share a store; each client uses one of them, and ends when
    that does not answer any more. The first one has to answer to the end.
    """

    servers: Sequence[AsyncClient]
    items: int = 5
    users: int = 4
    clients: int = 16
    operations: int = 300
    """How many of each client."""
    seed: int = 1
    _tokens: dict[str, str] = field(default_factory=dict)
    _owners: dict[str, str] = field(default_factory=dict)
    """The last known owner of each item, by item."""
    _recorded: dict[str, list[Operation]] = field(default_factory=dict)

    @property
    def recorded(self) -> int:
        """How many operations have ended so far, without reads that have failed."""
        return sum(map(len, self._recorded.values()))

    async def run(self) -> list[ItemHistory]:
        """Sign up the users, register the items, run all clients, and return what is known of each item."""
        creators = await self._prepare()
        await asyncio.gather(*(self._client(number) for number in range(self.clients)))
        return [await self._history(item, creator) for item, creator in creators.items()]

    async def _prepare(self) -> dict[str, str]:
        """Create the users and items; return the first owner of each item."""
        http = self.servers[0]
        for number in range(self.users):
            account = {"username": f"user{number}", "password": PASSWORD}
            user = _checked(await http.post("/users", json=account | {"email": f"user{number}@example.org"}), 201)
            token = _checked(await http.post("/auth/token", data=account), 200)
            self._tokens[user["id"]] = token["access_token"]
        creators: dict[str, str] = {}
        users = list(self._tokens)
        for number in range(self.items):
            owner = users[number % len(users)]
            item = _checked(
                await http.post("/items", json={"name": "item", "price": 1}, headers=self._headers(owner)), 201
            )
            creators[item["id"]] = self._owners[item["id"]] = owner
            self._recorded[item["id"]] = []
        return creators

    async def _client(self, number: int) -> None:
        """Do the operations of one client, one after another."""
        chance = random.Random(self.seed * 1000 + number)
        http = self.servers[number % len(self.servers)]
        for _ in range(self.operations):
            item = chance.choice(list(self._owners))
            if chance.random() < READS:
                await self._read(http, item, chance.choice(list(self._tokens)))
            else:
                giver = self._owners[item]
                taker = chance.choice([user for user in self._tokens if user != giver])
                if not await self._transfer(http, item, giver, taker):
                    return

    async def _read(self, http: AsyncClient, item: str, reader: str) -> None:
        """Read an item, and record what was seen."""
        began = time.monotonic()
        try:
            response = await http.get(f"/items/{item}", headers=self._headers(reader))
        except TransportError:
            return
        if response.status_code == HTTPStatus.OK:
            seen = response.json()
            self._record(item, "read", began, version=seen["version"], owner=seen["owner_id"])

    async def _transfer(self, http: AsyncClient, item: str, giver: str, taker: str) -> bool:
        """Transfer an item, without an idempotency key, and record the answer; return whether there is one."""
        began = time.monotonic()
        sides: dict[str, Any] = {"giver": giver, "taker": taker}
        try:
            response = await http.post(
                f"/items/{item}/transfer", json={"to_user_id": taker}, headers=self._headers(giver)
            )
        except TransportError:
            self._record(item, "transfer", began, outcome="unknown", **sides)
            return False
        if response.status_code == HTTPStatus.OK:
            moved = response.json()
            self._record(item, "transfer", began, version=moved["version"], owner=moved["owner_id"], **sides)
        elif response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
            self._record(item, "transfer", began, outcome="refused", **sides)
        else:
            self._record(item, "transfer", began, outcome="unknown", **sides)
        return True

    def _record(self, item: str, kind: Any, began: float, *, outcome: Any = "done", **seen: Any) -> None:
        """Add an operation that has just ended, and remember the owner that it has shown."""
        self._recorded[item].append(Operation(kind, outcome, began, time.monotonic(), **seen))
        if "owner" in seen:
            self._owners[item] = seen["owner"]

    async def _history(self, item: str, creator: str) -> ItemHistory:
        """Return what was recorded of an item, and what the server says of it now."""
        http, headers = self.servers[0], self._headers(creator)
        rows: list[Row] = []
        address = f"/items/{item}/transfers?limit=100"
        while address:
            response = await http.get(address, headers=headers)
            listed = _checked(response, 200)["items"]
            rows += [Row(one["number"], one["version"], one["from_user_id"], one["to_user_id"]) for one in listed]
            last, address = address, response.links["next"]["url"] if "next" in response.links else ""
            assert address != last, f"the page {address} is followed by itself"
        now = _checked(await http.get(f"/items/{item}", headers=headers), 200)
        return ItemHistory(creator, self._recorded[item], rows, now["version"], now["owner_id"])

    def _headers(self, user: str) -> dict[str, str]:
        """Return the header that signs in this user."""
        return {"Authorization": f"Bearer {self._tokens[user]}"}


def _checked(response: Response, status: int) -> dict[str, Any]:
    """Return the body; raise AssertionError unless the response has this status."""
    assert response.status_code == status, f"{response.request.method} {response.request.url}: {response.text}"
    body: dict[str, Any] = response.json()
    return body
