"""From each revision of the schema, with rows of all its tables, to the newest: nothing is lost, and the API serves."""

import shutil
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from sqlalchemy import Connection, MetaData

from application.store import Store
from application.use_cases.check_store import CheckStore
from infrastructure.persistence.beanie import schema as mongodb_schema
from infrastructure.persistence.sqlalchemy import schema as sql_schema
from infrastructure.settings import Settings
from interfaces.certification.database import Database
from interfaces.testing.clock_and_ids import SetClock
from tests.faults import stored_rows
from tests.faults.stored_rows import DOCUMENTS, TABLES, Rows
from tests.http.support.client import app_of, client_of, container_on, sign_in
from tests.support import engines
from tests.support.engines import RunningEngines

SQL = [name for name in ("sqlite", "postgresql") if name in engines.selected()]
MONGODB = [name for name in ("mongodb",) if name in engines.selected()]
REVISIONS = [script.revision for script in ScriptDirectory(str(sql_schema.migrations())).walk_revisions()][::-1]


@pytest.fixture(params=[*SQL, *MONGODB])
async def empty(running_engines: RunningEngines, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """A database without a schema."""
    new_database, _ = await running_engines.get(request.param)
    async with new_database() as database:
        yield database


on_sql = pytest.mark.parametrize("empty", SQL, indirect=True)
on_mongodb = pytest.mark.parametrize("empty", MONGODB, indirect=True)


async def problems(store: Store) -> list[str]:
    diagnosis = await CheckStore(store, SetClock())()
    return [str(finding) for finding in diagnosis.findings if finding.kind != "setting"]


async def check_api(database: Database, revision: int) -> None:
    """See that what the rows say is what the API says, on a server that stands in the same time."""
    settings = database.settings.model_copy(update={"secret_key": Settings(secret_key="x" * 40).secret_key})
    async with client_of(app_of(container_on(settings, database.store, SetClock()))) as http:
        signed_in = await sign_in(http, "ada", stored_rows.PASSWORD)
        assert signed_in.status_code == 200, signed_in.text
        headers = {"Authorization": f"Bearer {signed_in.json()['access_token']}"}
        assert (await sign_in(http, "grace", stored_rows.PASSWORD)).status_code == 401  # she is inactive

        lamp = (await http.get(f"/items/{stored_rows.LAMP}", headers=headers)).json()
        assert (lamp["owner"]["username"], lamp["price"]) == ("ada", 19.99)
        items = (await http.get("/items?sort=-price", headers=headers)).json()["items"]
        assert {item["name"] for item in items} == {"Lamp", "Vase"}
        history = (await http.get(f"/items/{stored_rows.VASE}/transfers", headers=headers)).json()["items"]
        assert [transfer["version"] for transfer in history] == [2, 4, 6]

        keyed = headers | {"Idempotency-Key": stored_rows.KEY}
        again = await http.post("/items", json=stored_rows.REQUEST, headers=keyed)
        assert (again.status_code, again.content) == (201, stored_rows.ANSWER_BODY)
        if revision >= 2:
            tokens = await http.post("/auth/refresh", json={"refresh_token": stored_rows.REFRESH_TOKEN})
            assert tokens.status_code == 200, tokens.text
            tasks = (await http.get("/tasks", headers=headers)).json()["items"]
            assert [task["title"] for task in tasks] == ["Dust the lamp"]


# SQL


async def upgrade_to(revision: str, settings: Settings) -> None:
    await sql_schema._alembic(settings, lambda config: command.upgrade(config, revision))


def as_stored(value: object, connection: Connection) -> Any:
    """Return the value as this engine stores it, as far as reflected columns do not say it."""
    if connection.dialect.name == "sqlite":
        match value:
            case UUID():
                return value.hex
            case datetime():
                return round(value.timestamp() * 1000)
    return value


async def write_rows(rows: Rows, settings: Settings) -> None:
    """Write the rows to tables as the database says they are; every table must be given rows."""

    def write(connection: Connection) -> None:
        found = MetaData()
        found.reflect(connection)
        assert {table.name for table in found.sorted_tables} - {"alembic_version"} == set(rows)
        for table in found.sorted_tables:
            for row in rows.get(table.name, []):
                values = {name: as_stored(value, connection) for name, value in row.items()}
                connection.execute(table.insert().values(values))

    await sql_schema.exclusively(settings, write)


async def lost_rows(rows: Rows, settings: Settings) -> list[str]:
    """Return in words which of these values the database does not have any more."""
    lost: list[str] = []

    def look(connection: Connection) -> None:
        found = MetaData()
        found.reflect(connection)
        for table in found.sorted_tables:
            stored = [dict(row) for row in connection.execute(table.select()).mappings()]
            for row in rows.get(table.name, []):
                wanted = {name: as_stored(value, connection) for name, value in row.items()}
                if not any(all(one.get(name) == value for name, value in wanted.items()) for one in stored):
                    lost.append(f"{table.name}: {row}")

    await sql_schema.exclusively(settings, look)
    return lost


def test_every_revision_has_rows() -> None:
    assert [*TABLES] == REVISIONS
    assert list(mongodb_schema.REVISIONS) == [*DOCUMENTS]


@on_sql
@pytest.mark.parametrize("revision", REVISIONS)
async def test_an_sql_database_of_each_revision_is_upgraded_with_all_its_rows(revision: str, empty: Database) -> None:
    await upgrade_to(revision, empty.settings)
    await write_rows(TABLES[revision], empty.settings)

    await empty.store.upgrade()

    assert (await empty.store.schema()).is_current
    assert await lost_rows(TABLES[revision], empty.settings) == []
    assert await problems(empty.store) == []
    await check_api(empty, int(revision))


LOSING = """
from alembic import op

revision, down_revision, branch_labels, depends_on = "9999", {newest!r}, None, None


def upgrade() -> None:
    op.execute("UPDATE items SET description = NULL")
    op.execute("DELETE FROM idempotency_keys")
    op.execute("UPDATE users SET version = version + 1 WHERE username = 'ada'")
"""


@on_sql
async def test_a_revision_that_loses_data_is_noticed(
    empty: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, newest = tmp_path / "migrations", REVISIONS[-1]
    shutil.copytree(sql_schema.migrations(), folder)
    (folder / "versions" / "9999.py").write_text(LOSING.format(newest=newest))
    await upgrade_to(newest, empty.settings)
    await write_rows(TABLES[newest], empty.settings)
    assert await lost_rows(TABLES[newest], empty.settings) == []

    monkeypatch.setattr(sql_schema, "migrations", lambda: folder)
    await empty.store.upgrade()

    lost = await lost_rows(TABLES[newest], empty.settings)
    assert sorted(text.partition(":")[0] for text in lost) == ["idempotency_keys", "items", "users"]


# MongoDB


@pytest.fixture
async def mongodb(empty: Database) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
    client: AsyncMongoClient[dict[str, Any]]
    url = empty.settings.database_url
    async with AsyncMongoClient(url, uuidRepresentation="standard", tz_aware=True) as client:
        yield client.get_default_database()


async def write_documents(revision: str, store: Store, database: AsyncDatabase[dict[str, Any]]) -> None:
    """Bring the database to this revision, and write its documents; every collection must be given some."""
    await store.upgrade()
    while (await store.schema()).found != revision:
        await store.downgrade()
    collections = await database.list_collection_names(filter={"name": {"$ne": "schema"}})
    assert {*collections} == {*DOCUMENTS[revision]}
    for name, documents in DOCUMENTS[revision].items():
        await database[name].insert_many([dict(document) for document in documents])


async def lost_documents(revision: str, database: AsyncDatabase[dict[str, Any]]) -> list[str]:
    """Return in words which of these values the database does not have any more."""
    lost = []
    for name, documents in DOCUMENTS[revision].items():
        for document in documents:
            stored = await database[name].find_one({"_id": document["_id"]}) or {}
            lost += [f"{name}: {field}" for field in document if stored.get(field) != document[field]]
    return lost


@on_mongodb
@pytest.mark.parametrize("revision", mongodb_schema.REVISIONS)
async def test_a_mongodb_database_of_each_revision_is_upgraded_with_all_its_documents(
    revision: str, empty: Database, mongodb: AsyncDatabase[dict[str, Any]]
) -> None:
    await write_documents(revision, empty.store, mongodb)

    await empty.store.upgrade()

    assert (await empty.store.schema()).is_current
    assert await lost_documents(revision, mongodb) == []
    assert await problems(empty.store) == []
    await check_api(empty, int(revision))


@on_mongodb
async def test_an_upgrade_of_mongodb_that_loses_data_is_noticed(
    empty: Database, mongodb: AsyncDatabase[dict[str, Any]]
) -> None:
    await write_documents("1", empty.store, mongodb)
    await empty.store.upgrade()
    await mongodb["items"].update_many({}, {"$unset": {"description": ""}})  # as a third revision might
    assert await lost_documents("1", mongodb) == ["items: description"]
