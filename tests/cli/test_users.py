"""Accounts from the command line: by the same rules as over HTTP, and what they change is seen there."""

import asyncio
import json
import os
import pty
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from interfaces.certification.database import Database
from interfaces.testing.builders import NOON, a_user
from tests.support import engines
from tests.support.served import Run, environment, handover, served

LONG_AGO = NOON - timedelta(days=1000)
PASSWORD = "correct horse battery"
lasting = pytest.mark.parametrize("engine", [name for name in engines.selected_above_the_store() if name != "memory"])
on_sqlite = pytest.mark.parametrize("engine", [name for name in engines.selected() if name == "sqlite"])


@pytest.fixture
def url(database: Database) -> str:
    return database.settings.database_url


async def create(folder: Path, url: str, username: str, typed: str = f"{PASSWORD}\n") -> Run:
    words = ("users", "create", username, f"{username}@example.org")
    return await handover(*words, folder=folder, typed=typed, DATABASE_URL=url)


def refused(run: Run, *words: str) -> bool:
    assert (run.exit_code, run.out) == (1, ""), run.err
    assert run.err.startswith("handover: ")
    assert run.err.count("\n") == 1, run.err
    assert "Traceback" not in run.err
    return all(word in run.err for word in words)


@lasting
async def test_an_account_from_its_creation_to_its_return(url: str, tmp_path: Path) -> None:
    created = await create(tmp_path, url, "Ada")
    assert created.exit_code == 0, created.err
    assert "ada" in created.out
    async with served(tmp_path, DATABASE_URL=url) as server, server.client() as http:
        form = {"username": "ada", "password": PASSWORD}
        tokens = (await http.post("/auth/token", data=form)).json()
        ada = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert (await http.get("/users/me", headers=ada)).json()["email"] == "ada@example.org"

        run = await handover("users", "deactivate", "ADA", folder=tmp_path, DATABASE_URL=url)
        assert (run.exit_code, "inactive" in run.out) == (0, True), run.err
        assert "account deactivated" in run.err
        assert (await http.get("/users/me", headers=ada)).status_code == 401
        assert (await http.post("/items", headers=ada, json={"name": "Lamp", "price": 1})).status_code == 401
        assert (await http.post("/auth/token", data=form)).status_code == 401
        refresh = {"refresh_token": tokens["refresh_token"]}
        assert (await http.post("/auth/refresh", json=refresh)).status_code == 401

        run = await handover("users", "activate", "ada", folder=tmp_path, DATABASE_URL=url)
        assert (run.exit_code, "inactive" in run.out) == (0, False), run.err
        assert (await http.post("/auth/refresh", json=refresh)).status_code == 401
        assert (await http.post("/auth/token", data=form)).status_code == 200
        assert (await http.get("/users/me", headers=ada)).status_code == 200


@lasting
async def test_a_list_of_all(url: str, tmp_path: Path, database: Database) -> None:
    async with database.store.begin() as uow:
        for number in range(101):
            await uow.users.add(a_user(username=f"user-{number}"))
        await uow.commit()
    run = await handover("users", "list", "--json", folder=tmp_path, DATABASE_URL=url)
    shown = json.loads(run.out)
    assert [user["username"] for user in shown] == [f"user-{number}" for number in range(101)]
    assert shown[0].keys() == {"id", "username", "email", "is_active", "created_at"}
    assert shown[0]["created_at"] == "2026-11-22T12:00:00.123Z"
    plain = await handover("users", "list", folder=tmp_path, DATABASE_URL=url)
    assert [line.split()[0] for line in plain.out.splitlines()] == [user["username"] for user in shown]
    assert "argon2" not in run.out + run.err + plain.out + plain.err


@on_sqlite
async def test_what_is_refused(url: str, tmp_path: Path) -> None:
    assert (await create(tmp_path, url, "ada")).exit_code == 0
    (tmp_path / "empty.db").touch()

    async def deactivate(name: str, **settings: str) -> Run:
        return await handover("users", "deactivate", name, folder=tmp_path, **{"DATABASE_URL": url} | settings)

    runs = await asyncio.gather(
        create(tmp_path, url, "ADA"),
        create(tmp_path, url, "a+b"),
        create(tmp_path, url, "bob", ""),
        create(tmp_path, url, "bob", "Password123\n"),
        create(tmp_path, url, "bob", "correct \udcff horse\n"),
        deactivate("nobody"),
        deactivate("ada@example.org"),
        deactivate("ada", DATABASE_URL="memory://"),
        deactivate("ada", DATABASE_URL="sqlite:///empty.db"),
    )
    expected = [
        ("address exists",),
        ("username:",),
        ("password:", "8 to 128"),
        ("password:", "tried first"),
        ("password:",),
        ("no such user",),
        ("username:",),
        ("memory://", "name a store that lasts"),
        ("handover migrate up",),
    ]
    for run, words in zip(runs, expected, strict=True):
        assert refused(run, *words), run.err
        assert "Password123" not in run.err


@on_sqlite
async def test_a_password_is_typed_twice_and_not_shown(url: str, tmp_path: Path) -> None:
    keyboard, terminal = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "interfaces.cli.main", "users", "create", "ada", "ada@example.org"),
        cwd=tmp_path,
        env=environment({"DATABASE_URL": url}),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,  # no terminal but this one
    )
    os.close(terminal)
    screen = ""
    async with asyncio.timeout(60):
        for prompt in ("Password: ", "Repeat for confirmation: "):
            while prompt not in screen:
                screen += (await asyncio.to_thread(os.read, keyboard, 1024)).decode()
            os.write(keyboard, f"{PASSWORD}\n".encode())
        assert await process.wait() == 0
    screen += os.read(keyboard, 65536).decode()
    os.close(keyboard)
    assert "ada@example.org" in screen
    assert PASSWORD not in screen


@lasting
async def test_purging(url: str, tmp_path: Path, database: Database) -> None:
    async with database.store.begin() as uow:
        [attempts] = await uow.attempts.get_for_update(b"ada")
        attempts.admit(LONG_AGO, limit=3)
        await uow.attempts.save(attempts)
        await uow.commit()
    for removed in (1, 0):
        run = await handover("purge", folder=tmp_path, DATABASE_URL=url)
        assert (run.exit_code, run.out.split()[:2]) == (0, ["Removed", str(removed)]), run.err


async def test_a_password_of_a_file_may_end_as_on_windows(tmp_path: Path) -> None:
    assert (await handover("migrate", "up", folder=tmp_path)).exit_code == 0
    longest = "x" * 100 + "yz" * 14  # 128 characters; with the carriage return it would be one too many
    run = await handover("users", "create", "ada", "ada@example.org", folder=tmp_path, typed=f"{longest}\r\n")
    assert run.exit_code == 0, run.err
