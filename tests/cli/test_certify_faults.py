"""What `handover certify` says of faults that are frequent while an adapter is written: what is wrong, and where."""

from pathlib import Path

import pytest

from tests.support.installed import install
from tests.support.served import Run, handover

FAULTY = """
import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

from application.paging import page_of
from infrastructure.persistence import memory


class Faulty(memory.MemoryStore):
    pass


{lines}


if "open_store" not in globals():
    def open_store(settings):
        return Faulty()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where adapters are installed."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


async def certify(folder: Path, lines: str, only: str) -> Run:
    """Run some of the tests on an adapter that is the one in memory but for these lines."""
    install(folder, "faulty", FAULTY.format(lines=lines))
    return await handover("certify", "--url", "faulty://", "--only", only, folder=folder)


def is_refused(run: Run, reason: str) -> bool:
    """Whether it was refused before the first test, in one line that says this."""
    return (run.exit_code, run.out, run.err) == (1, "", f"handover: {reason}\n")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("conflicts='fails'", "one of 'wait', 'fail'"),
        ("writers='several'", "one of 'one', 'many'"),
        ("processes='single'", "one of 'one', 'one-machine', 'any'"),
        ("durable='no'", "True or False"),
        ("seconds_to_release_locks='none'", "a number of seconds, or None"),
        ("seconds_to_release_locks=-1", "a number of seconds, or None"),
        ("seconds_to_release_locks=True", "a number of seconds, or None"),
    ],
)
async def test_a_capability_that_no_engine_can_have_is_refused(value: str, expected: str, folder: Path) -> None:
    run = await certify(folder, f"Faulty.capabilities = replace(Faulty.capabilities, {value})", "attempts")
    assert is_refused(run, f"the adapter faulty states {value}; it has to be {expected}"), run


@pytest.mark.parametrize(
    ("entry_point", "reason"),
    [
        ("def open_store(settings): Faulty()", "returned None, not a Store"),
        ("async def open_store(settings): return Faulty()", "must not be `async def`, but `def`"),
    ],
)
async def test_an_entry_point_that_returns_no_store_is_refused(entry_point: str, reason: str, folder: Path) -> None:
    run = await certify(folder, entry_point, "attempts")
    assert is_refused(run, f"the adapter faulty: faulty:open_store {reason}"), run


async def test_a_method_that_must_not_be_a_coroutine_function_is_refused(folder: Path) -> None:
    run = await certify(folder, "async def pools(self): return {}\nFaulty.pools = pools", "attempts")
    assert run.err.startswith("handover: the adapter faulty is not complete: Store.pools must not be `async def`;"), run


SORTED_BY_SMALL_LETTERS = """
def open_store(settings):
    store = Faulty()

    async def page(filter, sort, window):
        def place(owned):
            value = getattr(owned.item, sort.by)
            return value.lower() if sort.by == "name" else value, owned.item.id

        items = [item for item in store.tables.items.values() if filter.matches(item)]
        return page_of([await store.items.get(item.id) for item in items], place, sort.descending, window)

    store.items.page = page
    return store
"""


async def test_a_list_that_never_ends_is_noticed(folder: Path) -> None:
    run = await certify(folder, SORTED_BY_SMALL_LETTERS, "items_are_listed and name")
    assert run.exit_code == 1
    endless = [line.strip() for line in run.out.splitlines() if "the page behind Position(value=" in line]
    assert endless, run
    assert all(
        line.endswith(" again: what `page` sorts by is not what a Position holds, or is not the order of the list")
        for line in endless
    )


WITHOUT_DOWNGRADE = """
from application.store import Schema


class Faulty(memory.MemoryStore):
    found = None

    async def schema(self):
        return Schema(self.found, "1")

    async def upgrade(self):
        self.found = "1"

    async def downgrade(self): ...
"""


async def test_a_downgrade_without_effect_ends_the_run(folder: Path) -> None:
    run = await certify(folder, WITHOUT_DOWNGRADE, "test_attempts")
    assert (run.exit_code, run.out) == (1, ""), run
    assert run.err.splitlines()[-1] == (
        "handover: the contract tests cannot be run: downgrade() has left the revision 1 as it was, so nothing can be"
        " emptied"
    )


RAISING_KEY_ERRORS = """
async def get(id):
    {}[str(id)]


def open_store(settings):
    store = Faulty()
    store.users.get = get
    return store
"""


async def test_an_error_is_told_with_its_place_and_what_knows_it(folder: Path) -> None:
    run = await certify(folder, RAISING_KEY_ERRORS, "no_such_user")
    [line] = [line for line in run.err.splitlines() if line.startswith("FAILED")]
    assert ": KeyError: '" in line
    place, explanation = line.rpartition("' (")[2].split("; ", 1)
    assert place.startswith("faulty.py, line ")
    assert place.endswith(", in get)")
    assert explanation == "no use case knows this error; see Errors in docs/adding-an-adapter.md"


PLAIN = """
def find_by_login(login):
    pass


def open_store(settings):
    store = Faulty()
    store.users.find_by_login = find_by_login
    return store
"""


async def test_a_method_that_has_to_be_a_coroutine_function_is_named(folder: Path) -> None:
    run = await certify(folder, PLAIN, "find_by or login")
    hint = "; UserReader.find_by_login has to be `async def`, unless it returns an awaitable"
    failed = [line for line in run.err.splitlines() if line.startswith("FAILED")]
    assert failed
    assert all(line.endswith(hint) for line in failed if "TypeError" in line), run
    assert any("TypeError" in line for line in failed)


async def test_a_plain_method_that_returns_an_awaitable_is_accepted(folder: Path) -> None:
    lines = PLAIN.replace("    pass\n", "    return asyncio.sleep(0)\n")
    run = await certify(folder, lines, "attempts")
    assert run.exit_code == 0, run


async def test_a_plain_method_of_the_first_calls_is_named(folder: Path) -> None:
    run = await certify(folder, "def close(self): ...\nFaulty.close = close", "attempts")
    assert run.err.startswith("handover: the adapter faulty fails before the first test: TypeError: "), run
    assert run.err.endswith("; Store.close has to be `async def`, unless it returns an awaitable\n")


IGNORING_NAMES = """
@asynccontextmanager
async def begin(self, **options):
    async with memory.MemoryStore.begin(self, **options) as uow:
        def claim_names(user):
            uow.users.emails.changed[user.email] = uow.users.usernames.changed[user.username] = user.id

        uow.users._claim_names = claim_names
        yield uow


Faulty.begin = begin
"""


async def test_a_response_that_is_not_the_expected_problem_is_shown(folder: Path) -> None:
    run = await certify(folder, IGNORING_NAMES, "same_bytes")
    [line] = [line for line in run.err.splitlines() if line.startswith("FAILED")]
    assert "test_the_same_bytes_as_in_memory: POST /users is answered 201 {" in line
    assert "-taken" in line.rpartition(", and not the problem ")[2]


NEVER_PAUSING = """
@asynccontextmanager
async def begin(self, **options):
    async with memory.MemoryStore.begin(self, **options) as uow:
        async def hold(*ids): return {}
        uow.users.hold = hold
        yield uow


Faulty.begin = begin
"""


async def test_a_failure_is_told_with_what_the_test_is_about(folder: Path) -> None:
    run = await certify(folder, NEVER_PAUSING, "lets_other_tasks_run")
    test, about, reason, *_ = (line.strip() for line in run.out.splitlines()[1:])
    assert test == "test_unit_of_work.py::test_each_unit_of_work_lets_other_tasks_run"
    assert about.startswith("A task that begins units of work in a loop would stop the whole server otherwise")
    assert reason.startswith("in 100 of 100 units of work, entering begin() let no other task run")


BLOCKING = """
import time

seconds = iter([4, 4])


@asynccontextmanager
async def begin(self, **options):
    time.sleep(next(seconds, 0))
    async with memory.MemoryStore.begin(self, **options) as uow:
        yield uow


Faulty.begin = begin
"""


async def test_a_line_that_blocks_the_event_loop_is_told_once(folder: Path) -> None:
    run = await certify(folder, BLOCKING, "test_asking_counts_nothing")
    assert run.err.count("the event loop has been blocked for 2 s in begin (faulty.py, line ") == 1, run


KEEPING_ITS_RECORDS = """
from application.store import Schema


class Faulty(memory.MemoryStore):
    capabilities = replace(memory.MemoryStore.capabilities, durable=True)
    found = None

    async def schema(self):
        return Schema(self.found, "1")

    async def upgrade(self):
        self.found = "1"

    async def downgrade(self):
        self.found = None
"""


async def test_a_store_that_keeps_its_records_until_it_is_opened_again_is_noticed(folder: Path) -> None:
    run = await certify(folder, KEEPING_ITS_RECORDS, "undoing_all_migrations")
    assert run.exit_code == 1, run
    assert (
        "downgrade() has undone all migrations, and left users, items, transfers, tasks, sessions, session tokens,"
        " log-in attempts, idempotency keys" in run.out
    )
