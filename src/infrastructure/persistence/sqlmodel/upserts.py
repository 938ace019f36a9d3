"""INSERT ... ON CONFLICT, which SQLAlchemy offers for each dialect on its own."""

from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from infrastructure.persistence.sqlalchemy.stream import INSERT
from infrastructure.persistence.sqlmodel.models import TableModel


def insert_into(session: AsyncSession, model: type[TableModel]) -> Any:
    """Return an INSERT of the session's dialect, which has the method `on_conflict_do_update`."""
    return INSERT[session.get_bind().dialect.name](model)
