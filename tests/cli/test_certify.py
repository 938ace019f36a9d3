"""Certifying an adapter from the command line."""

import json
import os
from asyncio import to_thread
from pathlib import Path

import pytest

from domain.user import User
from infrastructure.persistence import sqlalchemy
from interfaces.testing.builders import a_user
from tests.support.engines import settings_for
from tests.support.installed import install
from tests.support.served import handover

FORGETFUL = """
from collections import Counter

from application.store import Store
from infrastructure.persistence import memory
from infrastructure.persistence.memory.tables import Tables
from infrastructure.settings import Settings


class Forgetful(memory.MemoryStore):
    async def purge(self, at, limit):
        return Counter()


def open_store(settings: Settings) -> Store:
    return Forgetful()
"""

REVERSED = """
from infrastructure.persistence import memory


def open_store(settings):
    store = memory.open_store(settings)
    page = store.items.page

    async def reversed_page(*arguments):
        found = await page(*arguments)
        found.items.reverse()
        return found

    store.items.page = reversed_page
    return store
"""


async def test_a_sound_adapter_keeps_the_promises(tmp_path: Path) -> None:
    """Only a few of the tests are run here; tests/package runs all of them on an adapter from outside."""
    run = await handover("certify", "--url", "memory://", "--only", "capabilities or purge", folder=tmp_path)
    assert run.exit_code == 0, run
    assert run.out.splitlines()[-1] == "Held, but this was only a part of the tests."
    assert "BROKEN" not in run.out
    assert "verified  durable = False\n" in run.out
    assert await to_thread(os.listdir, tmp_path) == []


async def test_a_broken_adapter_from_another_package_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report names the promise, the test and the reason, and each failure can be repeated by itself."""
    install(tmp_path, "forgetful", FORGETFUL)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = await handover("certify", "--url", "forgetful://", "--only", "purge", "--json", folder=tmp_path)
    assert run.exit_code == 1, run
    certificate = json.loads(run.out)
    assert (certificate["adapter"], certificate["certified"]) == ("forgetful", False)
    broken = [promise for promise in certificate["promises"] if not promise["held"]]
    [failure, *_] = next(one["failures"] for one in broken if one["promise"].startswith("Purging removes what"))
    assert "assert Counter() == " in failure["reason"]

    name = failure["test"].rpartition("::")[2]
    again = await handover("certify", "--url", "forgetful://", "--only", name, folder=tmp_path)
    assert again.exit_code == 1
    assert f"--url forgetful:// --only {name}" in again.out


async def test_random_operations_are_shortened_to_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "reversed", REVERSED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = await handover("certify", "--url", "reversed://", "--only", "random_operations", folder=tmp_path)
    assert run.exit_code == 1
    assert "state.some_things(" in run.out
    assert "state = Differential()" in run.out
    assert "Traceback" not in run.out + run.err


async def test_a_database_with_data_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/used.db"
    store = sqlalchemy.open_store(settings_for(url))
    await store.open()
    await store.upgrade()
    await store.stream.write([a_user()])
    run = await handover("certify", "--url", url, folder=tmp_path)
    assert run.exit_code == 1
    assert run.err.startswith(f"handover: {url} is not empty, it has 1 records of the kind User")
    assert run.err.count("\n") == 1
    assert await store.stream.count(User) == 1
    await store.close()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("papyrus://roll", "HANDOVER_DATABASE_URL: must start with one of "),
        ("postgresql://nobody@127.0.0.1:1/none", "cannot be reached"),
        ("sqlite:////no/such/folder/new.db", "folder"),
    ],
)
async def test_an_unusable_database_is_refused_in_one_line(url: str, reason: str, tmp_path: Path) -> None:
    run = await handover("certify", "--url", url, folder=tmp_path)
    assert (run.exit_code, run.out, run.err.count("\n")) == (1, "", 1), run
    assert reason in run.err
