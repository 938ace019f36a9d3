"""Opening stores: two of one adapter in one process, and adapters whose packages are missing."""

import sys

import pytest

from domain.errors import NotFound
from infrastructure.container import Misconfigured, open_store
from interfaces.certification.database import Database, NewDatabase
from interfaces.testing.builders import a_user
from tests.support.engines import settings_for


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


@pytest.mark.parametrize(
    ("adapter", "url", "package", "extra"),
    [
        ("beanie", "mongodb://127.0.0.1:1/x", "beanie", "mongodb"),
        ("sqlmodel", "sqlite:///x.db", "sqlmodel", "sqlmodel"),
    ],
)
def test_an_adapter_whose_package_is_missing_names_the_extra(
    adapter: str, url: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.startswith(f"infrastructure.persistence.{adapter}")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Misconfigured, match=f"needs the package {package}: pip install 'handover\\[{extra}\\]'"):
        open_store(settings_for(url, adapter))
