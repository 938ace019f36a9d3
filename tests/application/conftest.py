"""The core is tested on the in-memory adapter, which needs nothing but the standard library."""

import pytest

from application.store import Store
from infrastructure.persistence.memory import MemoryStore
from interfaces.testing.fakes import FakePasswords


@pytest.fixture
def store() -> Store:
    return MemoryStore()


@pytest.fixture
def passwords() -> FakePasswords:
    return FakePasswords()
