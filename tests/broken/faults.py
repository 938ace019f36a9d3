"""Adapters that are right but for one fault each, and the contract tests that must notice it.

A fault spoils a store as it is opened. Those that only need the ports are also tried on SQLite and on the
LMDB adapter in `examples`.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from copy import copy
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from application.errors import Busy
from application.paging import Page
from application.readers import OwnedItem
from domain.errors import NotFound, require
from domain.item import Transfer
from domain.session import ATTEMPT_WINDOW
from domain.text import normalize_identifier
from domain.user import User
from infrastructure.persistence.memory import MemoryStore, tables
from interfaces.testing.builders import NOON

Spoil = Callable[[Any], None]


@dataclass(frozen=True)
class Fault:
    spoil: Spoil
    noticed_by: tuple[str, ...]
    """Each of these contract tests fails; and each passes on the adapter without the fault."""
    through_the_ports: bool = False
    engine: str = "memory"


FAULTS: dict[str, Fault] = {}


def fault(*noticed_by: str, through_the_ports: bool = False, engine: str = "memory") -> Callable[[Spoil], Spoil]:
    def register(spoil: Spoil) -> Spoil:
        FAULTS[spoil.__name__.replace("_", "-")] = Fault(spoil, noticed_by, through_the_ports, engine)
        return spoil

    return register


def each_unit(spoil: Spoil) -> Spoil:
    """A fault in units of work is one that is made anew in each."""

    def spoil_store(store: Any) -> None:
        begin = store.begin

        @asynccontextmanager
        async def begin_spoilt(**options: Any) -> AsyncIterator[Any]:
            async with begin(**options) as uow:
                spoil(uow)
                yield uow

        store.begin = begin_spoilt

    spoil_store.__name__ = spoil.__name__
    return spoil_store


async def nothing(*arguments: object) -> None: ...


# What is not kept, or kept too early


@fault("test_transfers.py::test_a_number_is_not_given_twice", through_the_ports=True)
@each_unit
def history_is_lost(uow: Any) -> None:
    uow.transfers.add = nothing


@fault(
    "test_unit_of_work.py::test_nothing_is_kept_without_commit",
    "test_unit_of_work.py::test_a_cancelled_unit_keeps_nothing",
    through_the_ports=True,
)
def leaving_commits(store: Any) -> None:
    begin = store.begin

    @asynccontextmanager
    async def begin_and_commit(**options: Any) -> AsyncIterator[Any]:
        async with begin(**options) as uow:
            try:
                yield uow
            finally:
                with suppress(Exception):
                    await uow.commit()

    store.begin = begin_and_commit


def write_through(staged: Any) -> None:
    """Changes are applied as they are made."""
    write = staged.write

    def write_and_apply(key: Any, row: Any) -> None:
        write(key, row)
        staged.apply()
        staged.seen[key] = row

    staged.write = write_and_apply


def staged_in(uow: Any) -> list[Any]:
    parts = [getattr(uow, name) for name in vars(uow)]
    return [staged for part in parts for staged in vars(part).values() if isinstance(staged, tables.StagedTable)]


@fault(
    "test_unit_of_work.py::test_nothing_is_kept_without_commit",
    "test_unit_of_work.py::test_an_error_undoes_everything",
    "test_unit_of_work.py::test_a_refused_unit_keeps_nothing",
)
@each_unit
def rolling_back_does_nothing(uow: Any) -> None:
    for staged in staged_in(uow):
        write_through(staged)


@fault(
    "test_unit_of_work.py::test_nothing_is_kept_without_commit",
    "test_readers.py::test_readers_neither_see_an_open_unit_nor_wait_for_it",
)
def readers_see_open_units(store: Any) -> None:
    begin = store.begin

    @asynccontextmanager
    async def begin_in_the_open(**options: Any) -> AsyncIterator[Any]:
        async with begin(**options) as uow:
            before = [(staged, copy(staged.committed)) for staged in staged_in(uow)]
            for staged in staged_in(uow):
                write_through(staged)
            committed = False
            commit = uow.commit

            async def commit_and_know() -> None:
                nonlocal committed
                await commit()
                committed = True

            uow.commit = commit_and_know
            try:
                yield uow
            finally:
                if not committed:
                    for staged, rows in before:
                        staged.committed.clear()
                        staged.committed.update(rows)

    store.begin = begin_in_the_open


@fault("test_readers.py::test_readers_see_each_transfer_whole")
def commits_come_in_parts(store: Any) -> None:
    def spoil(uow: Any) -> None:
        async def commit() -> None:
            for staged in staged_in(uow):
                staged.check()
            for staged in staged_in(uow):
                staged.apply()
                await asyncio.sleep(0.001 * len(staged.changed))

        uow.commit = commit

    async def of_item(item_id: Any, window: Any) -> Page[Transfer]:
        """By itself the reader asks the item how many there are."""
        return Page([transfer for (item, _), transfer in store.tables.transfers.items() if item == item_id], False)

    each_unit(spoil)(store)
    store.transfers.page = of_item


# Who was first


@fault(
    "test_items.py::test_of_overlapping_changes_none_is_lost",
    "test_items.py::test_an_item_is_either_removed_or_changed",
    "test_items.py::test_of_many_who_transfer_one_item_one_wins",
    "test_users.py::test_overlapping_changes_of_one_user",
    "test_concurrency.py::test_what_clients_see_can_have_happened_one_after_another",
)
@each_unit
def nothing_is_locked(uow: Any) -> None:
    for staged in (uow.items.rows, uow.users.rows, uow.transfers.rows):
        staged.check = lambda: None


@fault("test_items.py::test_an_outdated_item_is_not_saved", "test_items.py::test_an_outdated_item_is_not_removed")
@each_unit
def versions_are_not_checked(uow: Any) -> None:
    uow.items._check_version = lambda item_id, version: None


@fault(
    "test_users.py::test_a_held_user_is_not_deactivated",
    "test_users.py::test_a_held_user_is_not_removed",
)
@each_unit
def holding_holds_nothing(uow: Any) -> None:
    rows = uow.users.rows

    async def hold(*user_ids: Any) -> dict[Any, Any]:
        seen = {user_id: rows.changed.get(user_id, rows.committed.get(user_id)) for user_id in user_ids}
        return {user_id: copy(user) for user_id, user in seen.items() if user}

    uow.users.hold = hold


@fault("test_users.py::test_a_name_is_not_given_twice", "test_users.py::test_of_many_who_want_one_name_one_gets_it")
@each_unit
def names_are_not_unique(uow: Any) -> None:
    uow.users._claim_names = lambda user: (
        uow.users.emails.changed.update({user.email: user.id}),
        uow.users.usernames.changed.update({user.username: user.id}),
    )
    uow.users.emails.check = uow.users.usernames.check = lambda: None


@fault(
    "test_users.py::test_a_locked_user_is_not_held",
    "test_tasks.py::test_whoever_is_being_removed_gets_no_task",
    "test_sessions.py::test_no_sign_in_slips_past_a_revocation",
)
@each_unit
def locks_let_holds_pass(uow: Any) -> None:
    uow.users.holds.check = lambda: None


@fault("test_users.py::test_an_owner_is_not_removed")
@each_unit
def owners_are_removed(uow: Any) -> None:
    uow.items.any_owned_by = lambda users: False


@fault("test_users.py::test_one_name_is_another_s_neither_in_case_nor_accent")
@each_unit
def names_are_compared_by_case(uow: Any) -> None:
    add = uow.users.add

    async def add_folded(user: Any) -> None:
        await add(replace(user, email=normalize_identifier(user.email)))

    uow.users.add = add_folded


# What comes back


@fault("test_unit_of_work.py::test_changing_what_a_unit_hands_out_changes_nothing")
@each_unit
def entities_are_handed_out_live(uow: Any) -> None:
    users, items = uow.users.rows, uow.items.rows

    async def hold(*user_ids: Any) -> dict[Any, Any]:
        return {user_id: users.read(user_id) for user_id in user_ids}

    async def get_for_update(item_id: Any) -> Any:
        return items.read(item_id)

    uow.users.hold, uow.items.get_for_update = hold, get_for_update


@fault("test_unit_of_work.py::test_changing_what_a_unit_was_given_changes_nothing")
@each_unit
def entities_are_taken_in_live(uow: Any) -> None:
    async def add(item: Any) -> None:
        uow.items.rows.write(item.id, item)

    uow.items.add = add


@fault("test_unit_of_work.py::test_changing_what_a_reader_hands_out_changes_nothing")
def readers_hand_out_live_entities(store: Any) -> None:
    async def get(user_id: Any) -> Any:
        return require(store.tables.users.get(user_id), "user")

    store.users.get = get


def changing_items(store: Any, change: Callable[[Any], Any]) -> None:
    get = store.items.get

    async def get_changed(item_id: Any) -> OwnedItem:
        owned: OwnedItem = await get(item_id)
        return replace(owned, item=change(owned.item))

    store.items.get = get_changed


@fault("test_items.py::test_an_item_comes_back_as_it_was", through_the_ports=True)
def prices_are_floats(store: Any) -> None:
    changing_items(store, lambda item: replace(item, price=Decimal(float(item.price))))


@fault("test_items.py::test_an_item_comes_back_as_it_was", through_the_ports=True)
def prices_lose_their_decimals(store: Any) -> None:
    changing_items(store, lambda item: replace(item, price=item.price.normalize()))


@fault("test_items.py::test_an_item_comes_back_as_it_was", through_the_ports=True)
def an_empty_text_is_none(store: Any) -> None:
    changing_items(store, lambda item: replace(item, description=item.description or None))


@fault("test_items.py::test_an_item_comes_back_as_it_was", through_the_ports=True)
def times_are_naive(store: Any) -> None:
    changing_items(store, lambda item: replace(item, created_at=item.created_at.replace(tzinfo=None)))


@fault("test_items.py::test_an_item_comes_back_as_it_was", through_the_ports=True)
def times_are_whole_seconds(store: Any) -> None:
    changing_items(store, lambda item: replace(item, created_at=item.created_at.replace(microsecond=0)))


@fault("test_transfers.py::test_a_page_is_a_part_of_the_history", through_the_ports=True)
def pages_are_one_row_too_long(store: Any) -> None:
    of_item = store.transfers.page

    async def of_item_and_one(item_id: Any, window: Any) -> Any:
        return await of_item(item_id, replace(window, limit=window.limit + 1))

    store.transfers.page = of_item_and_one


@fault("test_transfers.py::test_positions_lead_through_the_history_while_it_grows", through_the_ports=True)
def positions_are_included(store: Any) -> None:
    of_item = store.transfers.page

    async def of_item_from(item_id: Any, window: Any) -> Any:
        if window.after is not None and window.after.value > 2:
            window = replace(window, after=replace(window.after, value=window.after.value - 1))
        return await of_item(item_id, window)

    store.transfers.page = of_item_from


@fault("test_pages.py::test_items_are_listed_in_order_and_each_once", through_the_ports=True)
def ties_are_skipped(store: Any) -> None:
    page = store.items.page

    async def page_behind_the_value(filter: Any, sort: Any, window: Any) -> Any:
        if window.after is not None:
            last = UUID(int=0) if sort.descending else UUID(int=2**128 - 1)
            window = replace(window, after=replace(window.after, id=last))
        return await page(filter, sort, window)

    store.items.page = page_behind_the_value


@fault("test_pages.py::test_the_order_of_names_is_that_of_code_points", through_the_ports=True)
def names_are_sorted_as_in_a_dictionary(store: Any) -> None:
    page = store.items.page

    async def page_in_another_order(filter: Any, sort: Any, window: Any) -> Any:
        found = await page(filter, sort, window)
        return replace(found, items=sorted(found.items, key=lambda owned: normalize_identifier(owned.item.name)))

    store.items.page = page_in_another_order


@fault("test_pages.py::test_counting_stops_at_the_limit", through_the_ports=True)
def everything_is_counted(store: Any) -> None:
    page = store.items.page

    async def page_and_count(filter: Any, sort: Any, window: Any) -> Any:
        found = await page(filter, sort, window)
        return replace(found, total=found.total and found.total + 1)

    store.items.page = page_and_count


@fault("test_tasks.py::test_nobody_else_reads_a_task", through_the_ports=True)
def tasks_are_public(store: Any) -> None:
    get = store.tasks.get

    async def get_any(task_id: Any, owner_id: Any) -> Any:
        with suppress(NotFound):
            return await get(task_id, owner_id)
        async with store.begin() as uow:
            return await uow.tasks.get_for_update(task_id)

    store.tasks.get = get_any


# Keys, sessions, attempts


@fault("test_sessions.py::test_sessions_of_a_user_end_together_and_nobody_elses", through_the_ports=True)
@each_unit
def revoking_all_revokes_none(uow: Any) -> None:
    uow.sessions.revoke_all = nothing


@fault("test_attempts.py::test_many_at_once_are_all_counted")
@each_unit
def attempts_overwrite_each_other(uow: Any) -> None:
    uow.attempts.rows.check = lambda: None


@fault("test_purge.py::test_what_has_had_its_time_goes_and_nothing_else", through_the_ports=True)
def purging_takes_too_much(store: Any) -> None:
    purge = store.purge

    async def purge_early(at: Any, limit: int) -> Any:
        return await purge(at + timedelta(days=365), limit)

    store.purge = purge_early


@fault(
    "test_purge.py::test_no_more_is_removed_at_once_than_was_asked_for",
    "test_purge.py::test_a_session_goes_after_its_tokens",
    through_the_ports=True,
)
def purging_knows_no_limit(store: Any) -> None:
    purge = store.purge

    async def purge_all(at: Any, limit: int) -> Any:
        return await purge(at, 1_000_000)

    store.purge = purge_all


@fault(
    "test_keys.py::test_a_key_whose_unit_was_not_committed_is_free",
    "test_keys.py::test_a_key_whose_unit_failed_is_free",
)
@each_unit
def keys_are_kept_apart_from_the_effect(uow: Any) -> None:
    write_through(uow.keys.rows)


@fault(
    "test_keys.py::test_copies_of_a_request_create_one_thing",
    "test_keys.py::test_an_expired_key_is_replaced_by_one_of_many",
)
@each_unit
def keys_are_checked_and_then_set(uow: Any) -> None:
    uow.keys.claims = set()
    uow.keys.rows.check = lambda: None


@fault("test_keys.py::test_a_key_of_another_request_is_refused", through_the_ports=True)
@each_unit
def fingerprints_are_ignored(uow: Any) -> None:
    claim = uow.keys.claim

    async def claim_any(key: Any, fingerprint: bytes, **rest: Any) -> bytes | None:
        answer: bytes | None = await claim(key, b"any", **rest)
        return answer

    uow.keys.claim = claim_any


@fault("test_keys.py::test_a_key_holds_for_its_lifetime", through_the_ports=True)
@each_unit
def keys_never_expire(uow: Any) -> None:
    claim = uow.keys.claim

    async def claim_for_ever(key: Any, fingerprint: bytes, *, lifetime: timedelta, **rest: Any) -> bytes | None:
        answer: bytes | None = await claim(key, fingerprint, lifetime=1000 * lifetime, **rest)
        return answer

    uow.keys.claim = claim_for_ever


@fault("test_keys.py::test_a_key_whose_unit_failed_is_free")
@each_unit
def dead_units_keep_their_claims(uow: Any) -> None:
    uow.keys.release = lambda: None


# The store as a whole


SHARED = MemoryStore()


@fault("test_capabilities.py::test_data_outlive_the_process_as_stated")
def stores_share_their_state(store: Any) -> None:
    store.begin, store.users, store.items = SHARED.begin, SHARED.users, SHARED.items


@fault("test_unit_of_work.py::test_many_units_that_fail_do_not_exhaust_the_store", through_the_ports=True)
def units_that_fail_leak_their_connection(store: Any) -> None:
    begin, connections = store.begin, asyncio.Semaphore(5)

    @asynccontextmanager
    async def begin_on_a_connection(**options: Any) -> AsyncIterator[Any]:
        try:
            async with asyncio.timeout(0.1):
                await connections.acquire()
        except TimeoutError:
            raise Busy("no connection is left") from None
        async with begin(**options) as uow:
            yield uow
        connections.release()

    store.begin = begin_on_a_connection


@fault("test_readers.py::test_readers_neither_see_an_open_unit_nor_wait_for_it", through_the_ports=True)
def readers_wait_for_units(store: Any) -> None:
    begin, get, lock = store.begin, store.items.get, asyncio.Lock()

    @asynccontextmanager
    async def begin_alone(**options: Any) -> AsyncIterator[Any]:
        async with lock, begin(**options) as uow:
            yield uow

    async def get_later(item_id: Any) -> Any:
        async with lock:
            return await get(item_id)

    store.begin, store.items.get = begin_alone, get_later


@fault("test_unit_of_work.py::test_other_tasks_run_while_a_unit_of_work_waits_for_another", through_the_ports=True)
def waiting_blocks_the_event_loop(store: Any) -> None:
    begin, lock = store.begin, threading.Lock()

    @asynccontextmanager
    async def begin_blocking(**options: Any) -> AsyncIterator[Any]:
        if not lock.acquire(timeout=4):
            raise Busy("another unit of work has not ended")
        try:
            async with begin(**options) as uow:
                yield uow
        finally:
            lock.release()

    store.begin = begin_blocking


@fault("test_unit_of_work.py::test_each_unit_of_work_lets_other_tasks_run")
@each_unit
def units_never_pause(uow: Any) -> None:
    uow.users.hold = nothing


@fault("test_unit_of_work.py::test_a_commit_that_is_cancelled_twice_takes_effect_as_a_whole_or_not_at_all")
def threads_go_on_without_their_lock(store: Any) -> None:
    """What docs/adding-an-adapter.md had as an example: a second cancellation ends the wait for the thread."""
    lock = asyncio.Lock()

    def write(uow: Any) -> None:
        for staged in staged_in(uow):
            time.sleep(0.001)
            staged.apply()

    def spoil(uow: Any) -> None:
        async def commit() -> None:
            async with lock:
                for staged in staged_in(uow):
                    staged.check()
                work = asyncio.ensure_future(asyncio.to_thread(write, uow))
                try:
                    await asyncio.shield(work)
                finally:
                    await asyncio.wait({work})

        uow.commit = commit

    each_unit(spoil)(store)


def after_opening(store: Any, work: Callable[[], Awaitable[object]]) -> None:
    """The work is done each time that the store is opened, unless it is new."""
    open = store.open

    async def open_and_work() -> None:
        await open()
        if (await store.schema()).is_current:
            await work()

    store.open = open_and_work


OPENED_AGAIN = "test_stream.py::test_a_store_that_is_opened_again_holds_the_same"


@fault(OPENED_AGAIN, through_the_ports=True, engine="sqlite")
def attempts_are_forgotten_on_opening(store: Any) -> None:
    after_opening(store, lambda: store.purge(NOON + ATTEMPT_WINDOW, 100))


@fault(OPENED_AGAIN, through_the_ports=True, engine="sqlite")
def times_are_whole_seconds_after_opening(store: Any) -> None:
    async def lose_fractions() -> None:
        users = await store.stream.read(User, None, 100)
        await store.stream.write([replace(one, created_at=one.created_at.replace(microsecond=0)) for one in users])

    after_opening(store, lose_fractions)


REMOVED_USERS: list[Any] = []


@fault(OPENED_AGAIN, through_the_ports=True, engine="sqlite")
def removed_users_are_back_after_opening(store: Any) -> None:
    def spoil(uow: Any) -> None:
        remove = uow.users.remove

        async def remove_and_note(user: Any) -> None:
            await remove(user)
            REMOVED_USERS.append(user)

        uow.users.remove = remove_and_note

    each_unit(spoil)(store)
    after_opening(store, lambda: store.stream.write(REMOVED_USERS))


def claim(store: Any, **claimed: Any) -> None:
    store.capabilities = replace(store.capabilities, **claimed)


@fault("test_capabilities.py::test_data_outlive_the_process_as_stated", through_the_ports=True)
def claims_another_durability(store: Any) -> None:
    claim(store, durable=not store.capabilities.durable)


@fault("test_capabilities.py::test_processes_share_the_data_as_stated", through_the_ports=True)
def claims_other_processes(store: Any) -> None:
    claim(store, processes="one-machine" if store.capabilities.processes == "one" else "one")


@fault(
    "test_capabilities.py::test_units_of_work_that_change_different_aggregates_run_at_once_as_stated",
    through_the_ports=True,
)
def claims_another_number_of_writers(store: Any) -> None:
    claim(store, writers="many" if store.capabilities.writers == "one" else "one")


@fault(
    "test_capabilities.py::test_units_of_work_that_change_one_aggregate_wait_or_fail_as_stated", through_the_ports=True
)
def claims_another_end_of_conflicts(store: Any) -> None:
    claim(store, conflicts="wait" if store.capabilities.conflicts == "fail" else "fail")


@fault(
    "test_capabilities.py::test_locks_are_in_the_memory_of_a_process_only_if_no_other_shares_them",
    through_the_ports=True,
)
def claims_other_locks(store: Any) -> None:
    claim(store, seconds_to_release_locks=None if store.capabilities.processes != "one" else 0)


# Optimistic transactions of PostgreSQL


@fault("test_users.py::test_a_held_user_is_not_deactivated", engine="postgresql-optimistic")
@each_unit
def held_users_are_not_checked(uow: Any) -> None:
    remember = uow.transaction.remember
    uow.transaction.remember = lambda table, *row: None if table.name == "users" else remember(table, *row)


@fault("test_users.py::test_a_held_user_is_not_deactivated", engine="postgresql-optimistic")
@each_unit
def one_of_the_held_users_is_not_checked(uow: Any) -> None:
    remember = uow.transaction.remember

    def remember_one_per_table(table: Any, *row: Any) -> None:
        if not uow.transaction.versions.get(table):
            remember(table, *row)

    uow.transaction.remember = remember_one_per_table


@fault("test_items.py::test_an_outdated_item_is_not_saved", engine="postgresql-optimistic")
def what_does_not_fit_is_left_out(store: Any) -> None:
    combined = store.database.combined
    store.database.combined = lambda changes, exactly: combined(changes, None)


@fault("test_keys.py::test_copies_of_a_request_create_one_thing", engine="postgresql")
@each_unit
def keys_are_forgotten(uow: Any) -> None:
    save_answer = uow.keys.save_answer

    async def save_and_forget(*arguments: Any) -> None:
        await save_answer(*arguments)
        uow.transaction.claim = None

    uow.keys.save_answer = save_and_forget


@dataclass(frozen=True)
class BrokenAdapter:
    engine: str
    fault: Fault


BROKEN_ADAPTERS = {
    f"{engine}-{name}": BrokenAdapter(engine, fault)
    for name, fault in FAULTS.items()
    for engine in (fault.engine, *["sqlite", "lmdb"] * fault.through_the_ports)
}


def noticing(engine: str) -> set[str]:
    """Those that notice a broken adapter's fault; those that notice any, for an engine as it is."""
    if engine in BROKEN_ADAPTERS:
        return set(BROKEN_ADAPTERS[engine].fault.noticed_by)
    return {test for broken in BROKEN_ADAPTERS.values() if broken.engine == engine for test in broken.fault.noticed_by}
