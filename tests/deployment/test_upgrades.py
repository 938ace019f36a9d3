"""A release is replaced by the next one while it serves; the secret key, too."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from httpx2 import AsyncClient

from infrastructure.persistence.sqlalchemy.schema import REVISION
from tests.support.served import handover, served

PASSWORD = "correct horse battery"
OLD, NEW = "o1d-" * 10, "n3w-" * 10
URL = "sqlite:///upgraded.db"


def set_revision(folder: Path, number: int) -> None:
    with closing(sqlite3.connect(folder / "upgraded.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [f"{number:04}"])
        connection.commit()


async def test_a_server_stays_ready_while_the_next_release_migrates(tmp_path: Path) -> None:
    """As docs/deployment.md describes it: the migration comes first, then the servers are replaced."""
    current = int(REVISION)
    async with served(tmp_path, DATABASE_URL=URL) as server, server.client() as http:
        for revision, status in (current + 1, 200), (current - 1, 503), (current, 200):
            set_revision(tmp_path, revision)
            assert (await http.get("/health/ready")).status_code == status, revision
        set_revision(tmp_path, current + 1)
        body = {"email": "ada@example.org", "username": "ada", "password": PASSWORD}
        assert (await http.post("/users", json=body)).status_code == 201
    refused = await handover("serve", folder=tmp_path, DATABASE_URL=URL, MIGRATE_ON_START="false")
    assert (refused.exit_code, f"{current + 1:04}" in refused.err) == (1, True)


async def sign_in(http: AsyncClient) -> tuple[dict[str, str], str]:
    """Return the header of a new access token, and a refresh token."""
    answer = await http.post("/auth/token", data={"username": "ada", "password": PASSWORD})
    while answer.status_code == 503:  # the machine has too much to do
        await asyncio.sleep(0.2)
        answer = await http.post("/auth/token", data={"username": "ada", "password": PASSWORD})
    tokens = answer.json()
    return {"Authorization": f"Bearer {tokens['access_token']}"}, tokens["refresh_token"]


@pytest.fixture
async def with_account(tmp_path: Path) -> Path:
    """A folder with a store that has one account."""
    words = "users", "create", "ada", "ada@example.org"
    assert (await handover("migrate", "up", folder=tmp_path, DATABASE_URL=URL)).exit_code == 0
    created = await handover(*words, folder=tmp_path, typed=f"{PASSWORD}\n{PASSWORD}\n", DATABASE_URL=URL)
    assert created.exit_code == 0, created.err
    return tmp_path


async def test_the_secret_key_is_replaced_without_signing_anybody_out(with_account: Path) -> None:
    """The steps of docs/deployment.md, with an old and a new server at the same time."""
    first = {"SECRET_KEY": OLD, "SECRET_KEY_PREVIOUS": NEW}
    second = {"SECRET_KEY": NEW, "SECRET_KEY_PREVIOUS": OLD}
    folders = [with_account / name for name in ("first", "second", "third")]
    for folder in folders:
        folder.mkdir()
    url = f"sqlite:///{with_account / 'upgraded.db'}"
    async with (
        served(folders[0], DATABASE_URL=url, **first) as old_server,
        served(folders[1], DATABASE_URL=url, **second) as new_server,
        old_server.client() as old,
        new_server.client() as new,
    ):
        by_old, refresh_token = await sign_in(old)
        by_new, _ = await sign_in(new)
        for http in old, new:
            for header in by_old, by_new:
                assert (await http.get("/users/me", headers=header)).status_code == 200
    async with served(folders[2], DATABASE_URL=url, SECRET_KEY=NEW) as server, server.client() as http:
        assert (await http.get("/users/me", headers=by_old)).status_code == 401
        assert (await http.get("/users/me", headers=by_new)).status_code == 200
        refreshed = await http.post("/auth/refresh", json={"refresh_token": refresh_token})
        assert refreshed.status_code == 200, refreshed.text
