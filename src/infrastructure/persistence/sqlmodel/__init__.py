"""The adapter for SQLite and PostgreSQL, written with SQLModel, on the same tables as the SQLAlchemy Core adapter.

`store` is what the application sees. `models` has the table models, `rows` converts between rows and entities.
`orm_sessions` opens sessions; `writing` has the repositories of units of work, `reading` the readers. Engines, errors,
migrations and the removal of expired rows are shared with the Core adapter.
"""

from infrastructure.persistence.sqlmodel.store import SqlModelStore, open_store

__all__ = ["SqlModelStore", "open_store"]
