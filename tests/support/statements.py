"""What a store sends to its database through SQLAlchemy."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from infrastructure.persistence.sqlmodel import SqlModelStore


@contextmanager
def statements_of(store: SqlModelStore) -> Iterator[list[str]]:
    """The statements that the store sends meanwhile."""

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    sent: list[str] = []
    engines = {store.database.readers.engine.sync_engine, store.database.writers.engine.sync_engine}
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)
