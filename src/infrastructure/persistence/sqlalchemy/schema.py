"""The state of the schema, and Alembic to change it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, column, select, table

from application.errors import Unavailable
from infrastructure.persistence.sqlalchemy.engines import postgresql, sqlite
from infrastructure.persistence.sqlalchemy.engines.database import Database, Work
from infrastructure.persistence.sqlalchemy.engines.errors import SchemaMissing
from infrastructure.settings import Settings

if TYPE_CHECKING:
    from alembic.config import Config

REVISION = "0002"
"""The newest migration. Stated here, so that a server need not read them, nor import Alembic."""

FOUND: Select[Any] = select(column("version_num")).select_from(table("alembic_version"))


async def revision(database: Database) -> str | None:
    try:
        rows = await database.fetch(FOUND, {})
    except SchemaMissing:
        return None
    return rows[0]["version_num"] if rows else None


async def exclusively(settings: Settings, work: Work) -> None:
    """Do something to the schema while nobody else does."""
    await (sqlite if settings.scheme == "sqlite" else postgresql).migrate(settings, work)


async def upgrade(settings: Settings) -> None:
    from alembic import command  # noqa: PLC0415 - heavy, and most processes need none of it

    await _alembic(settings, lambda config: command.upgrade(config, "head"))


async def downgrade(settings: Settings) -> None:
    from alembic import command  # noqa: PLC0415

    await _alembic(settings, lambda config: command.downgrade(config, "-1"))


async def _alembic(settings: Settings, task: Callable[["Config"], None]) -> None:
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    def work(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(migrations()).replace("%", "%%"))
        config.attributes["connection"] = connection
        task(config)

    try:
        await exclusively(settings, work)
    except CommandError as error:
        raise Unavailable(f"the schema cannot be changed by this version of Handover: {error}") from None


def migrations() -> Path:
    """A wheel carries them inside the package; in a checkout they are at the top."""
    package = Path(__file__).parents[2]
    carried = package / "migrations"
    return carried if carried.is_dir() else package.parents[1] / "migrations"
