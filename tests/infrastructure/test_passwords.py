"""Password hashes: right, of the promised cost, and never in the way of the event loop."""

import asyncio
from threading import Barrier, Event, Lock

import pytest
from argon2 import Type, extract_parameters

from application.errors import Busy
from infrastructure.security.passwords import Argon2Passwords, _dummy_hash

PASSWORD = "correct horse battery staple"


async def test_a_hash_fits_its_password_alone() -> None:
    passwords = Argon2Passwords(cores=2)
    hashed = await passwords.hash(PASSWORD)
    assert await passwords.verify(PASSWORD, hashed)
    assert not await passwords.verify(PASSWORD.title(), hashed)
    assert hashed != await passwords.hash(PASSWORD)


async def test_accents_may_be_encoded_as_one_character_or_two() -> None:
    passwords = Argon2Passwords(cores=2)
    one, two = "caf\u00e9 au lait", "cafe\u0301 au lait"
    assert await passwords.verify(two, await passwords.hash(one))
    assert await passwords.verify(one, await passwords.hash(two))


async def test_nobodys_hash_costs_as_much_and_fits_nothing() -> None:
    passwords = Argon2Passwords(cores=1)
    real, nobodys = extract_parameters(await passwords.hash(PASSWORD)), extract_parameters(_dummy_hash())
    assert real == nobodys
    assert (real.type, real.memory_cost, real.time_cost, real.parallelism) == (Type.ID, 19456, 2, 1)
    assert not await passwords.verify(PASSWORD, None)


async def test_the_event_loop_goes_on() -> None:
    passwords = Argon2Passwords(cores=1)
    hashing = asyncio.create_task(passwords.hash(PASSWORD))
    turns = 0
    while not hashing.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 10


@pytest.mark.parametrize(("cores", "workers", "at_once"), [(4, 1, 4), (4, 2, 2), (3, 2, 1), (2, 8, 1)])
async def test_workers_share_the_cores(cores: int, workers: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Argon2Passwords(cores=cores, workers=workers)
    running, most, lock, everybody = 0, 0, Lock(), Barrier(at_once)

    def hash_and_count(password: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        everybody.wait(60)
        with lock:
            running -= 1
        return password

    monkeypatch.setattr(passwords._hasher, "hash", hash_and_count)
    await asyncio.gather(*(passwords.hash(PASSWORD) for _ in range(16)))
    assert most == at_once


async def test_a_full_queue_is_busy_and_empties() -> None:
    passwords = Argon2Passwords(cores=1, waiting_per_core=2)
    hashing = [asyncio.create_task(passwords.hash(PASSWORD)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await passwords.hash(PASSWORD)
    usage = passwords.usage()
    assert (usage.size, usage.in_use, usage.waiting, usage.waits, usage.seconds_waited) == (1, 1, 2, 0, 0.0)
    await asyncio.gather(*hashing)
    assert await passwords.hash(PASSWORD)
    usage = passwords.usage()
    assert (usage.waiting, usage.waits) == (0, 2)
    assert usage.seconds_waited > 0


async def test_hashing_and_verifying_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a flood of sign-ups, whose queue is full, does not keep anybody from signing in."""
    passwords, order, all_wait = Argon2Passwords(cores=1, waiting_per_core=8), list[str](), Event()

    def hash_when_all_wait(_: str) -> str:
        all_wait.wait(60)
        order.append("hash")
        return ""

    monkeypatch.setattr(passwords._hasher, "hash", hash_when_all_wait)
    monkeypatch.setattr(passwords._hasher, "verify", lambda *_: order.append("verify"))
    hashing = [asyncio.create_task(passwords.hash(PASSWORD)) for _ in range(9)]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await passwords.hash(PASSWORD)
    verifying = [asyncio.create_task(passwords.verify(PASSWORD, None)) for _ in range(3)]
    await asyncio.sleep(0)
    all_wait.set()
    await asyncio.gather(*hashing, *verifying)
    assert order == ["hash", *["verify", "hash"] * 3, *["hash"] * 5]


async def test_who_gives_up_in_the_moment_of_its_turn_passes_the_thread_on() -> None:
    passwords = Argon2Passwords(cores=1)
    await passwords._wait_in(passwords._hashing)  # takes the only thread
    waiting = asyncio.create_task(passwords._wait_in(passwords._hashing))
    await asyncio.sleep(0)
    passwords._pass_on_thread()
    waiting.cancel()  # before it has run
    await asyncio.wait({waiting})
    assert passwords.usage().in_use == 0


async def test_who_gives_up_leaves_the_queue() -> None:
    passwords = Argon2Passwords(cores=1, waiting_per_core=2)
    hashing = [asyncio.create_task(passwords.hash(PASSWORD)) for _ in range(3)]
    await asyncio.sleep(0)
    for task in hashing[1:]:
        task.cancel()
    await asyncio.wait(hashing)
    await asyncio.gather(*(passwords.hash(PASSWORD) for _ in range(3)))
