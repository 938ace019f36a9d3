"""Checking a store: every corruption is found and no legal state is, also while the store changes."""

import ast
import asyncio
import inspect
import re
from dataclasses import replace
from itertools import pairwise
from types import ModuleType
from typing import Any, cast
from uuid import UUID

import pytest

from application import record_rules
from application.errors import Unavailable
from application.store import Store
from application.streaming import KINDS, Record, SessionToken, label
from application.use_cases import check_store
from application.use_cases.check_store import CheckStore, Finding, just_before, name, remember
from domain.item import Item, Transfer
from domain.session import Session
from domain.user import User, UserId
from infrastructure.persistence.memory import MemoryStore
from interfaces.testing.builders import a_session, a_transfer, a_user, an_item, new_id
from interfaces.testing.clock_and_ids import SetClock
from tests.support.clients.traffic import Traffic
from tests.support.corruptions import CORRUPTIONS, LEGAL, World, problems_in, token_of, write_world


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_store, "PAUSE", 0)


class MemoryEditor:
    """Changes the tables."""

    def __init__(self, store: MemoryStore) -> None:
        self.store: Store = store
        self.tables = store.tables

    async def write(self, record: Record) -> None:
        await self.store.stream.write([record])

    async def remove(self, record: Record) -> None:
        match record:
            case User():
                del self.tables.users[record.id]
            case Item():
                del self.tables.items[record.id]
            case Transfer():
                del self.tables.transfers[record.item_id, record.number]
            case Session():
                del self.tables.sessions[record.id]
            case SessionToken():
                del self.tables.tokens[record.token_hash]
            case _:
                raise AssertionError(f"no corruption removes a {type(record).__name__}")

    async def set(self, record: Record, field: str, value: Any) -> None:
        await self.write(replace(cast(Any, record), **{field: value}))


@pytest.fixture
def editor() -> MemoryEditor:
    return MemoryEditor(MemoryStore())


@pytest.fixture
async def world(editor: MemoryEditor) -> World:
    return await write_world(editor.store)


@pytest.fixture
def check(editor: MemoryEditor) -> CheckStore:
    return CheckStore(editor.store, SetClock())


@pytest.mark.parametrize("name", [name for name, one in CORRUPTIONS.items() if "memory" in one.engines])
@pytest.mark.parametrize("page", [2, 1_000])
async def test_a_corruption_is_found(
    name: str, page: int, editor: MemoryEditor, world: World, check: CheckStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_store, "PAGE", page)
    await CORRUPTIONS[name].spoil(editor, world)
    diagnosis = await check()
    assert problems_in(diagnosis, world) == sorted(CORRUPTIONS[name].problems)
    assert diagnosis.count == len(diagnosis.findings)


def texts_in(module: ModuleType) -> list[str]:
    """The texts of all problems that the module names, as patterns."""
    nodes = [*ast.walk(ast.parse(inspect.getsource(module)))]
    formatted = [node.values for node in nodes if isinstance(node, ast.JoinedStr)]
    inside = {id(part) for parts in formatted for part in parts}
    whole: list[list[ast.expr]] = [
        [node] for node in nodes if isinstance(node, ast.Constant) and id(node) not in inside
    ]
    patterns = [
        "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".+" for part in parts)
        for parts in whole + formatted
    ]
    return [
        pattern for pattern in patterns if re.match(r"(its?|one\\ of|the\\ version|transfer|user)\\ .*\\ ", pattern)
    ]


@pytest.mark.parametrize("text", [*texts_in(record_rules), *texts_in(check_store)])
def test_every_problem_is_among_the_corruptions(text: str) -> None:
    found = [problem.partition(": ")[2] for one in CORRUPTIONS.values() for problem in one.problems]
    assert any(re.fullmatch(text, problem) for problem in found)


@pytest.mark.parametrize("name", [name for name, one in LEGAL.items() if "memory" in one.engines])
@pytest.mark.parametrize("page", [1, 2, 1_000])
async def test_a_legal_state_is_no_finding(
    name: str, page: int, editor: MemoryEditor, world: World, check: CheckStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_store, "PAGE", page)
    await LEGAL[name].change(editor, world)
    diagnosis = await check()
    assert diagnosis.findings == []


@pytest.mark.parametrize("page", [1, 2, 1_000])
async def test_everything_is_counted(
    page: int, world: World, check: CheckStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_store, "PAGE", page)
    diagnosis = await check()
    assert {kind: count for kind, count in diagnosis.checked.items() if count} == {
        "users": 3,
        "items": 2,
        "transfers": 3,
        "tasks": 1,
        "sessions": 1,
        "session tokens": 2,
        "log-in attempts": 1,
        "idempotency keys": 1,
    }


async def test_each_kind_is_reported_as_done_once(
    world: World, check: CheckStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_store, "PAGE", 1)
    done: list[str] = []
    phases = set()

    def report(phase: str, kind: type[Record], count: int, total: int) -> None:
        phases.add(phase)
        if count >= total:
            done.append(label(kind))

    await check(report)
    assert phases == {"check"}
    assert done == [label(kind) for kind in KINDS]


async def test_settings_are_findings(editor: MemoryEditor, check: CheckStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unsafe_settings() -> dict[str, str]:
        return {"fsync": "is off"}

    monkeypatch.setattr(editor.store, "unsafe_settings", unsafe_settings)
    diagnosis = await check()
    assert diagnosis.findings == [Finding("setting", "fsync", "is off")]
    assert str(diagnosis.findings[0]) == "setting fsync: is off"


async def test_only_the_first_findings_are_kept(editor: MemoryEditor, check: CheckStore) -> None:
    for _ in range(check_store.MAX_FINDINGS + 5):
        await editor.write(a_user(version=0))
    diagnosis = await check()
    assert len(diagnosis.findings) == check_store.MAX_FINDINGS
    assert diagnosis.count == check_store.MAX_FINDINGS + 5


async def test_what_is_right_at_the_second_look_is_no_finding(
    editor: MemoryEditor, world: World, check: CheckStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = []

    async def mend(seconds: float) -> None:
        pauses.append(seconds)
        await editor.write(world.vase)

    monkeypatch.setattr(check_store, "PAUSE", 7)
    monkeypatch.setattr(asyncio, "sleep", mend)
    await editor.write(replace(world.vase, owner_id=world.bob.id, transfers=2))
    assert (await check()).findings == []
    assert pauses == [7]


async def test_records_that_are_added_before_the_second_look_hide_nothing(
    editor: MemoryEditor, world: World, check: CheckStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_store, "PAGE", 2)
    early = [a_user(id=UserId(UUID(int=number))) for number in (1, 2)]

    async def add_some(seconds: float) -> None:
        await editor.store.stream.write(early)

    monkeypatch.setattr(asyncio, "sleep", add_some)
    await editor.write(replace(world.grace, version=0))
    [finding] = (await check()).findings
    assert finding.id == str(world.grace.id)


def test_a_cache_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_store, "MAX_REMEMBERED", 3)
    cache: dict[int, int] = {}
    for number in range(10):
        remember(cache, number, number)
        assert cache[number] == number
        assert len(cache) <= 3


async def test_a_record_that_cannot_be_read_ends_its_kind_and_nothing_else(
    editor: MemoryEditor, world: World, check: CheckStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = editor.store.stream.read
    bad = sorted([world.ada, world.grace, world.bob], key=lambda user: user.id)[1]

    async def read_or_fail(kind: type[Any], after: Any, limit: int) -> list[Any]:
        records = await read(kind, after, limit)
        if bad in records:
            raise ValueError("it has a field of another type")
        return records

    monkeypatch.setattr(editor.store.stream, "read", read_or_fail)
    await editor.write(replace(world.task, title=""))
    diagnosis = await check()
    assert [str(finding) for finding in diagnosis.findings] == [
        f"user (the one after {world.ada.id}): it cannot be read, so neither it nor what follows was checked",
        f"task {world.task.id}: its title is not valid: must not be blank",
    ]
    assert diagnosis.checked["users"] == 1


async def test_a_transfer_that_cannot_be_read_is_a_finding(
    editor: MemoryEditor, world: World, check: CheckStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = editor.store.stream.history

    async def history_or_fail(after: Any, limit: int) -> list[Any]:
        transfers = await history(after, limit)
        if world.transfers[0] in transfers:
            raise KeyError("version")
        return transfers

    monkeypatch.setattr(editor.store.stream, "history", history_or_fail)
    [finding] = (await check()).findings
    assert (finding.kind, finding.id) == ("transfer", "(the first one)")


async def test_a_store_that_fails_is_no_finding(
    editor: MemoryEditor, check: CheckStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> Any:
        raise Unavailable("it does not answer")

    monkeypatch.setattr(editor.store.stream, "read", fail)
    with pytest.raises(Unavailable):
        await check()


async def test_memory_is_bounded(editor: MemoryEditor, check: CheckStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An item with a long history is read in pages as well, and the caches do not grow without end."""
    monkeypatch.setattr(check_store, "PAGE", 3)
    monkeypatch.setattr(check_store, "MAX_REMEMBERED", 2)
    limits: list[int] = []
    history = editor.store.stream.history

    async def watched(after: Any, limit: int) -> list[Transfer]:
        limits.append(limit)
        return await history(after, limit)

    monkeypatch.setattr(editor.store.stream, "history", watched)
    users = [a_user() for _ in range(5)]
    await editor.store.stream.write(users)
    for user in users:
        session = a_session(user)
        await editor.write(session)
        await editor.write(token_of(session))
    item = an_item(users[0])
    for number in range(20):
        to = users[(number + 1) % 5]
        await editor.write(a_transfer(item, to))
        item = replace(item, owner_id=to.id, version=item.version + 1, transfers=item.transfers + 1)
    await editor.write(item)
    for user in users:
        await editor.write(an_item(user))
    diagnosis = await check()
    assert diagnosis.findings == []
    assert diagnosis.checked["transfers"] == 20
    assert set(limits) == {3}


async def test_no_false_alarm_while_the_store_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are small, every read lets others run before and after, and a few items are transferred all the time."""
    monkeypatch.setattr(check_store, "PAGE", 20)
    store = MemoryStore()
    users = [a_user() for _ in range(4)]
    items = [an_item(users[0]) for _ in range(5)]
    await store.stream.write(users)
    await store.stream.write(items)
    traffic, slow = Traffic(store, users, items), SlowStore(store)
    working = [asyncio.ensure_future(work()) for work in (traffic.transfer_and_change, traffic.come_and_go) * 2]
    changes = []
    for _ in range(12):
        changes.append(traffic.changes)
        diagnosis = await CheckStore(cast(Store, slow), SetClock())()
        assert diagnosis.findings == []
    traffic.stopped = True
    await asyncio.gather(*working)
    assert all(later > earlier for earlier, later in pairwise(changes))
    assert changes[-1] > 100


class SlowStore:
    """A store whose reads let other tasks run before and after."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.reads = 0
        self.stream = self.users = self.items = self
        self.unsafe_settings = store.unsafe_settings
        self.count = store.stream.count
        self.page = self.slow(store.items.page)
        self.get = self.slow(store.users.get)
        self.find_by_login = self.slow(store.users.find_by_login)
        self.read = self.slow(store.stream.read)
        self.history = self.slow(store.stream.history)

    def slow(self, function: Any) -> Any:
        async def call(*arguments: Any) -> Any:
            self.reads += 1
            for _ in range(self.reads % 7):
                await asyncio.sleep(0)
            result = await function(*arguments)
            for _ in range(self.reads % 5):
                await asyncio.sleep(0)
            return result

        return call


async def test_a_user_whose_name_was_taken_over_meanwhile_is_no_finding(
    editor: MemoryEditor, world: World, check: CheckStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bob gives his address up after his page was read, and Ada takes it, at both looks."""
    find = editor.store.users.find_by_login
    looks = 0

    async def find_late(login: str) -> User | None:
        nonlocal looks
        bob = (await editor.store.stream.read(User, just_before(world.bob.id), 1))[0]
        if login == bob.email:
            looks += 1
            await editor.write(replace(bob, email=f"bob{looks}@example.org", version=bob.version + 1))
            await editor.write(replace(world.ada, email=login))
        return await find(login)

    monkeypatch.setattr(editor.store.users, "find_by_login", find_late)
    assert (await check()).findings == []
    assert looks


@pytest.mark.parametrize(
    ("id", "before"),
    [
        (UUID(int=0), None),
        (UUID(int=1 << 64), UUID(int=(1 << 64) - 1)),
        (b"\x00\x00", None),
        (b"\x01\x00", b"\x00\xff"),
    ],
)
def test_what_is_just_before(id: UUID | bytes, before: UUID | bytes | None) -> None:
    assert just_before(id) == before


def test_names_in_findings() -> None:
    id = new_id()
    assert name(id) == str(id)
    assert name(b"\xab" * 32) == "ab" * 8  # a hash is not shown whole
    assert name((id, "POST /items", "k")) == f"{id} POST /items k"
