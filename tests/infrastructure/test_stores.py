"""Opening stores: two of one adapter in one process, and adapters whose packages are missing."""

import sys
from pathlib import Path

import pytest

from domain.errors import NotFound
from infrastructure.container import Misconfigured, open_store
from interfaces.certification.database import Database, NewDatabase
from interfaces.testing.builders import a_user
from tests.support.engines import settings_for
from tests.support.installed import install


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


@pytest.mark.parametrize(
    ("module", "problem"),
    [
        (
            "\nimport misspelt.recods",
            "ModuleNotFoundError: No module named 'misspelt.recods'; 'misspelt' is not a package",
        ),
        ("import application.store.no", "ModuleNotFoundError: No module named 'application.store.no'; "),
        ("from pathlib import Pth", "ImportError: cannot import name 'Pth' from 'pathlib' ("),
        ("def open_store(settings)", "SyntaxError: expected ':' (misspelt.py, line 1)"),
        ("def open_stor(settings): ...", "AttributeError: module 'misspelt' has no attribute 'open_store'"),
        ("\n\nraise ValueError('no\\nsuch thing')", "ValueError: no such thing (misspelt.py, line 3)"),
    ],
)
def test_an_adapter_that_cannot_be_imported_is_refused_with_its_own_error_in_one_line(
    module: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "misspelt", module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "misspelt", raising=False)
    with pytest.raises(Misconfigured) as refused:
        open_store(settings_for("misspelt://"))
    assert str(refused.value).startswith(
        f"HANDOVER_PERSISTENCE: the adapter misspelt cannot be imported as misspelt:open_store: {problem}"
    )
    assert "\n" not in str(refused.value)
