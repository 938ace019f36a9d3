"""Whether the store takes writes: what the last write told, and how the end of a shortage is noticed."""

from collections import Counter

import pytest

from application.errors import NoSpace, Unavailable
from application.ports import Begin, UnitOfWork
from application.store import Store
from application.transact import Transact
from application.use_cases.health import CheckWritable
from interfaces.testing.builders import a_user, new_id
from interfaces.testing.clock_and_ids import SetClock
from tests.application.test_transact import committing, failing


async def sign_up(uow: UnitOfWork) -> None:
    await uow.users.add(a_user())


async def test_without_a_failure_nothing_is_written(begin: Begin, clock: SetClock) -> None:
    transact = Transact(committing(begin, before=failing(NoSpace("full"))), clock)
    assert await CheckWritable(transact, new_id, clock)()


async def test_a_store_without_space_is_not_writable_until_a_write_succeeds(begin: Begin, clock: SetClock) -> None:
    full = NoSpace("full")
    transact = Transact(committing(begin, before=failing(full, full, full, full)), clock)
    check = CheckWritable(transact, new_id, clock)
    with pytest.raises(NoSpace):
        await transact(sign_up)
    assert not await check()
    assert not await check()

    with pytest.raises(NoSpace):
        await transact(sign_up)
    await transact(sign_up)
    assert await check()


async def test_the_check_itself_finds_out_that_there_is_space_again(begin: Begin, clock: SetClock) -> None:
    """A server that is not ready gets no other requests."""
    transact = Transact(committing(begin, before=failing(NoSpace("full"))), clock)
    with pytest.raises(NoSpace):
        await transact(sign_up)
    assert await CheckWritable(transact, new_id, clock)()
    assert not transact.writes.out_of_space


async def test_another_failure_says_nothing_about_space(begin: Begin, clock: SetClock) -> None:
    transact = Transact(committing(begin, before=failing(Unavailable("down"))), clock)
    with pytest.raises(Unavailable):
        await transact(sign_up)
    assert await CheckWritable(transact, new_id, clock)()


async def test_what_the_check_writes_is_purged(begin: Begin, clock: SetClock, store: Store) -> None:
    transact = Transact(committing(begin, before=failing(NoSpace("full"))), clock)
    with pytest.raises(NoSpace):
        await transact(sign_up)
    await CheckWritable(transact, new_id, clock)()
    assert await store.purge(clock(), limit=10) == Counter(keys=1)
