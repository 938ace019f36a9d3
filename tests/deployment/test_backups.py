"""The backups of docs/deployment.md, made as it says and restored as it says, on each engine.

While a backup is made, a server serves and somebody registers items, except where the guide says to stop the servers.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from pymongo import AsyncMongoClient

from tests.deployment.guide import SECONDS, at_least, check, commands, in_use, only_its_owner_may_read, shell
from tests.support import servers


async def test_sqlite(tmp_path: Path) -> None:
    backup, restore = commands("SQLite")
    async with in_use(tmp_path, "sqlite:///handover.db") as (answers, names):
        await at_least(names, 5)
        before = set(names)
        await shell(backup, tmp_path)
        assert only_its_owner_may_read(tmp_path / "backup.db")
        await at_least(names, len(names) + 5)
    assert "no problem was found" in await shell(restore, tmp_path, DATABASE_URL="sqlite:///handover.db")
    await check(tmp_path, "sqlite:///handover.db", answers, before)


def test_a_backup_of_sqlite_in_a_wrong_folder_fails(tmp_path: Path) -> None:
    run = subprocess.run(
        ["bash", "-euc", commands("SQLite")[0]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert run.returncode != 0
    assert "unable to open database file" in run.stderr
    assert os.listdir(tmp_path) == []


async def test_postgresql(tmp_path: Path) -> None:
    dump, restore, base_backup = commands("PostgreSQL")
    with servers.postgres("fsync=on") as server:  # which `handover doctor` wants
        programs = servers.Postgres(()).programs()
        address = server.url.rpartition("/")[0]

        def here(script: str) -> str:
            return script.replace("postgresql://handover@localhost", address)

        await shell(
            here("psql --quiet --command='CREATE DATABASE handover' 'postgresql://handover@localhost/postgres'"),
            tmp_path,
            programs,
        )
        async with in_use(tmp_path, f"{address}/handover") as (answers, names):
            await at_least(names, 5)
            before = set(names)
            await shell(here(dump), tmp_path, programs)
            assert only_its_owner_may_read(tmp_path / "handover.dump")
            await at_least(names, len(names) + 5)
            before_base = set(names)
            await shell(here(base_backup), tmp_path, programs)
        assert "no problem was found" in await shell(here(restore), tmp_path, programs)
        await check(tmp_path, f"{address}/restored", answers, before)

        server.kill()
        shutil.rmtree(server.folder / "data")
        shutil.copytree(tmp_path / "base", server.folder / "data")
        owner = server.folder.stat()
        for path in (server.folder / "data", *(server.folder / "data").rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        server.start()
        doctor = await shell("handover doctor", tmp_path, DATABASE_URL=f"{address}/handover")
        assert "no problem was found" in doctor
        await check(tmp_path, f"{address}/handover", answers, before_base)


async def test_mongodb(tmp_path: Path) -> None:
    copy, restore = commands("MongoDB, and every other engine")
    with servers.mongodb() as server:
        address, _, options = server.url.partition("?")
        address = address.rstrip("/")

        def here(script: str) -> str:
            return script.replace("mongodb://localhost", address).replace("replicaSet=rs0", options)

        async with in_use(tmp_path, f"{address}/handover?{options}") as (answers, names):
            await at_least(names, 5)
        assert "Copied and verified." in await shell(here(copy), tmp_path)
        assert only_its_owner_may_read(tmp_path / "backup.db")
        async with AsyncMongoClient[dict[str, object]](server.url) as client:
            await client.drop_database("handover")
        assert "no problem was found" in await shell(here(restore), tmp_path)
        await check(tmp_path, f"{address}/restored?{options}", answers, names)


@pytest.mark.parametrize("leftover", ["handover.db-wal", "handover.db-shm"])
def test_the_guide_removes_what_would_damage_a_restored_file(leftover: str) -> None:
    assert leftover in commands("SQLite")[1]
