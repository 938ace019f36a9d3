"""A database that contract tests use."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from application.store import Store

if TYPE_CHECKING:  # tests of the use cases run where pydantic is not installed
    from infrastructure.container import Settings


@dataclass(slots=True)
class Database:
    """A database and an open store on it."""

    settings: "Settings"
    store: Store
    empty: Callable[[], Awaitable[None]]
    """Removes all records. Afterwards `store` may be another object."""


NewDatabase = Callable[[], AbstractAsyncContextManager[Database]]
"""Opens an empty database without a schema."""
