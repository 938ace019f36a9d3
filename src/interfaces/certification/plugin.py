"""The pytest plugin that runs the contract tests on the store of one URL: `pytest -p interfaces.certification.plugin`.

The option `--certify URL` adds the contract tests to the run. The database must be empty; each test empties it again.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import entry_points
from pathlib import Path
from shlex import quote

import pytest

from application.errors import Unavailable
from application.store import Store
from application.streaming import KINDS
from infrastructure.container import Misconfigured, Settings, described, load_settings, open_store
from interfaces.certification.completeness import check_complete
from interfaces.certification.database import Database, NewDatabase, opened, remove_schema
from interfaces.certification.fixtures import check_fixtures
from interfaces.certification.watchdog import PLUGIN, watchdog_of_pytest
from interfaces.testing.plugin import (  # noqa: F401 - fixtures
    begin,
    clock,
    ids,
    items,
    tasks,
    transact,
    transfers,
    users,
)

PACKAGED = Path(__file__).with_name("contracts")
CHECKOUT = Path(__file__).parents[3] / "tests" / "contracts"
SUITE = PACKAGED if PACKAGED.is_dir() else CHECKOUT
"""The contract tests: a wheel carries them next to this file."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options --certify, --certify-adapter and --concurrency."""
    group = parser.getgroup("handover")
    group.addoption("--certify", metavar="URL", help="run Handover's contract tests on the empty database at this URL")
    group.addoption("--certify-adapter", metavar="NAME", default="", help="its adapter, if not that of its scheme")
    group.addoption("--concurrency", action="store_true", help="record what many clients see for minutes, not seconds")


def pytest_configure(config: pytest.Config) -> None:
    """Add the contract tests to those that were asked for; raise UsageError if the option --certify is missing."""
    if not config.pluginmanager.has_plugin(PLUGIN):
        watchdog = watchdog_of_pytest()
        config.pluginmanager.register(watchdog, PLUGIN)
        watchdog.start()
        config.add_cleanup(watchdog.stop)
    # What is no test or plugin would fail with the bare word AssertionError.
    pytest.register_assert_rewrite("interfaces.certification.parity.problems", "interfaces.certification.parity.story")
    config.addinivalue_line("markers", "capability(name): the test verifies this field of Capabilities")
    if not config.option.certify:
        raise pytest.UsageError("name the empty database to certify on: --certify URL")
    if not any(argument.startswith(str(SUITE)) for argument in config.args):
        config.args.append(str(SUITE))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:  # noqa: F811
    """Sort what all else needs to the beginning of the contract tests, units of work, and comparisons to the end.

    Raise UsageError if one of them would get another fixture than ours (see check_fixtures()).
    """
    check_fixtures([item for item in items if isinstance(item, pytest.Function)], SUITE, __name__)
    items.sort(key=lambda item: (item.path.parent != SUITE, item.path.stem != "test_unit_of_work"))


async def records_in(store: Store) -> str:
    """Return how many records the store has of the first kind of which it has any; an empty text if it has none."""
    for kind in KINDS:
        if count := await store.stream.count(kind):
            return f"it has {count:,} records of the kind {kind.__name__}"
    return ""


def how_to_empty(settings: Settings) -> str:
    """Return the command that removes everything in the database, for a message."""
    variables = {"HANDOVER_DATABASE_URL": settings.masked_url, "HANDOVER_PERSISTENCE": settings.persistence}
    given = " ".join(f"{name}={quote(value)}" for name, value in variables.items() if value)
    return f"`{given} handover migrate down --remove-everything`, repeated until it says `none`, removes everything"


async def check_empty(store: Store, settings: Settings) -> None:
    """Raise Misconfigured if the store has any records, which the tests would delete, or may have some.

    It may if it has a schema of another revision than the needed one. Nothing is changed.
    """
    schema = await store.schema()
    if schema.is_current:
        found = await records_in(store)
    elif schema.found is not None:
        found = f"its schema is {schema.found}, while {schema.needed} is needed"
    else:
        return
    if found:
        raise Misconfigured(
            f"{settings.masked_url} is not empty, {found}: name an empty database, since everything in it is deleted;"
            f" if a certification was interrupted here, {how_to_empty(settings)}"
        )


async def remove_all(database: Database) -> None:
    """Remove all records: with the function that the adapter's package provides, if it does.

    The function is an entry point in the group `handover.empty_store`, with the name of the adapter. Without one, undo
    and repeat all migrations, also if the adapter states that the store is not durable, because that may be wrong; then
    replace the store by a newly opened one, which empties one that is in memory.
    """
    for entry in entry_points(group="handover.empty_store", name=database.settings.adapter):
        await entry.load()(database.settings)
        return
    await remove_schema(database.store)
    await database.store.upgrade()
    await database.reopen()


@pytest.fixture(scope="session")
async def certified(pytestconfig: pytest.Config) -> AsyncIterator[Database]:
    """Open and migrate the one database of the whole run; close it afterwards. Its schema stays.

    If that is not possible, because the adapter is not complete or the database is not empty, end the run with one
    message, and change nothing. The fixture `database` empties it after each test.
    """
    options = pytestconfig.option
    watchdog = pytestconfig.pluginmanager.get_plugin(PLUGIN)
    async with AsyncExitStack() as stack:
        try:
            settings = load_settings(database_url=options.certify, persistence=options.certify_adapter)
            database = await stack.enter_async_context(opened(settings, open_store, remove_all))
            if watchdog:
                watchdog.watch(type(database.store).__module__)
            await check_complete(database.store, settings.adapter)
            await check_empty(database.store, settings)
            await database.store.upgrade()
            await check_empty(database.store, settings)
        except (Misconfigured, Unavailable) as error:
            pytest.exit(str(error), returncode=1)
        except Exception as error:
            pytest.exit(f"the adapter fails before the first test: {described(error)}", returncode=1)
        yield database


@pytest.fixture
async def database(certified: Database) -> AsyncIterator[Database]:
    """The database of a test. It is emptied after the test, whatever the test has left open."""
    yield certified
    await certified.empty()


@pytest.fixture
def store(database: Database) -> Store:
    """The store that is certified."""
    return database.store


@pytest.fixture
def new_database(certified: Database) -> NewDatabase:
    """A function that removes the certified database's schema with all data, and opens it as if it were new.

    It is for `async with`, which migrates the database again at its end.
    """

    @asynccontextmanager
    async def without_schema() -> AsyncIterator[Database]:
        """Remove the schema and yield the database reopened; migrate it at the end."""
        await remove_schema(certified.store)
        await certified.reopen()
        try:
            yield certified
        finally:
            await certified.store.upgrade()

    return without_schema
