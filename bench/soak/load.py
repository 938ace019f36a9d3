"""The mixed load of a soak: a fixed number of people who sign up, do this and that for a while, and leave."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from httpx2 import AsyncClient, Response, TransportError

PASSWORD = "correct horse battery"
SESSION_ENDS = 100.0
"""Seconds after which a person signs in again, shortly before the session would expire."""
TOKEN_ENDS = 40.0
"""Seconds after which a person refreshes the access token, which is valid for a minute."""
ITEMS = 8
"""An owner of this many items deletes one instead of registering another, so that the number of items stays level."""
TASKS = 5
SECONDS_BETWEEN_ARRIVALS = 1.0
"""At the beginning, when nobody is there yet: hashing all their passwords at once would keep a small machine busy."""
STAY = 120
"""How many things a person does between sign-up and leaving, on average."""


class Pace:
    """Lets requests through at a fixed rate, however many wait for it."""

    def __init__(self, rate: float) -> None:
        self._seconds = 1 / rate
        self._next = time.monotonic()

    async def wait(self) -> None:
        """Return when it is this request's turn. A delay is not made up for by a burst."""
        now = time.monotonic()
        self._next = max(self._next + self._seconds, now)
        await asyncio.sleep(self._next - now)


@dataclass(slots=True)
class Tally:
    """What the load has seen so far."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    """How many answers there were, by what was done and the status."""
    transport_errors: Counter[str] = field(default_factory=Counter)
    """Connections that failed and answers that did not come, by what was done."""
    unexpected: dict[str, str] = field(default_factory=dict)
    """The first of each kind of answer that the load did not expect."""
    transfers: int = 0
    """How many rows the history has, at most. They are kept for good, so the store grows with them."""
    longest: float = 0.0
    """Seconds of the slowest answer."""

    @property
    def requests(self) -> int:
        return self.answers.total()

    @property
    def server_errors(self) -> int:
        return sum(number for (_, status), number in self.answers.items() if status >= 500)


@dataclass(slots=True)
class Load:
    """`people` clients that share the rate. `seed` determines what they do, but not when their requests meet."""

    url: str
    rate: float
    people: int
    seed: int = 1
    tally: Tally = field(default_factory=Tally)
    present: dict[str, "Person"] = field(default_factory=dict)
    """Those who are signed up, by id; items are transferred to them."""

    async def run(self, until: float) -> None:
        """Keep all people busy until this time of the monotonic clock; then all leave."""
        pace, chance = Pace(self.rate), random.Random(self.seed)

        async def come_and_go(number: int) -> None:
            await asyncio.sleep(number * SECONDS_BETWEEN_ARRIVALS)
            generation = 0
            while time.monotonic() < until:
                # A connection of one's own, which any worker may accept.
                async with AsyncClient(base_url=self.url, timeout=15, verify=False) as http:
                    person = Person(self, http, pace, random.Random(chance.random()), f"p{number}x{generation}")
                    await person.live(until)
                generation += 1

        await asyncio.gather(*(come_and_go(number) for number in range(self.people)))


@dataclass(slots=True)
class Item:
    id: str
    version: int = 1


@dataclass(slots=True)
class Person:
    """One account, from its sign-up to its deletion."""

    load: Load
    http: AsyncClient
    pace: Pace
    chance: random.Random
    name: str
    id: str = ""
    tokens: dict[str, Any] = field(default_factory=dict)
    signed_in_at: float = 0.0
    refreshed_at: float = 0.0
    items: list[Item] = field(default_factory=list)
    """Those that the person registered or was given, and has not transferred since."""
    tasks: list[str] = field(default_factory=list)
    keys: int = 0

    async def live(self, until: float) -> None:
        """Sign up, act at random until it is time to leave, and leave."""
        account = {"username": self.name, "password": PASSWORD, "email": f"{self.name}@example.org"}
        created = await self.send("sign up", "POST", "/users", {201}, json=account)
        if created is None or created.status_code != 201:
            return
        self.id = created.json()["id"]
        await self.sign_in()
        self.load.present[self.id] = self
        for _ in range(self.chance.randrange(STAY // 2, STAY * 3 // 2)):
            if time.monotonic() >= until:
                break
            await self.stay_signed_in()
            if not self.tokens:
                continue
            [act] = self.chance.choices(*ACTS)
            await act(self)
        await self.leave()

    async def send(self, what: str, method: str, path: str, expected: set[int], **options: Any) -> Response | None:
        """Send a request at the load's pace and count its answer; return None if there was none."""
        await self.pace.wait()
        began = time.monotonic()
        tally = self.load.tally
        headers = options.pop("headers", {})
        if self.tokens:
            headers |= {"Authorization": f"Bearer {self.tokens['access_token']}"}
        try:
            answer = await self.http.request(method, path, headers=headers, **options)
        except TransportError as error:
            tally.transport_errors[f"{what}: {type(error).__name__}"] += 1
            return None
        tally.longest = max(tally.longest, time.monotonic() - began)
        tally.answers[what, answer.status_code] += 1
        if answer.status_code not in expected:
            tally.unexpected.setdefault(f"{what}: {answer.status_code}", answer.text)
        return answer

    def new_key(self) -> dict[str, str]:
        self.keys += 1
        return {"Idempotency-Key": f"{self.name}-{self.keys}"}

    # Sessions

    async def sign_in(self) -> None:
        """Begin a session; an earlier one is left to expire."""
        self.tokens = {}
        form = {"username": self.name, "password": PASSWORD}
        answer = await self.send("sign in", "POST", "/auth/token", {200}, data=form)
        self.keep_tokens(answer)
        self.signed_in_at = time.monotonic()

    def keep_tokens(self, answer: Response | None) -> None:
        if answer is not None and answer.status_code == 200:
            self.tokens = answer.json()
        self.refreshed_at = time.monotonic()

    async def stay_signed_in(self) -> None:
        now = time.monotonic()
        if not self.tokens or now - self.signed_in_at > SESSION_ENDS:
            await self.sign_in()
        elif now - self.refreshed_at > TOKEN_ENDS:
            await self.refresh()

    async def refresh(self) -> None:
        if self.tokens:
            body = {"refresh_token": self.tokens["refresh_token"]}
            self.keep_tokens(await self.send("refresh", "POST", "/auth/refresh", {200}, json=body))

    async def use_a_refresh_token_twice(self) -> None:
        """Which ends the session."""
        if self.tokens:
            used = self.tokens["refresh_token"]
            await self.refresh()
            await self.send("refresh again", "POST", "/auth/refresh", {401}, json={"refresh_token": used})
            await self.sign_in()

    async def mistype(self) -> None:
        """A wrong password, which is counted."""
        form = {"username": self.name, "password": "wrong horse battery"}
        await self.send("wrong password", "POST", "/auth/token", {401, 429}, data=form)

    # Reading

    async def read_an_item(self) -> None:
        """One's own, or somebody else's, also with the version that one knows."""
        if item := self.someones_item():
            headers = {"If-None-Match": f'"{item.version}"'} if self.chance.random() < 0.3 else {}
            await self.send("read item", "GET", f"/items/{item.id}", {200, 304, 404}, headers=headers)

    async def walk(self) -> None:
        """Two pages of all items, in one of several orders."""
        params = {"limit": "10", "sort": self.chance.choice(["created_at", "-price", "name"])}
        first = await self.send("page", "GET", "/items", {200}, params=params)
        if first is not None and first.status_code == 200 and (cursor := first.json()["next_cursor"]):
            await self.send("next page", "GET", "/items", {200}, params=params | {"cursor": cursor})

    async def look_around(self) -> None:
        path = self.chance.choice([f"/users/{self.id}/items", "/users/me", "/tasks", "/tasks/recent", "/users"])
        await self.send("look around", "GET", path, {200})

    async def read_a_history(self) -> None:
        if item := self.someones_item():
            await self.send("read history", "GET", f"/items/{item.id}/transfers", {200, 404})

    def someones_item(self) -> Item | None:
        person = self.chance.choice([*self.load.present.values(), self])
        return self.chance.choice(person.items) if person.items else None

    # Items

    async def register_or_delete(self) -> None:
        if len(self.items) >= ITEMS:
            await self.delete(self.items.pop(self.chance.randrange(len(self.items))).id)
            return
        body = {"name": f"Item of {self.name}", "price": self.chance.randrange(1000), "description": "x" * 200}
        answer = await self.send("register", "POST", "/items", {201}, json=body, headers=self.new_key())
        if answer is not None and answer.status_code == 201:
            self.items.append(Item(answer.json()["id"]))

    async def delete(self, item: str) -> None:
        await self.send("delete item", "DELETE", f"/items/{item}", {204, 403, 404})

    async def transfer(self) -> None:
        """Give an item away, and in one of four cases send the same request again."""
        if not self.items or len(self.load.present) < 2:
            return
        item = self.items.pop(self.chance.randrange(len(self.items)))
        to = self.chance.choice([person for person in self.load.present.values() if person is not self])
        key = self.new_key()
        body, expected = {"to_user_id": to.id}, {200, 403, 404, 409, 422}
        answer = await self.send("transfer", "POST", f"/items/{item.id}/transfer", expected, json=body, headers=key)
        self.load.tally.transfers += 1
        if answer is None or answer.status_code != 200:
            return
        item.version = answer.json()["version"]
        to.items.append(item)
        if self.chance.random() < 0.25:
            again = await self.send(
                "transfer again", "POST", f"/items/{item.id}/transfer", {200}, json=body, headers=key
            )
            if again is not None and again.content != answer.content:
                self.load.tally.unexpected["transfer again: another answer"] = again.text

    async def change(self) -> None:
        """With the current version, or in one of four cases with an old one, which is refused."""
        if not self.items:
            return
        item = self.chance.choice(self.items)
        stale = self.chance.random() < 0.25
        answer = await self.send(
            "change with an old version" if stale else "change",
            "PATCH",
            f"/items/{item.id}",
            {412, 403, 404} if stale else {200, 412, 403, 404},
            json={"price": self.chance.randrange(1000)},
            headers={"If-Match": f'"{item.version + (1000 if stale else 0)}"'},
        )
        if answer is not None and answer.status_code == 200:
            item.version = answer.json()["version"]

    # Tasks

    async def work_on_a_task(self) -> None:
        if len(self.tasks) < TASKS:
            body = {"title": f"Task of {self.name}"}
            answer = await self.send("create task", "POST", "/tasks", {201}, json=body, headers=self.new_key())
            if answer is not None and answer.status_code == 201:
                self.tasks.append(answer.json()["id"])
        elif self.chance.random() < 0.5:
            path = f"/tasks/{self.chance.choice(self.tasks)}"
            await self.send("change task", "PATCH", path, {200}, json={"status": "completed"})
        else:
            path = f"/tasks/{self.tasks.pop()}"
            await self.send("delete task", "DELETE", path, {200})

    # Leaving

    async def disconnect(self) -> None:
        """Send a request over a connection of its own, and close that before the answer, at a random moment."""
        await self.pace.wait()
        parts = urlsplit(self.load.url)
        head = "GET /items?limit=50 HTTP/1.1", ""
        if self.items and self.chance.random() < 0.6:
            item, to = self.chance.choice(self.items), self.chance.choice([*self.load.present])
            body = json.dumps({"to_user_id": to})
            head = f"POST /items/{item.id}/transfer HTTP/1.1", body
            self.load.tally.transfers += 1
        lines = [
            head[0],
            f"Host: {parts.netloc}",
            f"Authorization: Bearer {self.tokens.get('access_token', '')}",
            "Content-Type: application/json",
            f"Content-Length: {len(head[1])}",
            *(f"{name}: {value}" for name, value in self.new_key().items()),
        ]
        try:
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write("\r\n".join([*lines, "", head[1]]).encode())
            await writer.drain()
            await asyncio.sleep(self.chance.choice([0, 0.001, 0.005, 0.02]))
            writer.transport.abort()
        except OSError as error:
            self.load.tally.transport_errors[f"disconnect: {type(error).__name__}"] += 1
        else:
            self.load.tally.answers["disconnect", 0] += 1

    async def leave(self) -> None:
        """Delete all items, which others may go on transferring to this person meanwhile, and then the account."""
        self.load.present.pop(self.id, None)
        for _ in range(20):
            await self.stay_signed_in()
            if not self.tokens:
                continue
            mine = await self.send("look around", "GET", f"/users/{self.id}/items", {200}, params={"limit": "100"})
            if mine is None or mine.status_code != 200:
                return
            for item in mine.json()["items"]:
                await self.delete(item["id"])
            answer = await self.send("delete account", "DELETE", f"/users/{self.id}", {204, 409})
            if answer is not None and answer.status_code == 204:
                return
        self.load.tally.unexpected["delete account: still refused after 20 attempts"] = self.id


Act = Callable[[Person], Awaitable[None]]
_WEIGHTS: dict[Act, float] = {
    Person.read_an_item: 25,
    Person.walk: 8,
    Person.look_around: 8,
    Person.read_a_history: 3,
    Person.register_or_delete: 14,
    Person.transfer: 18,
    Person.change: 10,
    Person.work_on_a_task: 10,
    Person.refresh: 2,
    Person.use_a_refresh_token_twice: 0.2,
    Person.mistype: 0.3,
    Person.disconnect: 3,
}
ACTS: tuple[list[Act], list[float]] = [*_WEIGHTS], [*_WEIGHTS.values()]
"""What people do, and how often in comparison."""
