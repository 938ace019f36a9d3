"""Certifying an adapter from the command line."""

import asyncio
import json
import os
import signal
import sys
from asyncio import to_thread
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from domain.user import User
from infrastructure.persistence import sqlalchemy
from interfaces.certification.plugin import SUITE
from interfaces.testing.builders import a_user
from tests.support.engines import settings_for
from tests.support.installed import install
from tests.support.served import Run, handover

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


LACKING = """
from contextlib import asynccontextmanager
from types import SimpleNamespace

from infrastructure.persistence import memory


class Lacking(memory.MemoryStore):
    capabilities = {"durable": False}

    def __init__(self):
        super().__init__()
        del self.tasks
        self.items = SimpleNamespace(get=self.items.get)

    @asynccontextmanager
    async def begin(self):
        async with super().begin() as uow:
            uow.users.hold = lambda user_id: None
            uow.keys.claim = lambda key, fingerprint, at: None
            del uow.attempts
            yield uow

    async def purge(self, at): ...

    downgrade = None


def open_store(settings):
    return Lacking()
"""

UNOPENED = """
from infrastructure.persistence import memory


class Unopened(memory.MemoryStore):
    async def open(self):
        {}["no such thing"]


def open_store(settings):
    return Unopened()
"""

UNBEGUN = """
from contextlib import asynccontextmanager

from infrastructure.persistence import memory


class Unbegun(memory.MemoryStore):
    @asynccontextmanager
    async def begin(self, *, optimistic=False):
        yield self.records


def open_store(settings):
    return Unbegun()
"""

BOASTING = """
from dataclasses import replace

from infrastructure.persistence import memory


def open_store(settings):
    store = memory.open_store(settings)
    store.capabilities = replace(store.capabilities, durable=True, conflicts="wait")
    return store
"""

WRITES_ON_CLOSE = """
import pickle
from dataclasses import replace
from pathlib import Path

from infrastructure.persistence import memory


class WritesOnClose(memory.MemoryStore):
    async def open(self):
        file = Path("data.pickle")
        for name, rows in pickle.loads(file.read_bytes()).items() if file.exists() else ():
            getattr(self.tables, name).update(rows)

    async def close(self):
        kept = {name: getattr(self.tables, name) for name in self.tables.__slots__ if name != "claims"}
        Path("data.pickle").write_bytes(pickle.dumps(kept))


def open_store(settings):
    store = WritesOnClose()
    store.capabilities = replace(store.capabilities, durable=True)
    return store
"""

STOPPED = """
import asyncio
import os
import signal
import time
from contextlib import asynccontextmanager

from interfaces.certification import watchdog
from infrastructure.persistence import memory

watchdog.SECONDS_BLOCKED, watchdog.SECONDS_PER_TEST = 3, 6
watchdog.SECONDS_UNTIL_MENTIONED = 2


async def stop():
    while True:
        {stop}


class Stopped(memory.MemoryStore):
    begun = 0

    @asynccontextmanager
    async def begin(self, *, optimistic=False):
        async with super().begin() as uow:
            Stopped.begun += 1
            if Stopped.begun == 12:
                await stop()
            yield uow


kept = Stopped()


def open_store(settings):
    return {store}
"""
"""It does something in its 12th unit of work, again and again."""

WITHOUT_SCHEMA = """
from dataclasses import replace

from infrastructure.persistence import memory

kept = memory.MemoryStore()
kept.capabilities = replace(kept.capabilities, durable=True)


def open_store(settings):
    return kept


async def downgrade():
    for rows in (getattr(kept.tables, name) for name in kept.tables.__slots__):
        rows.clear()


kept.downgrade = downgrade
"""

ROOT = Path(__file__).parents[2]

READ_ON = (
    'read on at `Begin` in application/ports.py, and under "The most frequent mistakes" in docs/adding-an-adapter.md'
)
HOW_TO_EMPTY = (
    "`HANDOVER_DATABASE_URL=stopped:// handover migrate down --remove-everything`, repeated until it says `none`,"
    " removes everything"
)


async def certify_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch, stop: str, store: str = "Stopped()") -> Run:
    """Certify an adapter that does this in its 12th unit of work."""
    install(folder, "stopped", STOPPED.format(stop=stop, store=store))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return await handover("certify", "--url", "stopped://", "--only", "test_attempts", folder=folder)


@pytest.mark.parametrize("stop", ["time.sleep(0.01)", "pass"])
async def test_an_adapter_that_blocks_the_event_loop_is_named_with_the_line(
    stop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await certify_stopped(tmp_path, monkeypatch, stop)
    assert (run.exit_code, run.out) == (1, ""), run
    [*_, mentioned, reason, state] = run.err.replace("line 17", "line 16").splitlines()  # while or what is in it
    test, place = "test_attempts.py::test_many_at_once_are_all_counted", "in stop (stopped.py, line 16)"
    assert mentioned == f"{test}: the event loop has been blocked for 2 s {place}: wait with `await`"
    assert reason == (
        f"handover: {test}: the event loop has been blocked for 3 s {place}, so that no other task can run: wait with"
        f" `await`; {READ_ON}"
    )
    assert state == (
        "handover: stopped after 3 of 4 tests, of which 3 passed and 0 failed, so nothing is certified. The database"
        f" may not be empty: {HOW_TO_EMPTY}"
    )


async def test_an_adapter_that_waits_without_an_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = await certify_stopped(tmp_path, monkeypatch, "await asyncio.sleep(0.1)")
    assert (run.exit_code, run.out) == (1, ""), run
    [*_, mentioned, reason, state] = run.err.splitlines()
    test = "test_attempts.py::test_many_at_once_are_all_counted"
    assert mentioned == f"{test} has been running for 2 s, and is not blocked"
    assert reason == (
        f"handover: {test} has not ended after 6 s, although the event loop is not blocked: what it awaits does not"
        f" happen, such as the release of a lock; {READ_ON}"
    )
    assert state.startswith("handover: stopped after 3 of ")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
async def test_a_signal_says_how_far_it_has_come_and_that_the_database_is_empty(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signalled = f"os.kill(os.getpid(), signal.{name}); await asyncio.sleep(60)"
    run = await certify_stopped(tmp_path, monkeypatch, signalled)
    assert (run.exit_code, run.out) == (-signal.Signals[name], ""), run
    assert run.err.splitlines()[-1] == (
        "handover: interrupted after 3 of 4 tests, of which 3 passed and 0 failed, so nothing is certified. The"
        " database is empty."
    )
    assert "FAILED" not in run.err


async def test_a_signal_says_what_is_left_in_the_database_and_how_to_remove_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signalled = "os.kill(os.getpid(), signal.SIGTERM); await asyncio.sleep(60)"
    run = await certify_stopped(tmp_path, monkeypatch, signalled, store="kept")
    assert run.exit_code == -signal.SIGTERM
    assert run.err.splitlines()[-1].endswith(
        f". The database is not empty, it has 2 records of the kind LoginAttempts: {HOW_TO_EMPTY}"
    ), run.err


async def test_a_signal_ends_it_even_if_the_event_loop_is_blocked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signalled = "Stopped.begun += 1; Stopped.begun == 13 and os.kill(os.getpid(), signal.SIGTERM)"
    run = await certify_stopped(tmp_path, monkeypatch, signalled)
    assert run.exit_code == 128 + signal.SIGTERM
    assert run.err.splitlines()[-1].startswith("handover: interrupted after 3 of "), run.err
    assert f" could not be stopped. The database may not be empty: {HOW_TO_EMPTY}" in run.err


async def test_a_sound_adapter_keeps_the_promises(tmp_path: Path) -> None:
    """Only a few of the tests are run here; tests/package runs all of them on an adapter from outside."""
    run = await handover("certify", "--url", "memory://", "--only", "capabilities or purge", folder=tmp_path)
    assert run.exit_code == 0, run
    assert run.out.splitlines()[-1] == "Held, but this was only a part of the tests."
    assert "BROKEN" not in run.out
    assert "verified  durable = False\n" in run.out
    assert await to_thread(os.listdir, tmp_path) == []


async def test_a_part_of_the_tests_certifies_nothing(tmp_path: Path) -> None:
    run = await handover("certify", "--url", "memory://", "--only", "test_attempts", "--json", folder=tmp_path)
    assert run.exit_code == 0, run
    certificate = json.loads(run.out)
    assert (certificate["certified"], certificate["complete"]) == (None, False)


@pytest.mark.parametrize("more", [[], ["--concurrency"]], ids=["alone", "with concurrency"])
@pytest.mark.parametrize("only", ["purge and", "(purge", "purge(a=1)", "purge)"])
async def test_a_selection_that_pytest_cannot_read_is_refused_in_one_line(
    only: str, more: list[str], tmp_path: Path
) -> None:
    run = await handover("certify", "--url", "memory://", "--only", only, *more, folder=tmp_path)
    assert (run.exit_code, run.out) == (2, "")
    assert run.err == (
        f"handover: --only: {only!r} cannot be read: join parts of names of tests by `and`, `or`, `not` and"
        " parentheses, such as 'test_items and not removed'\n"
    )


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
    assert failure["reason"].startswith("assert Counter() == ")
    assert f"FAILED {failure['test']}: assert Counter() == " in run.err

    name = failure["test"].rpartition("::")[2]
    again = await handover("certify", "--url", "forgetful://", "--only", name, folder=tmp_path)
    assert again.exit_code == 1
    assert f"--url forgetful:// --only {name}" in again.out


async def test_a_durable_store_without_a_schema_is_emptied_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "schemaless", WITHOUT_SCHEMA)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = await handover("certify", "--url", "schemaless://", "--only", "test_attempts", folder=tmp_path)
    assert run.exit_code == 0, run


async def test_random_operations_are_shortened_to_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "reversed", REVERSED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = await handover("certify", "--url", "reversed://", "--only", "random_operations", folder=tmp_path)
    assert run.exit_code == 1
    assert "state.some_things(" in run.out
    assert "state = Differential()" in run.out
    assert "Traceback" not in run.out + run.err


async def test_what_an_adapter_lacks_is_said_at_once_before_any_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "lacking", LACKING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = await handover("certify", "--url", "lacking://", folder=tmp_path)
    assert (run.exit_code, run.out, run.err.count("\n")) == (1, "", 1), run
    assert run.err.startswith("handover: the adapter lacking is not complete: ")
    for gap in (
        "Store.capabilities is not of the class Capabilities",
        "Begin does not accept the arguments (optimistic=)",
        "ItemReader.page is missing",
        "Store.tasks is missing",
        "Store.purge does not accept the arguments (at, limit)",
        "Store.downgrade is missing",
        "UserRepository.hold does not accept the arguments (*user_ids)",
        "UnitOfWork.attempts is missing",
        "KeyRepository.claim does not accept the arguments (key, fingerprint, at=, lifetime=, max_wait=)",
    ):
        assert gap in run.err


async def test_an_adapter_whose_first_calls_fail_is_refused_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, module in ("unopened", UNOPENED), ("unbegun", UNBEGUN):
        install(tmp_path, name, module)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    unopened = await handover("certify", "--url", "unopened://", folder=tmp_path)
    assert (unopened.exit_code, unopened.out) == (1, "")
    assert unopened.err == (
        "handover: the adapter unopened fails before the first test: KeyError: 'no such thing' (unopened.py, line 7)\n"
    )
    unbegun = await handover("certify", "--url", "unbegun://", folder=tmp_path)
    assert (unbegun.exit_code, unbegun.out) == (1, "")
    assert unbegun.err.startswith(
        "handover: the adapter unbegun is not complete: Store.begin raises AttributeError: 'Unbegun' object has no"
        " attribute 'records' (unbegun.py, line 10); "
    )


async def test_a_capability_that_is_not_as_stated_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "boasting", BOASTING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = await handover("certify", "--url", "boasting://", "--only", "capabilities", folder=tmp_path)
    assert run.exit_code == 1
    assert (
        "the adapter states conflicts='wait', but of two units of work that rename one item, the second one was"
        ' committed while the first one was open; state "fail" if the engine cannot wait, or else let' in run.out
    )
    assert (
        "the adapter states durable=True, but a committed user was no longer there after the process that had committed"
        " it was killed; if that is right, state durable=False, or else" in run.out
    )
    assert "NOT AS STATED  durable = True\n" in run.out
    assert "BROKEN  The engine can do what its adapter states, and no more. (3 of 5 tests failed)\n" in run.out
    assert "assert" not in run.out


async def test_an_adapter_that_writes_only_when_it_is_closed_is_not_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "onclose", WRITES_ON_CLOSE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = await handover("certify", "--url", "onclose://", "--only", "outlive", folder=tmp_path)
    assert run.exit_code == 1, run
    assert (
        "the adapter states durable=True, but a committed user was no longer there after the process that had committed"
        " it was killed; if that is right, state durable=False, or else write the data to a disk before commit()"
        in run.out
    )


async def test_a_database_of_another_revision_is_refused_and_not_migrated(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    store = sqlalchemy.open_store(settings_for(url))
    await store.open()
    await store.upgrade()
    await store.stream.write([a_user()])
    await store.downgrade()
    before = await store.schema()
    assert before.found not in {None, before.needed}
    run = await handover("certify", "--url", url, folder=tmp_path)
    assert (run.exit_code, run.out, run.err.count("\n")) == (1, "", 1), run
    assert f"{url} is not empty, its schema is {before.found}, while {before.needed} is needed: name" in run.err
    assert "handover migrate down --remove-everything" in run.err
    in_pytest = await certify_with_pytest(tmp_path, url)
    assert in_pytest.exit_code == 1, in_pytest
    assert in_pytest.out.count(f"{url} is not empty, its schema is {before.found}, ") == 1
    assert " failed" not in in_pytest.out
    assert await store.schema() == before
    await store.close()


async def certify_with_pytest(folder: Path, url: str, *arguments: str) -> Run:
    """Run the command in docs/adding-an-adapter.md in this folder, with these arguments more.

    The conftest.py of this checkout is left out, as it is where Handover is installed.
    """
    text = (ROOT / "docs" / "adding-an-adapter.md").read_text()
    command = text[text.index("pytest -p interfaces.certification.plugin") :].partition("```")[0].replace("\\\n", " ")
    words = [url if word == "lmdb:///empty.lmdb" else word for word in command.split()]
    options = f"--rootdir={folder}", f"--confcutdir={SUITE}", "-p", "no:cacheprovider"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *words, *options, *arguments),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, str(folder)])},
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 300)
    return Run(process.returncode or 0, out.decode(), err.decode())


FIXTURES_OF_UNIT_TESTS = 'pytest_plugins = ["interfaces.testing.plugin"]\n'
A_STORE_OF_ITS_OWN = """
import pytest

from infrastructure.persistence.memory import MemoryStore


@pytest.fixture
def store():
    return MemoryStore()
"""


@pytest.mark.parametrize(
    ("conftest", "module"),
    [(FIXTURES_OF_UNIT_TESTS, "interfaces.testing.plugin"), (A_STORE_OF_ITS_OWN, "conftest")],
    ids=["fixtures of unit tests", "a store of its own"],
)
async def test_a_conftest_that_replaces_the_certified_store_is_refused(
    conftest: str, module: str, tmp_path: Path
) -> None:
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_mine.py").write_text("def test_mine(): ...\n")
    run = await certify_with_pytest(tmp_path, f"sqlite:///{tmp_path}/new.db", "-k", "purge", str(tmp_path))
    assert run.exit_code == pytest.ExitCode.USAGE_ERROR, run
    assert (
        "ERROR: the contract tests need the fixture `store` of interfaces.certification.plugin, but"
        f" {module} replaces it: in this run, load no conftest.py or plugin that has such a fixture\n" in run.err
    )


async def test_a_conftest_with_other_fixtures_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(A_STORE_OF_ITS_OWN.replace("def store", "def other_store"))
    (tmp_path / "test_mine.py").write_text("def test_mine(): ...\n")
    run = await certify_with_pytest(
        tmp_path, f"sqlite:///{tmp_path}/new.db", "-k", "purge or mine", str(tmp_path), "-q"
    )
    assert run.exit_code == 0, run


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


async def test_the_refusal_says_how_to_empty_the_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/used.db"
    store = sqlalchemy.open_store(settings_for(url))
    await store.open()
    await store.upgrade()
    await store.stream.write([a_user()])
    await store.close()
    refused = await handover("certify", "--url", url, folder=tmp_path)
    command, _, ending = refused.err.partition("if a certification was interrupted here, `")[2].partition("`")
    assert ending.startswith(", repeated until it says `none`, ")
    variable, program, *words = command.split()
    assert (variable, program) == (f"HANDOVER_DATABASE_URL={url}", "handover")
    for _ in range(20):
        run = await handover(*words, folder=tmp_path, DATABASE_URL=url)
        assert run.exit_code == 0, run
        if ": none " in run.out:
            break
    again = await handover("certify", "--url", url, "--only", "attempts", folder=tmp_path)
    assert again.exit_code == 0, again


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("papyrus://roll", "handover: --url: must start with one of "),
        ("postgresql://nobody@127.0.0.1:1/none", "is --url right?"),
        ("sqlite:////no/such/folder/new.db", "name another file in --url"),
        ("sqlite:///new.db --adapter beanie", "handover: --adapter: the adapter beanie is for mongodb://"),
    ],
)
async def test_an_unusable_database_is_refused_in_one_line(url: str, reason: str, tmp_path: Path) -> None:
    run = await handover("certify", "--url", *url.split(), folder=tmp_path)
    assert (run.exit_code, run.out, run.err.count("\n")) == (1, "", 1), run
    assert "HANDOVER_" not in run.err
    assert reason in run.err
