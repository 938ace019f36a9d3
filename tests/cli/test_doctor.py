"""Checking a store from the command line: healthy and not, for people and for scripts, and while a server runs."""

import asyncio
import json
import os
import pty
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from infrastructure.persistence import sqlalchemy
from interfaces.certification.database import NewDatabase
from interfaces.testing.builders import a_task
from tests.support import servers
from tests.support.corruptions import World, write_world
from tests.support.engines import settings_for
from tests.support.served import environment, handover

TEST_SERVERS = {"fsync"}
"""Settings of our PostgreSQL servers for tests that are not safe, to save time."""


@asynccontextmanager
async def a_store(folder: Path) -> AsyncIterator[World]:
    """A store in the file `handover.db` of the folder, with one of everything."""
    store = sqlalchemy.open_store(settings_for(f"sqlite:///{folder}/handover.db"))
    await store.upgrade()
    try:
        yield await write_world(store)
    finally:
        await store.close()


async def test_a_healthy_store(tmp_path: Path) -> None:
    async with a_store(tmp_path):
        run = await handover("doctor", folder=tmp_path)
    assert run.exit_code == 0, run.err
    lines = run.out.splitlines()
    assert lines[0] == "users:                      3"
    assert len(lines) == 9
    assert lines[-1] == "Checked; no problem was found."
    assert run.err.count("\n") == 8
    assert "check: 3 transfers, " in run.err


async def test_a_corrupt_store(tmp_path: Path) -> None:
    async with a_store(tmp_path) as world:
        await spoil(tmp_path, world)
        run = await handover("doctor", folder=tmp_path)
    assert run.exit_code == 1
    assert run.out.splitlines()[8:] == [
        f"item {world.vase.id}: it counts 1 transfers, but its history ends with number 3"
    ]
    assert run.err.splitlines()[-1] == "handover: 1 problem was found: see the list on stdout"
    assert "no problem" not in run.out


async def spoil(folder: Path, world: World) -> None:
    store = sqlalchemy.open_store(settings_for(f"sqlite:///{folder}/handover.db"))
    await store.stream.write([replace(world.vase, transfers=1)])
    await store.close()


@pytest.mark.parametrize("healthy", [True, False])
async def test_for_scripts(healthy: bool, tmp_path: Path) -> None:
    async with a_store(tmp_path) as world:
        if not healthy:
            await spoil(tmp_path, world)
        run = await handover("doctor", "--json", folder=tmp_path)
    said = json.loads(run.out)
    assert run.exit_code == (0 if healthy else 1)
    assert said["healthy"] is healthy
    assert said["checked"]["items"] == 2
    problem = "it counts 1 transfers, but its history ends with number 3"
    findings = [] if healthy else [{"kind": "item", "id": str(world.vase.id), "problem": problem}]
    assert (said["count"], said["findings"]) == (len(findings), findings)


async def test_a_long_list_is_cut(tmp_path: Path) -> None:
    async with a_store(tmp_path) as world:
        store = sqlalchemy.open_store(settings_for(f"sqlite:///{tmp_path}/handover.db"))
        many = [a_task(world.ada, title="") for _ in range(150)]
        await store.stream.write(many)
        await store.close()
        run = await handover("doctor", folder=tmp_path)
    assert sum(line.startswith("task ") for line in run.out.splitlines()) == 100
    assert run.out.endswith("and 50 more\n")
    assert "150 problems were found" in run.err


async def test_each_engine(new_database: NewDatabase, engine: str, tmp_path: Path) -> None:
    async with new_database() as database:
        url, adapter = database.settings.database_url, database.settings.adapter
        if engine == "memory":
            run = await handover("doctor", folder=tmp_path, DATABASE_URL=url)
            assert (run.exit_code, run.out) == (1, "")
            assert "memory:// ends with this command" in run.err
            assert run.err.count("\n") == 1
            return
        run = await handover("doctor", folder=tmp_path, DATABASE_URL=url, PERSISTENCE=adapter)
        assert (run.exit_code, run.out) == (1, "")
        assert run.err.startswith("handover: the schema is missing, and ")
        assert run.err.endswith("run `handover migrate up`\n")
        assert run.err.count("\n") == 1

        await database.store.upgrade()
        await write_world(database.store)
        run = await handover("doctor", "--json", folder=tmp_path, DATABASE_URL=url, PERSISTENCE=adapter)
        said = json.loads(run.out)
        findings = [one for one in said["findings"] if one["id"] not in TEST_SERVERS]
        assert findings == []
        assert said["checked"]["transfers"] == 3


async def test_an_unsafe_setting(tmp_path: Path) -> None:
    with servers.postgres("fsync=on") as server:
        connection = await asyncpg.connect(server.url)
        await connection.execute("CREATE DATABASE handover")
        url = f"{server.url.rpartition('/')[0]}/handover"
        assert (await handover("migrate", "up", folder=tmp_path, DATABASE_URL=url)).exit_code == 0
        run = await handover("doctor", folder=tmp_path, DATABASE_URL=url)
        assert run.exit_code == 0, run.out

        await connection.execute("ALTER DATABASE handover SET synchronous_commit = off")
        await connection.close()
        run = await handover("doctor", folder=tmp_path, DATABASE_URL=url)
        assert run.exit_code == 1
        [found] = [line for line in run.out.splitlines() if line.startswith("setting ")]
        assert found.startswith("setting synchronous_commit: is off: ")


async def test_a_postgresql_that_takes_no_changes(tmp_path: Path) -> None:
    with servers.postgres("fsync=on") as server:
        assert (await handover("migrate", "up", folder=tmp_path, DATABASE_URL=server.url)).exit_code == 0
        connection = await asyncpg.connect(server.url)
        await connection.execute("CREATE ROLE reader LOGIN")
        await connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        await connection.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
        await connection.close()
        url = server.url.replace("postgres@", "reader@")
        run = await handover("doctor", folder=tmp_path, DATABASE_URL=url)
    assert run.exit_code == 1
    found = [line for line in run.out.splitlines() if line.startswith("setting ")]
    assert found[0].startswith("setting default_transaction_read_only: is on: no change is possible")
    assert (
        "setting privileges on items: lack INSERT, UPDATE, DELETE: some changes fail; grant them to this user" in found
    )


@pytest.mark.parametrize(
    "url", ["postgresql://ann:hush@127.0.0.1:1/x", "mongodb://ann:hush@127.0.0.1:1/x", "sqlite:///none/of/them.db"]
)
async def test_a_store_that_cannot_be_reached(url: str, tmp_path: Path) -> None:
    run = await handover("doctor", folder=tmp_path, DATABASE_URL=url)
    assert (run.exit_code, run.out) == (1, "")
    assert run.err.startswith("handover: ")
    assert run.err.count("\n") == 1
    assert "Traceback" not in run.err
    assert "hush" not in run.err


async def test_bars_on_a_terminal(tmp_path: Path) -> None:
    async with a_store(tmp_path):
        keyboard, terminal = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "interfaces.cli.main", "doctor"),
            cwd=tmp_path,
            env=environment({}) | {"TERM": "xterm", "COLUMNS": "120"},
            stdout=asyncio.subprocess.PIPE,
            stderr=terminal,
        )
        os.close(terminal)
        async with asyncio.timeout(60):
            out, _ = await process.communicate()
        screen = os.read(keyboard, 65536).decode()
        os.close(keyboard)
    assert process.returncode == 0
    assert b"no problem was found" in out
    assert "check: transfers" in screen
    assert "3/3" in screen
