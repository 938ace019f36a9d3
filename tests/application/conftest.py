"""The use cases are tested on the in-memory adapter, which needs nothing but the standard library."""

import pytest

from application.store import Store
from infrastructure.persistence.memory import MemoryStore


@pytest.fixture
def store() -> Store:
    return MemoryStore()
