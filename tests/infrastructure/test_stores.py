"""Two stores of one adapter in one process."""

import pytest

from domain.errors import NotFound
from interfaces.certification.database import Database, NewDatabase
from interfaces.testing.builders import a_user


async def test_two_stores_share_nothing(database: Database, new_database: NewDatabase) -> None:
    user = a_user()
    async with new_database() as other:
        await other.store.upgrade()
        async with database.store.begin() as uow:
            await uow.users.add(user)
            await uow.commit()

        with pytest.raises(NotFound):
            await other.store.users.get(user.id)
        async with other.store.begin() as uow:
            assert await uow.users.hold(user.id) == {}
            await uow.users.add(user)
            await uow.commit()
