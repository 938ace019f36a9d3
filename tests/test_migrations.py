"""The migrations lead to the tables that the SQL adapters work with, there and back, and get in nobody's way."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, inspect, text

from application.errors import Unavailable
from infrastructure.persistence.sqlalchemy.schema import REVISION, exclusively
from infrastructure.persistence.sqlalchemy.tables import metadata
from infrastructure.persistence.sqlmodel.models import TableModel
from infrastructure.settings import Settings
from interfaces.certification.database import Database
from interfaces.certification.overlapping import insert
from interfaces.testing.builders import a_user, an_item
from tests.support import engines
from tests.support.engines import RunningEngines

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
SELECTED = [name for name in ("sqlite", "postgresql") if name in engines.selected()]
of_both_adapters = pytest.mark.parametrize("metadata", [metadata, TableModel.metadata], ids=["sqlalchemy", "sqlmodel"])


@pytest.fixture(params=SELECTED)
async def empty(running_engines: RunningEngines, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """A database without a schema."""
    new_database, _ = await running_engines.get(request.param)
    async with new_database() as database:
        yield database


@pytest.fixture
async def migrated(empty: Database) -> Database:
    await empty.store.upgrade()
    return empty


async def ask(settings: Settings, question: Callable[[Connection], T]) -> T:
    answers: list[T] = []
    await exclusively(settings, lambda connection: answers.append(question(connection)))
    return answers[0]


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"alembic_version"}


def constraints(connection: Connection) -> dict[str, set[str | None]]:
    look = inspect(connection)
    return {
        table: {
            look.get_pk_constraint(table)["name"],
            *(unique["name"] for unique in look.get_unique_constraints(table)),
            *(check["name"] for check in look.get_check_constraints(table)),
            *(reference["name"] for reference in look.get_foreign_keys(table)),
            *(index["name"] for index in look.get_indexes(table) if "duplicates_constraint" not in index),
        }
        for table in tables(connection)
    }


async def test_up_down_and_up_again(empty: Database) -> None:
    store = empty.store
    assert (await store.schema()).found is None

    await store.upgrade()
    assert (await store.schema()).is_current
    assert await ask(empty.settings, tables) == set(metadata.tables)

    await store.downgrade()
    assert not (await store.schema()).is_current

    while (await store.schema()).found is not None:
        await store.downgrade()
    assert await ask(empty.settings, tables) == set()
    await store.downgrade()  # of nothing is nothing

    await store.upgrade()
    assert (await store.schema()).is_current


@of_both_adapters
async def test_head_equals_the_metadata(metadata: MetaData, migrated: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        options = {"compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    assert await ask(migrated.settings, differences) == []


@of_both_adapters
async def test_constraints_and_indexes_have_the_names_of_the_metadata(metadata: MetaData, migrated: Database) -> None:
    assert await ask(migrated.settings, constraints) == {
        table.name: {str(constraint.name) for constraint in table.constraints}
        | {str(index.name) for index in table.indexes}
        for table in metadata.tables.values()
    }


async def test_the_history_refers_to_nothing(migrated: Database) -> None:
    assert await ask(migrated.settings, lambda connection: inspect(connection).get_foreign_keys("transfers")) == []


async def test_text_that_sorts_does_so_by_code_point(migrated: Database) -> None:
    if migrated.settings.scheme == "postgresql":
        statement = """
            SELECT attrelid::regclass || '.' || attname FROM pg_attribute
            JOIN pg_collation ON pg_collation.oid = attcollation AND collname = 'C'
            JOIN pg_class ON pg_class.oid = attrelid AND relkind = 'r' AND relnamespace = 'public'::regnamespace
        """
        expected = {"items.name", "tasks.title", "users.email", "users.username"}
    else:  # bytes are the default there, so nothing may be said of it
        statement = "SELECT name FROM sqlite_master WHERE sql LIKE '%COLLATE%'"
        expected = set()
    found = await ask(migrated.settings, lambda connection: set(connection.execute(text(statement)).scalars()))
    assert found == expected


def test_the_revision_that_the_server_needs_is_the_newest() -> None:
    config = Config(toml_file=ROOT / "pyproject.toml")
    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


async def test_several_may_upgrade_at_once(empty: Database) -> None:
    await asyncio.gather(*(empty.store.upgrade() for _ in range(4)))
    assert (await empty.store.schema()).is_current


async def test_an_unknown_revision_is_refused(migrated: Database) -> None:
    def from_the_future(connection: Connection) -> None:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    await exclusively(migrated.settings, from_the_future)
    with pytest.raises(Unavailable, match="9999"):
        await migrated.store.upgrade()
    assert (await migrated.store.schema()).found == "9999"


async def test_a_rebuilt_table_keeps_what_hangs_on_it(migrated: Database) -> None:
    owner = a_user()
    item = an_item(owner)
    await insert(migrated.store.begin, owner, item)

    def rebuild(connection: Connection) -> None:
        operations = Operations(MigrationContext.configure(connection))
        with operations.batch_alter_table("users", recreate="auto") as users:
            users.alter_column("password_hash", nullable=True)

    await exclusively(migrated.settings, rebuild)

    assert (await migrated.store.items.get(item.id)).item == item


async def test_migrating_leaves_logging_alone(empty: Database) -> None:
    ours = logging.getLogger("handover.test")
    before = logging.root.level, list(logging.root.handlers)
    await empty.store.upgrade()
    assert not ours.disabled
    assert (logging.root.level, list(logging.root.handlers)) == before


async def test_alembic_works_from_the_command_line(empty: Database) -> None:
    environment = os.environ | {
        "HANDOVER_DATABASE_URL": empty.settings.database_url,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }

    async def alembic(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "alembic", *arguments),
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()

    await alembic("upgrade", "head")
    assert "No new upgrade operations" in await alembic("check")
    assert f"{REVISION} (head)" in await alembic("current")
    assert "CREATE TABLE users" in await alembic("upgrade", "head", "--sql")


@pytest.mark.parametrize("empty", [name for name in SELECTED if name == "sqlite"], indirect=True)
async def test_a_migration_that_breaks_a_reference_is_undone(migrated: Database) -> None:
    owner = a_user()
    item = an_item(owner)
    await insert(migrated.store.begin, owner, item)

    def orphan(connection: Connection) -> None:
        connection.execute(text("DELETE FROM users"))

    with pytest.raises(Unavailable, match="refer to nothing"):
        await exclusively(migrated.settings, orphan)

    assert (await migrated.store.items.get(item.id)).item == item


@pytest.mark.parametrize("empty", [name for name in SELECTED if name == "postgresql"], indirect=True)
async def test_a_migration_lets_others_pass_while_it_waits_for_a_lock(migrated: Database) -> None:
    def change(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE items ADD COLUMN colour text"))

    owner = a_user()
    item = an_item(owner)
    await insert(migrated.store.begin, owner, item)
    reading = await asyncpg.connect(migrated.settings.database_url)
    try:
        async with reading.transaction():
            await reading.execute("SELECT FROM items")  # keeps others from altering the table
            migrating = asyncio.create_task(exclusively(migrated.settings, change))
            async with asyncio.timeout(60):
                for _ in range(5):
                    await migrated.store.items.get(item.id)
                    await asyncio.sleep(0.1)
            assert not migrating.done()
        await asyncio.wait_for(migrating, 60)
    finally:
        await reading.close()
    assert (await migrated.store.items.get(item.id)).item == item


@pytest.mark.parametrize("empty", [name for name in SELECTED if name == "postgresql"], indirect=True)
async def test_indexes_that_were_cut_short_are_made_anew_while_others_write(migrated: Database) -> None:
    """Each attempt gives up on the writer after a second, and leaves an index behind that is no good."""
    store = migrated.store
    owner = a_user()
    await insert(store.begin, owner)
    await store.downgrade()
    server = await asyncpg.connect(migrated.settings.database_url)
    half_made = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
    try:
        async with server.transaction():
            await server.execute("LOCK TABLE items IN ROW EXCLUSIVE MODE")  # as everybody who writes has it
            upgrading = asyncio.create_task(store.upgrade())
            async with asyncio.timeout(60):
                while not await server.fetchval(half_made):
                    await insert(store.begin, an_item(owner))
                    await asyncio.sleep(0.05)
                await asyncio.sleep(1.2)
            assert not upgrading.done()
        await asyncio.wait_for(upgrading, 60)
        assert await server.fetchval(half_made) == 0
    finally:
        await server.close()
    assert (await store.schema()).is_current
    assert {str(index.name) for index in metadata.tables["items"].indexes} < (
        await ask(migrated.settings, constraints)
    )["items"]
