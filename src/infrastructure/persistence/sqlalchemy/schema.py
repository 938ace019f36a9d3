"""The revision of the schema, and its migration with Alembic."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, column, select, table

from application.errors import Unavailable
from infrastructure.persistence.sqlalchemy.engines import postgresql, sqlite
from infrastructure.persistence.sqlalchemy.engines.database import Database, SchemaChange
from infrastructure.persistence.sqlalchemy.engines.errors import SchemaMissing
from infrastructure.settings import Settings

if TYPE_CHECKING:
    from alembic.config import Config

REVISION = "0002"
"""The newest migration. It is stated here so that a server need not read the migrations or import Alembic."""

FOUND: Select[Any] = select(column("version_num")).select_from(table("alembic_version"))


async def revision(database: Database) -> str | None:
    """Return the revision of the database's schema, such as `0002`, or None if it has no schema."""
    try:
        rows = await database.fetch(FOUND, {})
    except SchemaMissing:
        return None
    return rows[0]["version_num"] if rows else None


async def exclusively(settings: Settings, change: SchemaChange) -> None:
    """Run the change while no other process changes the schema; raise Busy if that is not possible in time.

    On PostgreSQL the change may run several times, because it is run again if it had to wait too long for the lock on a
    table. On SQLite, raise Unavailable and undo the change if it leaves a row that refers to a missing one. See
    change_schema() of `engines.postgresql` and `engines.sqlite`.
    """
    await (sqlite if settings.scheme == "sqlite" else postgresql).change_schema(settings, change)


async def upgrade(settings: Settings) -> None:
    """Migrate to the newest revision; do nothing if it is there. Errors are those of _alembic()."""
    from alembic import command  # noqa: PLC0415 - slow to import, and most processes do not need it

    await _alembic(settings, lambda config: command.upgrade(config, "head"))


async def downgrade(settings: Settings) -> None:
    """Undo the newest migration that the database has; raise Unavailable if it has none, or as _alembic() does."""
    from alembic import command  # noqa: PLC0415

    await _alembic(settings, lambda config: command.downgrade(config, "-1"))


async def _alembic(settings: Settings, command: Callable[["Config"], None]) -> None:
    """Run an Alembic command on our migrations while no other process changes the schema (see exclusively()).

    Raise Unavailable if Alembic refuses the command, for example because our migrations do not have the database's
    revision, and Busy as exclusively() does.
    """
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    def run_command(connection: Connection) -> None:
        """Run the command on this connection, with the configuration that tells Alembic where the migrations are."""
        config = Config()
        config.set_main_option("script_location", str(migrations()).replace("%", "%%"))
        config.attributes["connection"] = connection
        command(config)

    try:
        await exclusively(settings, run_command)
    except CommandError as error:
        raise Unavailable(f"the schema cannot be changed by this version of Handover: {error}") from None


def migrations() -> Path:
    """Return the folder of the migrations: in the package if installed from a wheel, else in the checkout."""
    package = Path(__file__).parents[2]
    packaged = package / "migrations"
    return packaged if packaged.is_dir() else package.parents[1] / "migrations"
