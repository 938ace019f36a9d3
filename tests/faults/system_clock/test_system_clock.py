"""The clock of the system jumps back by an hour and forward by a day under a server, by means of libfaketime."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.served import Served, environment, served

PASSWORD = "correct horse battery"
WINDOW = 15 * 60


@dataclass
class FakedClock:
    """The clock of all processes that are started with this wrapper. Durations are measured by another one."""

    file: Path

    def set(self, offset: str) -> None:
        """Set it relative to the real time, for example `-1h`."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{offset}\n")
        new.replace(self.file)

    @property
    def wrapper(self) -> str:
        preloaded = subprocess.run(
            ["faketime", "-f", "+0", "printenv", "LD_PRELOAD"], check=True, capture_output=True, text=True
        )
        options = ["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1"]
        library = f"LD_PRELOAD={preloaded.stdout.strip()}"
        return " ".join(["env", library, f"FAKETIME_TIMESTAMP_FILE={self.file}", *options])


@pytest.fixture
def clock(tmp_path: Path) -> FakedClock:
    if not shutil.which("faketime"):
        pytest.fail("the test of the system clock needs faketime: install it (Debian, Ubuntu: faketime)", pytrace=False)
    clock = FakedClock(tmp_path / "clock")
    clock.set("+0")
    return clock


@dataclass
class Ada:
    """A client who signs in again by the refresh token when the access token does not work any more."""

    http: httpx2.AsyncClient
    id: str
    tokens: dict[str, Any]

    async def refresh(self) -> None:
        answer = await self.http.post("/auth/refresh", json={"refresh_token": self.tokens["refresh_token"]})
        assert answer.status_code == 200, answer.text
        self.tokens = answer.json()

    async def create(self, **headers: str) -> httpx2.Response:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers["Authorization"] = f"Bearer {self.tokens['access_token']}"
        return await self.http.post("/items", json={"name": "Lamp", "price": 1}, headers=headers)

    async def creates(self, **headers: str) -> str:
        answer = await self.create(**headers)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


async def sign_in(http: httpx2.AsyncClient, username: str, password: str = PASSWORD) -> httpx2.Response:
    return await http.post("/auth/token", data={"username": username, "password": password})


async def sign_up(http: httpx2.AsyncClient, username: str) -> str:
    account = {"email": f"{username}@example.org", "username": username, "password": PASSWORD}
    answer = await http.post("/users", json=account)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


@pytest.fixture
async def server(clock: FakedClock, tmp_path: Path) -> AsyncIterator[Served]:
    settings = {"PURGE_INTERVAL": "1", "REQUEST_DEADLINE": "60"}  # a busy machine may be slow
    async with served(tmp_path, wrapper=clock.wrapper, **settings) as server:
        yield server


@pytest.fixture
async def http(server: Served) -> AsyncIterator[httpx2.AsyncClient]:
    async with server.client() as http:
        yield http


@pytest.fixture
async def ada(http: httpx2.AsyncClient) -> Ada:
    id = await sign_up(http, "ada")
    return Ada(http, id, (await sign_in(http, "ada")).json())


async def lock_out(http: httpx2.AsyncClient, username: str) -> None:
    while (answer := await sign_in(http, username, "wrong password")).status_code == 401:
        pass
    assert answer.status_code == 429


def rows(folder: Path, table: str) -> int:
    with closing(sqlite3.connect(folder / "handover.db")) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


async def none_left(folder: Path, table: str) -> None:
    async with asyncio.timeout(60):
        while rows(folder, table):  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0.05)


async def doctor(folder: Path, clock: FakedClock) -> None:
    command = [*clock.wrapper.split(), sys.executable, "-m", "interfaces.cli.main", "doctor"]
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, env=environment({}))
    assert await process.wait() == 0


async def test_an_hour_back(server: Served, http: httpx2.AsyncClient, ada: Ada, clock: FakedClock) -> None:
    first = [await ada.creates(Idempotency_Key="key") for _ in range(2)]
    assert first[0] == first[1]
    await sign_up(http, "bob")
    await lock_out(http, "bob")
    clock.set("-1h")

    assert (await ada.create()).status_code == 401  # a token that is not valid yet
    await ada.refresh()
    created = [await ada.creates() for _ in range(20)]
    assert [*first[:1], *created] == sorted({*first, *created})
    refused = await sign_in(http, "bob")
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) <= WINDOW

    clock.set("-44m")  # 16 minutes later
    assert (await sign_in(http, "bob")).status_code == 200
    await doctor(server.log.parent, clock)


async def test_a_day_forward_and_back(server: Served, http: httpx2.AsyncClient, ada: Ada, clock: FakedClock) -> None:
    folder = server.log.parent
    before = await ada.creates(Idempotency_Key="key")
    await sign_up(http, "bob")
    await lock_out(http, "bob")
    clock.set("+1d")

    assert (await ada.create()).status_code == 401  # it has expired
    await ada.refresh()
    assert (await sign_in(http, "bob")).status_code == 200
    after = await ada.creates(Idempotency_Key="key")  # the key has expired, too
    assert before < after
    clock.set("+0")

    assert (await ada.create()).status_code == 401
    await ada.refresh()
    created = [await ada.creates() for _ in range(20)]
    assert [before, after, *created] == sorted([before, after, *created])
    await lock_out(http, "bob")
    clock.set("+2d")  # from which on the key has expired that was stored a day ahead
    await none_left(folder, "login_attempts")
    await ada.refresh()
    await doctor(folder, clock)
    assert "Traceback" not in server.said


async def test_the_purge_goes_on_after_a_day_back(server: Served, http: httpx2.AsyncClient, clock: FakedClock) -> None:
    folder = server.log.parent
    clock.set("+1d")
    await sign_in(http, "nobody")
    async with asyncio.timeout(60):
        while not rows(folder, "idempotency_keys"):  # noqa: ASYNC110 - the lease, which a worker has taken
            await asyncio.sleep(0.05)
    with closing(sqlite3.connect(folder / "handover.db")) as connection, connection:
        connection.execute("DELETE FROM login_attempts")
    clock.set("+0")
    await sign_in(http, "nobody")
    clock.set("+16m")
    await none_left(folder, "login_attempts")
