"""Each test that asks for a store runs once per engine, on a store that is open, of the newest schema, and empty."""

from collections.abc import AsyncIterator

import pytest

from application.store import Store
from interfaces.certification.database import Database, NewDatabase
from tests.support import engines
from tests.support.engines import RunningEngines

pytest_plugins = ["interfaces.testing.plugin"]


def pytest_configure() -> None:
    engines.refuse_unknown()


def pytest_report_header() -> str:
    names = engines.selected()
    missing = [name for name in engines.ENGINES if name not in names]
    return f"engines: {', '.join(names)}" + (f" (NARROWED: without {', '.join(missing)})" if missing else "")


@pytest.fixture(params=engines.selected())
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
async def running_engines() -> AsyncIterator[RunningEngines]:
    running = RunningEngines()
    yield running
    await running.stop()


@pytest.fixture
async def new_database(running_engines: RunningEngines, engine: str) -> NewDatabase:
    """For tests that need another one, or one without a schema."""
    return (await running_engines.get(engine))[0]


@pytest.fixture
async def database(running_engines: RunningEngines, engine: str) -> AsyncIterator[Database]:
    database = (await running_engines.get(engine))[1]
    yield database
    await database.empty()  # after the test, so that what it left open is held against it


@pytest.fixture
def store(database: Database) -> Store:
    return database.store
