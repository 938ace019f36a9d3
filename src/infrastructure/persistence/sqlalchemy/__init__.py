"""The adapter for SQLite and PostgreSQL, written with SQLAlchemy Core.

`store` is what the application sees. `engines` connects, executes and classifies errors; `writing` has the repositories
of units of work, `reading` the readers. `tables` is the schema, `rows` converts between rows and entities.
"""

from infrastructure.persistence.sqlalchemy.store import SqlStore, open_store

__all__ = ["SqlStore", "open_store"]
