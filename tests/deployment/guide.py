"""The commands of docs/deployment.md, run as a reader would, and stores whose answers are compared before and after."""

import asyncio
import os
import re
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from httpx2 import AsyncClient, Response

from tests.docs.blocks import snippets
from tests.support.served import Served, environment, served

GUIDE = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text()
SECRET = "0123456789abcdef" * 4
PASSWORD = "correct horse battery"
SECONDS = 120


def commands(heading: str) -> list[str]:
    """Return the commands of a section of the guide, one text per code block."""
    section = re.split(r"^#+ ", GUIDE.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    found = snippets("sh", section)
    assert found, heading
    return found


async def shell(script: str, folder: Path, programs: Path | None = None, **settings: str) -> str:
    """Run commands as a reader of the guide would, with `handover` and the database's programs on the PATH."""
    path = [str(Path(sys.executable).parent), *([str(programs)] if programs else []), os.environ["PATH"]]
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", script),
        cwd=folder,
        env=environment({"SECRET_KEY": SECRET} | settings) | {"PATH": os.pathsep.join(path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(SECONDS):
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def answer_to(http: AsyncClient, method: str, path: str, **request: Any) -> Response:
    """Send a request, and again while the answer is 503, as it is on a machine that has too much to do."""
    async with asyncio.timeout(SECONDS):
        while True:
            answer = await http.request(method, path, **request)
            if answer.status_code != 503:
                return answer
            await asyncio.sleep(0.2)


@dataclass(slots=True)
class Person:
    """Ada, who owns items, and whose answers are compared before and after; Bob registers items all the time."""

    http: AsyncClient
    id: str
    headers: dict[str, str]

    @classmethod
    async def signed_up(cls, http: AsyncClient, name: str) -> "Person":
        body = {"email": f"{name}@example.org", "username": name, "password": PASSWORD}
        answer = await answer_to(http, "POST", "/users", json=body)
        assert answer.status_code == 201, answer.text
        form = {"username": name, "password": PASSWORD}
        signed_in = await answer_to(http, "POST", "/auth/token", data=form)
        return cls(http, answer.json()["id"], {"Authorization": f"Bearer {signed_in.json()['access_token']}"})

    async def registers(self, name: str) -> Response:
        headers = self.headers | {"Idempotency-Key": name.partition(" ✓")[0]}
        answer = await answer_to(self.http, "POST", "/items", json={"name": name, "price": 12.5}, headers=headers)
        assert answer.status_code == 201, answer.text
        return answer


@dataclass(slots=True)
class Answers:
    """What a server has answered, to be compared with what it answers after a restore."""

    by_path: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    registered: str = ""
    """The answer to a request with an idempotency key."""

    @classmethod
    async def of(cls, ada: Person, other: Person) -> "Answers":
        first = await ada.registers("Lamp")
        item = first.json()["id"]
        gift = {"to_user_id": other.id}
        moved = await answer_to(ada.http, "POST", f"/items/{item}/transfer", json=gift, headers=ada.headers)
        assert moved.status_code == 200
        second = await ada.registers("Chair ✓")
        answers = cls(headers=ada.headers, registered=second.text)
        paths = "/users/me", f"/users/{ada.id}/items", f"/items/{item}", f"/items/{item}/transfers"
        for path in paths:
            answers.by_path[path] = (await answer_to(ada.http, "GET", path, headers=ada.headers)).content
        return answers

    async def are_those_of(self, server: Served) -> None:
        async with server.client() as http:
            for path, content in self.by_path.items():
                assert (await answer_to(http, "GET", path, headers=self.headers)).content == content, path
            again = await Person(http, "", self.headers).registers("Chair ✓")
            assert (again.text, again.headers["Idempotency-Replayed"]) == (self.registered, "true")


@asynccontextmanager
async def in_use(folder: Path, url: str) -> AsyncIterator[tuple[Answers, set[str]]]:
    """Serve with a person who registers items; yield answers that do not change, and the names that are registered."""
    async with served(folder, DATABASE_URL=url, SECRET_KEY=SECRET) as server, server.client() as http:
        ada, bob = await Person.signed_up(http, "ada"), await Person.signed_up(http, "bob")
        carol = await Person.signed_up(http, "carol")
        answers = await Answers.of(ada, carol)
        names: set[str] = set()

        async def register_items() -> None:
            while True:
                name = f"Item {len(names)}"
                await bob.registers(name)
                names.add(name)

        registering = asyncio.create_task(register_items())
        try:
            yield answers, names
            assert not registering.done()
        finally:
            registering.cancel()
            with suppress(asyncio.CancelledError):
                await registering
        assert await server.stop() == 0


async def at_least(names: set[str], count: int) -> None:
    async with asyncio.timeout(SECONDS):
        while len(names) < count:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)


async def check(folder: Path, url: str, answers: Answers, names: set[str]) -> None:
    """The restored store gives the same answers, and has all items that were registered before the backup began."""
    async with served(folder, DATABASE_URL=url, SECRET_KEY=SECRET) as server:
        await answers.are_those_of(server)
        async with server.client() as http:
            listed: set[str] = set()
            address = "/items?limit=100"
            while address:
                page = await answer_to(http, "GET", address, headers=answers.headers)
                listed |= {item["name"] for item in page.json()["items"]}
                address = page.links.get("next", {}).get("url", "")
            assert names <= listed


def only_its_owner_may_read(path: Path) -> bool:
    return stat.S_IMODE(path.stat().st_mode) == 0o600
