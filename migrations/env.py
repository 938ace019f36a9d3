"""How Alembic runs our migrations: on the connection that the application hands in, else, from Alembic's own command
line, on the database that HANDOVER_DATABASE_URL names."""

import asyncio

from alembic import context
from sqlalchemy import Connection

from infrastructure.persistence.sqlalchemy.schema import exclusively
from infrastructure.persistence.sqlalchemy.tables import metadata
from infrastructure.settings import load_settings


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_server_default=True,
        render_as_batch=True,  # SQLite alters a table by building it anew
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    scheme = load_settings().scheme
    context.configure(dialect_name=scheme, target_metadata=metadata, literal_binds=True, transaction_per_migration=True)
    if scheme == "postgresql":  # `handover migrate` sets it for its connection
        context.execute("SET lock_timeout = '1s'")
    with context.begin_transaction():
        context.run_migrations()
elif connection := context.config.attributes.get("connection"):
    migrate(connection)
else:
    asyncio.run(exclusively(load_settings(), migrate))
