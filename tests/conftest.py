"""Each test that asks for a store runs once per engine, on a store that is open, of the newest schema, and empty."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from application.store import Store
from interfaces.certification.database import Database, NewDatabase
from tests.support import browser, engines
from tests.support.engines import RunningEngines

pytest_plugins = ["interfaces.testing.plugin"]


def pytest_configure() -> None:
    engines.refuse_unknown()


def pytest_report_header() -> list[str]:
    names = engines.selected()
    missing = [name for name in engines.default() if name not in names]
    return [
        f"engines: {', '.join(names)}" + (f" (NARROWED: without {', '.join(missing)})" if missing else ""),
        f"browser: {browser.CHROMIUM or browser.MISSING}",
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests have measured, such as how long a failover took."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{report.nodeid}: {name}: {value}")


ABOVE_THE_STORE = [Path(__file__).parent / folder for folder in ("cli", "faults", "http", "security")]
"""What these folders test does not depend on the adapter. On SQLite and PostgreSQL the default adapter is enough."""


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Leave the second SQL adapter out of the tests above the store, unless ENGINES names it."""
    test = metafunc.definition
    chosen = any("engine" in re.findall(r"\w+", str(mark.args[0])) for mark in test.iter_markers("parametrize"))
    if "engine" in metafunc.fixturenames and not chosen and {*ABOVE_THE_STORE} & {*test.path.parents}:
        test.add_marker(pytest.mark.parametrize("engine", engines.selected_above_the_store(), indirect=True))


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    for item in items:
        engine = item.callspec.params.get("engine") if hasattr(item, "callspec") else None
        if reason := engines.DIFFERENCES.get((str(engine), item.originalname)):
            item.add_marker(pytest.mark.xfail(reason=reason))


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
