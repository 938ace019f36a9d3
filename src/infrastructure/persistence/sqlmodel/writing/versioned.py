"""Reading, changing and removing rows that have a version, in the session of a unit of work.

Every change is sent at once, so that its errors are raised where it is made.
"""

from collections.abc import Collection
from typing import TypeVar

from sqlalchemy.orm.exc import StaleDataError
from sqlmodel.ext.asyncio.session import AsyncSession

from application.errors import TryAgain
from infrastructure.persistence.sqlalchemy.engines.transaction import CHANGED_MEANWHILE
from infrastructure.persistence.sqlmodel.models import TableModel, VersionedModel

V = TypeVar("V", bound=VersionedModel)


async def add(session: AsyncSession, *rows: TableModel) -> None:
    """Insert new rows now, not at the commit.

    If a constraint is violated, raise its error, such as Conflict (see constraint_error()).
    """
    session.add_all(rows)
    await flush(session)


async def lock(session: AsyncSession, model: type[V], key: object) -> V | None:
    """Read the row with this key from the database, lock it until the transaction ends, and return it.

    Return None if there is none.
    """
    row = await session.get(model, key, with_for_update=True, populate_existing=True)
    keep(session, row)
    return row


def keep(session: AsyncSession, *rows: TableModel | None) -> None:
    """Keep rows in the session until it ends, by references in `session.info`.

    The session's own references are weak, so it would have to read the rows again.
    """
    session.info.setdefault("kept", []).extend(rows)


async def change(session: AsyncSession, changed: VersionedModel, key: object, *, expected: Collection[int]) -> None:
    """Store a changed row in place of the one with this key; raise TryAgain unless that has an expected version.

    A violated constraint raises its error, such as Conflict. After an error, here as in remove(), the transaction
    cannot be continued.
    """
    stored = await _unchanged(session, type(changed), key, expected)
    stored.sqlmodel_update(changed)
    await flush(session)


async def remove(session: AsyncSession, model: type[VersionedModel], key: object, *, expected: Collection[int]) -> None:
    """Remove the row with this key; raise TryAgain unless it has an expected version."""
    await session.delete(await _unchanged(session, model, key, expected))
    await flush(session)


async def flush(session: AsyncSession) -> None:
    """Send the session's changes; raise TryAgain if a row was changed or removed by others after it was read."""
    try:
        await session.flush()
    except StaleDataError:
        raise TryAgain(CHANGED_MEANWHILE) from None


async def _unchanged(session: AsyncSession, model: type[V], key: object, expected: Collection[int]) -> V:
    """Return the row, from the session if lock() has read it there.

    If there is none, or its version is not expected, roll back the transaction and raise TryAgain.
    """
    stored = await session.get(model, key)
    if stored is None or stored.version not in expected:
        await session.rollback()
        raise TryAgain(CHANGED_MEANWHILE)
    return stored
