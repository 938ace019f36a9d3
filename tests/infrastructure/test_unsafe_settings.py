"""Settings of engines with which our promises do not hold: each is found, and safe ones are not."""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pymongo import MongoClient

from infrastructure.persistence.beanie import server_settings
from infrastructure.persistence.beanie.store import BeanieStore
from infrastructure.persistence.sqlalchemy import SqlStore
from infrastructure.persistence.sqlalchemy.engines import sqlite
from infrastructure.persistence.sqlalchemy.tables import metadata
from infrastructure.settings import Settings
from tests.faults.replicas import Standby
from tests.support import servers


@asynccontextmanager
async def opened(store: SqlStore | BeanieStore) -> AsyncIterator[SqlStore | BeanieStore]:
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def settings(url: str, **others: Any) -> Settings:
    return Settings(database_url=url, _env_file=None, **others)


async def unsafe_sql(url: str) -> dict[str, str]:
    async with opened(SqlStore(settings(url))) as store:
        return await store.unsafe_settings()


# SQLite


@pytest.mark.parametrize(
    ("pragma", "value", "shown"),
    [
        ("journal_mode", "DELETE", "delete"),
        ("journal_mode", "MEMORY", "memory"),
        ("synchronous", "OFF", "0"),
        ("synchronous", "NORMAL", "1"),
        ("foreign_keys", "OFF", "0"),
    ],
)
async def test_a_pragma_that_is_not_in_effect(
    pragma: str, value: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sqlite.PRAGMAS, pragma, value)
    unsafe = await unsafe_sql(f"sqlite:///{tmp_path}/x.db")
    assert [*unsafe] == [pragma]
    assert unsafe[pragma].startswith(f"is {shown}: ")


@pytest.mark.parametrize("synchronous", ["FULL", "EXTRA"])
async def test_safe_pragmas(synchronous: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sqlite.PRAGMAS, "synchronous", synchronous)
    assert await unsafe_sql(f"sqlite:///{tmp_path}/x.db") == {}


# PostgreSQL


@pytest.fixture(scope="module")
def postgresql() -> Iterator[servers.Postgres]:
    with servers.postgres("fsync=on") as server:
        yield server


@pytest.mark.parametrize(
    ("setting", "value", "is_safe"),
    [
        ("synchronous_commit", "off", False),
        ("synchronous_commit", "local", True),
        ("synchronous_commit", "remote_apply", True),
        ("session_replication_role", "replica", False),
        ("session_replication_role", "origin", True),
        ("default_transaction_read_only", "on", False),
        ("default_transaction_read_only", "off", True),
    ],
)
async def test_a_setting_of_the_database(setting: str, value: str, is_safe: bool, postgresql: servers.Postgres) -> None:
    server = await asyncpg.connect(postgresql.url)
    name = f"{setting}_{value}"
    await server.execute(f"CREATE DATABASE {name}")
    await server.execute(f"ALTER DATABASE {name} SET {setting} = {value}")
    await server.close()
    unsafe = await unsafe_sql(f"{postgresql.url.rpartition('/')[0]}/{name}")
    assert [*unsafe] == ([] if is_safe else [setting])
    if not is_safe:
        assert unsafe[setting].startswith(f"is {value}: ")


async def test_settings_of_the_server() -> None:
    with servers.postgres("fsync=off", "full_page_writes=off") as server:
        assert [*await unsafe_sql(server.url)] == ["fsync", "full_page_writes"]


async def test_a_standby() -> None:
    with servers.postgres("fsync=on") as primary, Standby(primary, "fsync=on").running() as standby:
        unsafe = await unsafe_sql(standby.url)
    assert [*unsafe] == ["in_hot_standby"]
    assert unsafe["in_hot_standby"].startswith("is on: no change is possible on a standby")


EVERY_TABLE = "ALL ON ALL TABLES IN SCHEMA public"


@pytest.mark.parametrize(
    ("granted", "revoked", "lacking"),
    [
        (EVERY_TABLE, "", {}),
        (EVERY_TABLE, "UPDATE, DELETE ON transfers", {}),
        (EVERY_TABLE, "INSERT ON transfers", {"transfers": "INSERT"}),
        (EVERY_TABLE, "UPDATE, DELETE ON session_tokens", {"session_tokens": "UPDATE, DELETE"}),
        (
            "SELECT ON ALL TABLES IN SCHEMA public",
            "",
            dict.fromkeys(metadata.tables, "INSERT, UPDATE, DELETE") | {"transfers": "INSERT"},
        ),
    ],
)
async def test_privileges_of_a_user_to_whom_the_tables_do_not_belong(
    granted: str, revoked: str, lacking: dict[str, str], postgresql: servers.Postgres
) -> None:
    name = f"user_{secrets.token_hex(4)}"
    server = await asyncpg.connect(postgresql.url)
    await server.execute(f"CREATE DATABASE {name}")
    await server.execute(f"CREATE ROLE {name} LOGIN")
    await server.close()
    url = f"{postgresql.url.rpartition('/')[0]}/{name}"
    async with opened(SqlStore(settings(url))) as store:
        await store.upgrade()
        assert await store.unsafe_settings() == {}
    server = await asyncpg.connect(url)
    await server.execute(f"GRANT {granted} TO {name}")
    if revoked:
        await server.execute(f"REVOKE {revoked} FROM {name}")
    await server.close()
    assert await unsafe_sql(url.replace("postgres@", f"{name}@")) == {
        f"privileges on {table}": f"lack {privileges}: some changes fail; grant them to this user"
        for table, privileges in lacking.items()
    }


# MongoDB


@pytest.fixture(scope="module")
def mongodb() -> Iterator[servers.Mongo]:
    with servers.mongodb() as server:
        yield server


@pytest.fixture
def admin(mongodb: servers.Mongo) -> Iterator[Any]:
    client: MongoClient[dict[str, Any]]
    with MongoClient(mongodb.url) as client:
        yield client.admin
        client.admin.command("setParameter", 1, transactionLifetimeLimitSeconds=5)


async def unsafe_mongodb(server: servers.Mongo, **others: Any) -> dict[str, str]:
    async with opened(BeanieStore(settings(server.url, **others))) as store:
        return await store.unsafe_settings()


async def test_a_safe_mongodb(mongodb: servers.Mongo) -> None:
    assert await unsafe_mongodb(mongodb) == {}


@pytest.mark.parametrize(
    ("seconds", "deadline", "is_safe"),
    [(61, 4.5, False), (60, 4.5, True), (5, 4.5, True), (4, 4.5, False), (5, 5, False)],
)
async def test_the_lifetime_of_transactions(
    seconds: int, deadline: float, is_safe: bool, mongodb: servers.Mongo, admin: Any
) -> None:
    admin.command("setParameter", 1, transactionLifetimeLimitSeconds=seconds)
    unsafe = await unsafe_mongodb(mongodb, request_deadline=deadline)
    assert [*unsafe] == ([] if is_safe else ["transactionLifetimeLimitSeconds"])
    assert all(text.startswith(f"is {seconds}: ") for text in unsafe.values())


async def test_a_majority_without_a_journal(mongodb: servers.Mongo, admin: Any) -> None:
    def journal_by_default(value: bool) -> None:
        config = admin.command("replSetGetConfig")["config"]
        config |= {"version": config["version"] + 1, "writeConcernMajorityJournalDefault": value}
        admin.command("replSetReconfig", config, force=True)

    journal_by_default(False)
    try:
        assert [*await unsafe_mongodb(mongodb)] == ["writeConcernMajorityJournalDefault"]
    finally:
        journal_by_default(True)


async def test_what_may_not_be_asked_is_left_out(mongodb: servers.Mongo, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server refuses an unknown parameter as it refuses a user."""
    monkeypatch.setattr(server_settings, "LIFETIME", "secondsThatNobodyKnows")
    assert await unsafe_mongodb(mongodb) == {}
