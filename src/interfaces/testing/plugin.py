"""A pytest plugin for unit tests of use cases: an in-memory store, a clock, ids and fakes.

It is loaded by `pytest_plugins = ["interfaces.testing.plugin"]` in the topmost conftest.py. Each test gets
fixtures of its own, so tests do not see one another's data.
"""

import pytest

from application.ports import Begin, Ids
from application.readers import ItemReader, TaskReader, TransferReader, UserReader
from application.store import Store
from application.transact import Transact
from infrastructure.persistence.memory import MemoryStore
from interfaces.testing.clock_and_ids import CountingIds, SetClock
from interfaces.testing.fakes import FakePasswords, FakeTokens

DEADLINE = 30.0
"""Seconds that a unit of work may take: generous, so that a busy machine changes no result."""


@pytest.fixture
def store() -> Store:
    """An empty in-memory store."""
    return MemoryStore()


@pytest.fixture
def begin(store: Store) -> Begin:
    """A function that begins a unit of work on the store."""
    return store.begin


@pytest.fixture
def users(store: Store) -> UserReader:
    """Queries of the store's users."""
    return store.users


@pytest.fixture
def items(store: Store) -> ItemReader:
    """Queries of the store's items."""
    return store.items


@pytest.fixture
def transfers(store: Store) -> TransferReader:
    """Queries of the store's transfers."""
    return store.transfers


@pytest.fixture
def tasks(store: Store) -> TaskReader:
    """Queries of the store's tasks."""
    return store.tasks


@pytest.fixture
def clock() -> SetClock:
    """A clock that stands still until the test moves it."""
    return SetClock()


@pytest.fixture
def ids() -> Ids:
    """A function that returns the same UUIDv7s in every test, each greater than the one before."""
    return CountingIds()


@pytest.fixture
def passwords() -> FakePasswords:
    """Hashes and verifies passwords without taking time."""
    return FakePasswords()


@pytest.fixture
def tokens() -> FakeTokens:
    """Issues and verifies access tokens without signing them."""
    return FakeTokens()


@pytest.fixture
def transact(begin: Begin, clock: SetClock) -> Transact:
    """The transaction boundary, to be given to use cases. It uses the fixtures `begin` and `clock`."""
    return Transact(begin, clock, deadline=DEADLINE)
