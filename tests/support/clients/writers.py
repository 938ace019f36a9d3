"""Clients that transfer items over HTTP while something fails, and know afterwards what must be in the history.

Each writer has an item of its own, so it knows every row that the item's history must have.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx2

WRITERS = 8
PATIENCE = 60.0
"""Seconds in which all writers must go on. On an idle machine it takes a few at most: MongoDB keeps the locks of a
killed server for five."""
PAUSE = 0.05
"""Seconds between a request that was not acknowledged and the next try."""
REST = 0.01
"""Seconds between an acknowledgement and the next request, which leave the processor to others."""
READ_AGAIN = 5
"""How many of a writer's last answers must be had again with their keys."""

Headers = dict[str, str]


@dataclass(slots=True)
class Writer:
    """Hands one item to and fro between two users, each time under a new key and until that is acknowledged."""

    users: Sequence[str]
    headers: Sequence[Headers]
    """Those that sign in each of the users."""
    item: str
    answers: list[str] = field(default_factory=list)
    """The bodies of the acknowledged answers: that of the first transfer, of the second, and so on."""
    acknowledged_at: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    """How often a request was not acknowledged, by status and code or by the exception."""
    sent_again: set[int] = field(default_factory=set)
    """The transfers, counted from 0, for which a request was not acknowledged."""

    @property
    def done(self) -> int:
        return len(self.answers)

    async def send(self, http: httpx2.AsyncClient, number: int) -> httpx2.Response:
        """Send the request of the transfer with this number, counted from 0."""
        giver, taker = number % 2, 1 - number % 2
        return await http.post(
            f"/items/{self.item}/transfer",
            json={"to_user_id": self.users[taker]},
            headers={**self.headers[giver], "Idempotency-Key": f"{self.item}-{number}"},
        )

    async def transfer(self, http: httpx2.AsyncClient) -> bool:
        """Send the next transfer once; return whether it is acknowledged.

        If the server asks for a retry, note that and return False. Raise AssertionError for any other answer but an
        acknowledgement, and httpx2.TransportError if there is none.
        """
        try:
            answer = await self.send(http, self.done)
        except httpx2.TransportError as error:
            self._not_acknowledged(type(error).__name__)
            raise
        if answer.status_code in (409, 503) and "Retry-After" in answer.headers:
            self._not_acknowledged(f"{answer.status_code} {answer.json()['type'].rpartition('/')[2]}")
            return False
        assert answer.status_code == 200, f"transfer {self.done} of {self.item}: {answer.text}"
        version = answer.json()["version"]
        assert version == self.done + 2, f"transfer {self.done} of {self.item} made version {version}: one is lost"
        self.answers.append(answer.text)
        self.acknowledged_at.append(time.monotonic())
        return True

    def _not_acknowledged(self, why: str) -> None:
        self.refused[why] += 1
        self.sent_again.add(self.done)

    async def check(self, http: httpx2.AsyncClient) -> None:
        """Raise AssertionError unless the history has each acknowledged transfer once, and nothing else."""
        rows = await history(http, self.item, self.headers[0])
        assert [row["number"] for row in rows] == list(range(1, self.done + 1))
        assert [row["version"] for row in rows] == list(range(2, self.done + 2))
        assert [row["from_user_id"] for row in rows] == [self.users[number % 2] for number in range(self.done)]
        assert [row["to_user_id"] for row in rows] == [self.users[1 - number % 2] for number in range(self.done)]
        item = (await http.get(f"/items/{self.item}", headers=self.headers[0])).json()
        assert (item["owner_id"], item["version"]) == (self.users[self.done % 2], self.done + 1)

        sent_again = {number for number in self.sent_again if number < self.done}
        for number in sorted({*sent_again, *range(max(0, self.done - READ_AGAIN), self.done)}):
            again = await self.send(http, number)
            assert (again.status_code, again.text) == (200, self.answers[number])
            assert again.headers["Idempotency-Replayed"] == "true"
        assert len(await history(http, self.item, self.headers[0])) == self.done


@dataclass(slots=True)
class Writers:
    """All writers of a test, which go on until `stopped`."""

    all: list[Writer]
    stopped: bool = False

    @property
    def done(self) -> int:
        return sum(writer.done for writer in self.all)

    @property
    def refused(self) -> Counter[str]:
        """How many requests were not acknowledged, by status and code or by the exception."""
        return sum((writer.refused for writer in self.all), Counter())

    async def write(self, http: httpx2.AsyncClient, writer: Writer, *, lost: type[Exception] | tuple[()]) -> None:
        """Transfer until stopped, and finish the last transfer; `lost` are errors after which to send it again."""
        sure = True
        while not (self.stopped and sure):
            try:
                sure = await writer.transfer(http)
            except lost:
                sure = False
            await asyncio.sleep(REST if sure else PAUSE)

    async def more(self, count: int) -> None:
        """Wait until so many more transfers have been acknowledged in total."""
        enough = self.done + count
        await self._wait(lambda: self.done >= enough)

    async def each(self, count: int = 2) -> None:
        """Wait until each writer has so many more acknowledged. The first may have been sent before this call."""
        enough = [writer.done + count for writer in self.all]
        await self._wait(lambda: all(writer.done >= done for writer, done in zip(self.all, enough, strict=True)))

    async def _wait(self, reached: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not reached():  # noqa: ASYNC110 - there is no event for it
                    await asyncio.sleep(0.005)
        except TimeoutError:
            counts = [writer.done for writer in self.all]
            raise AssertionError(f"not served for {PATIENCE} s: {dict(self.refused)}, done {counts}") from None

    def longest_pause(self, since: float) -> float:
        """The seconds between two acknowledgements, of whatever writers, that were longest from that time on."""
        moments = sorted(at for writer in self.all for at in writer.acknowledged_at)
        return max((after - before for before, after in pairwise(moments) if after >= since), default=0.0)

    async def check(self, http: httpx2.AsyncClient) -> None:
        for writer in self.all:
            await writer.check(http)


@asynccontextmanager
async def writing(url: str, *, number: int = WRITERS, server_is_killed: bool = False) -> AsyncIterator[Writers]:
    """Writers that transfer during the block, against the server at the URL, which may be replaced by another one.

    After the block each finishes its last transfer. If one of them fails, the block is cancelled and its error raised.
    Unless the server is killed in the block, it must answer every request.
    """
    async with httpx2.AsyncClient(base_url=url, timeout=30) as http:
        writers = Writers([await new_writer(http, n) for n in range(number)])
        async with asyncio.TaskGroup() as group:
            for writer in writers.all:
                lost = httpx2.TransportError if server_is_killed else ()
                group.create_task(writers.write(http, writer, lost=lost))
            yield writers
            writers.stopped = True


async def new_writer(http: httpx2.AsyncClient, number: int) -> Writer:
    """Its two users are its own: transfers to one user would wait for one another, or be run again."""
    pair = [await sign_up(http, f"user{number}{letter}") for letter in "ab"]
    item = await http.post("/items", json={"name": f"item {number}", "price": 1}, headers=pair[0][1])
    assert item.status_code == 201, item.text
    return Writer([id for id, _ in pair], [headers for _, headers in pair], item.json()["id"])


async def sign_up(http: httpx2.AsyncClient, name: str) -> tuple[str, Headers]:
    """Return the id of the new user, and the headers that sign them in."""
    account = {"username": name, "password": "correct horse battery"}
    user = await http.post("/users", json=account | {"email": f"{name}@example.org"})
    assert user.status_code == 201, user.text
    token = await http.post("/auth/token", data=account)
    assert token.status_code == 200, token.text
    return user.json()["id"], {"Authorization": f"Bearer {token.json()['access_token']}"}


async def history(http: httpx2.AsyncClient, item: str, headers: Headers) -> list[dict[str, Any]]:
    """All transfers of an item, page by page."""
    rows: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = await http.get(f"/items/{item}/transfers", params={"limit": "100"} | cursor, headers=headers)
        assert page.status_code == 200, page.text
        rows += page.json()["items"]
        if page.json()["next_cursor"] is None:
            return rows
        cursor = {"cursor": page.json()["next_cursor"]}
