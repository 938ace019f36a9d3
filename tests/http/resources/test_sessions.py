"""Signing in, staying signed in and signing out: who gets in, how often one may try, and what ends it."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any

import pytest
from argon2 import extract_parameters
from dependency_injector import providers
from httpx2 import AsyncClient, Response
from pwdlib.hashers.argon2 import Argon2Hasher

from application.ports import Begin
from application.store import Store
from infrastructure.container import Container
from infrastructure.security.passwords import Argon2Passwords
from interfaces.certification.database import Database
from interfaces.certification.parity.problems import assert_problem
from interfaces.testing.clock_and_ids import SetClock
from tests.http.support.client import PASSWORD, NewPerson, Person, app_of, client_of, container_on, refresh, sign_in

WRONG = "battery horse correct"
LIMIT = 10


async def signed_in(http: AsyncClient, username: str = "eve") -> dict[str, Any]:
    response = await sign_in(http, username)
    assert response.status_code == 200, response.text
    tokens: dict[str, Any] = response.json()
    return tokens


# Who gets in


@pytest.fixture
def verified(container: Container, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hashes that passwords were compared to."""
    hashes: list[str] = []
    hasher = container.passwords()._hasher
    verify = hasher.verify

    def verify_and_count(password: str, password_hash: str) -> bool:
        hashes.append(password_hash)
        right: bool = verify(password, password_hash)
        return right

    monkeypatch.setattr(hasher, "verify", verify_and_count)
    return hashes


def without_id(response: Response) -> tuple[int, dict[str, str], dict[str, str]]:
    request_id = response.headers["x-request-id"]
    headers = {name: value for name, value in response.headers.items() if name != "x-request-id"}
    body = {name: value for name, value in response.json().items() if name != "request_id"}
    assert response.json()["request_id"] == request_id
    return response.status_code, headers, body


async def test_no_refusal_tells_what_was_wrong(
    http: AsyncClient,
    eve: Person,
    new_person: NewPerson,
    password_hash: str,
    deactivate: Callable[[Person], Awaitable[None]],
    verified: list[str],
) -> None:
    await deactivate(await new_person(username="zed", email="zed@example.org", password_hash=password_hash))
    guesses = [
        ("eve", WRONG),
        ("eve@example.org", WRONG),
        ("nobody", PASSWORD),
        ("nobody@x.y", WRONG),
        ("zed", PASSWORD),
    ]
    answers = [await sign_in(http, *guess) for guess in guesses]
    assert_problem(answers[0], 401, "wrong-credentials")
    assert all(without_id(answer) == without_id(answers[0]) for answer in answers)
    costs = [extract_parameters(password_hash) for password_hash in verified]
    assert costs == [costs[0]] * len(guesses)


async def test_an_unknown_name_takes_as_much_work_as_a_wrong_password(http: AsyncClient, eve: Person) -> None:
    """Of this process, whatever else the machine does; the least of several, so that nothing else is in it."""
    work: dict[str, list[float]] = {"eve": [], "nobody": []}
    for _ in range(LIMIT - 1):
        for name, taken in work.items():
            began = time.process_time()
            assert_problem(await sign_in(http, name, WRONG), 401, "wrong-credentials")
            taken.append(time.process_time() - began)
    assert 0.5 < min(work["nobody"]) / min(work["eve"]) < 2


async def test_a_hash_of_other_parameters_is_made_anew(
    http: AsyncClient, second_http: AsyncClient, new_person: NewPerson, store: Store
) -> None:
    needs_rehash = Argon2Hasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
    person = await new_person(username="eve", password_hash=needs_rehash)
    assert_problem(await sign_in(http, "eve", WRONG), 401, "wrong-credentials")
    assert (await store.users.get(person.user.id)).password_hash == needs_rehash
    answers = await asyncio.gather(*(sign_in(client, "eve") for client in (http, second_http) * 3))
    assert [answer.status_code for answer in answers] == [200] * 6
    renewed = (await store.users.get(person.user.id)).password_hash
    assert extract_parameters(renewed).memory_cost == 19456
    await signed_in(http)
    assert (await store.users.get(person.user.id)).password_hash == renewed


async def test_too_many_at_once_are_busy_and_have_not_failed(database: Database, clock: SetClock, eve: Person) -> None:
    container = container_on(database.settings, database.store, clock)
    passwords = Argon2Passwords(cores=1, waiting_per_core=1)
    container.passwords.override(providers.Object(passwords))
    async with client_of(app_of(container)) as http:
        for _ in range(3):
            free = threading.Event()
            passwords._threads.submit(free.wait)  # the only thread, so that the others wait on a slow store, too
            signing_in = [asyncio.create_task(sign_in(http, "eve")) for _ in range(LIMIT - 2)]
            await asyncio.wait(signing_in, return_when=asyncio.FIRST_COMPLETED)
            free.set()
            answers = await asyncio.gather(*signing_in)
            assert {answer.status_code for answer in answers} == {200, 503}
            for answer in answers:
                if answer.status_code == 503:
                    assert_problem(answer, 503, "busy")
            clock.move(seconds=16)  # what was left unsettled would count by now
        await signed_in(http)


# How often one may try


@pytest.mark.parametrize("name", ["eve", "eve@example.org", "nobody"])
async def test_after_ten_failures_nobody_is_judged(
    name: str, http: AsyncClient, second_http: AsyncClient, eve: Person, clock: SetClock, verified: list[str]
) -> None:
    """By any of the workers."""
    for number in range(LIMIT):
        client = (http, second_http)[number % 2]
        assert_problem(await sign_in(client, name, WRONG), 401, "wrong-credentials")
        clock.move(minutes=1)
    judged = len(verified)
    for minute in range(4, -1, -1):
        for client in (http, second_http):
            answer = await sign_in(client, name)
            assert_problem(answer, 429, "too-many-attempts")
            assert answer.headers["retry-after"] == str((minute + 1) * 60)
            assert answer.json()["detail"] == "too many failed log-ins to this account; wait before the next"
        clock.move(minutes=1)
    assert len(verified) == judged  # and what was not judged does not count:
    assert (await sign_in(http, name)).status_code == (401 if name == "nobody" else 200)


async def test_a_name_and_an_address_are_one_account(http: AsyncClient, eve: Person) -> None:
    for name in ("eve", "eve@example.org", "EVE", "Eve@Example.ORG", "eve") * 2:
        assert_problem(await sign_in(http, name, WRONG), 401, "wrong-credentials")
    assert_problem(await sign_in(http, "eve@example.org"), 429, "too-many-attempts")


async def test_success_makes_up_for_nothing(http: AsyncClient, eve: Person) -> None:
    for _ in range(LIMIT - 1):
        assert_problem(await sign_in(http, "eve", WRONG), 401, "wrong-credentials")
    for _ in range(2):
        await signed_in(http)
    assert_problem(await sign_in(http, "eve", WRONG), 401, "wrong-credentials")
    assert_problem(await sign_in(http, "eve"), 429, "too-many-attempts")


async def test_an_address_may_fail_only_so_often(database: Database, clock: SetClock, eve: Person) -> None:
    settings = database.settings.model_copy(update={"login_failures_per_address": 4})
    app = app_of(container_on(settings, database.store, clock))
    async with client_of(app, "2001:db8::1") as here, client_of(app, "2001:db8::2") as next_door:
        for number in range(4):
            assert_problem(await sign_in(here, f"nobody{number}", WRONG), 401, "wrong-credentials")
        for client in (here, next_door):
            answer = await sign_in(client, "eve")
            assert_problem(answer, 429, "too-many-attempts")
            assert answer.json()["detail"] == "too many failed log-ins from this address; wait before the next"
    async with client_of(app, "2001:db8:0:1::1") as elsewhere:
        await signed_in(elsewhere)


async def test_an_address_with_too_many_failures_learns_nothing_about_accounts(
    database: Database, clock: SetClock, eve: Person
) -> None:
    """Whether one of them has had too many failures, too, or exists."""
    limits = {"login_failures_per_address": LIMIT + 1}
    app = app_of(container_on(database.settings.model_copy(update=limits), database.store, clock))
    async with client_of(app) as http:
        for name in ["eve"] * LIMIT + ["nobody"]:
            assert_problem(await sign_in(http, name, WRONG), 401, "wrong-credentials")
            clock.move(seconds=1)
        answers = [await sign_in(http, name) for name in ("eve", "eve@example.org", "nobody", "else")]
        for answer in answers:
            assert_problem(answer, 429, "too-many-attempts")
        assert len({str(without_id(answer)) for answer in answers}) == 1
        assert "from this address" in answers[0].text


async def test_many_guesses_at_once_get_no_further(
    http: AsyncClient, second_http: AsyncClient, eve: Person, clock: SetClock
) -> None:
    guesses = [sign_in(client, "eve", WRONG) for client in (http, second_http) * 20]
    answers = Counter([answer.status_code for answer in await asyncio.gather(*guesses)])
    assert answers.keys() <= {401, 429, 503}
    clock.move(seconds=16)  # what was cut off has failed by now
    while (answer := await sign_in(http, "eve", WRONG)).status_code == 401:
        answers[401] += 1
    assert_problem(answer, 429, "too-many-attempts")
    assert answers[401] == LIMIT if not answers[503] else answers[401] <= LIMIT


async def test_many_who_know_the_password_need_not_wait_for_long(
    http: AsyncClient, second_http: AsyncClient, eve: Person
) -> None:
    answers = await asyncio.gather(*(sign_in(client, "eve") for client in (http, second_http) * 8))
    assert [answer.status_code for answer in answers] == [200] * 16


async def test_guesses_at_the_present_password_are_counted_too(http: AsyncClient, eve: Person) -> None:
    change = {"email": "new@example.org", "current_password": WRONG}
    for number in range(LIMIT):
        if number % 2:
            assert_problem(await sign_in(http, "eve", WRONG), 401, "wrong-credentials")
        else:
            assert_problem(await eve.call("PATCH", f"/users/{eve.id}", json=change), 403, "wrong-password")
    change["current_password"] = PASSWORD
    assert_problem(await eve.call("PATCH", f"/users/{eve.id}", json=change), 429, "too-many-attempts")
    assert_problem(await sign_in(http, "eve"), 429, "too-many-attempts")


# Staying signed in


async def test_a_token_is_used_by_ten_at_once(
    http: AsyncClient, second_http: AsyncClient, eve: Person, begin: Begin
) -> None:
    tokens = await signed_in(http)
    answers = await asyncio.gather(*(refresh(client, tokens) for client in (http, second_http) * 5))
    fresh = [answer.json() for answer in answers if answer.status_code == 200]
    for answer in answers:
        if answer.status_code != 200:
            assert_problem(answer, 401, "invalid-refresh-token")
    assert len(fresh) == 1
    for family in (tokens, *fresh):
        assert_problem(await refresh(http, family), 401, "invalid-refresh-token")


async def test_tokens_are_kept_as_hashes(http: AsyncClient, eve: Person, begin: Begin) -> None:
    tokens = await signed_in(http)
    async with begin() as uow:
        assert await uow.sessions.find(tokens["refresh_token"].encode()) is None
        assert await uow.sessions.find(sha256(tokens["refresh_token"].encode()).digest()) is not None


async def test_a_session_ends_when_it_must_however_often_it_is_refreshed(
    http: AsyncClient, eve: Person, clock: SetClock
) -> None:
    tokens = await signed_in(http)
    for _ in range(3):
        clock.move(days=9)
        tokens = (await refresh(http, tokens)).json()
    clock.move(days=2, hours=23)
    tokens = (await refresh(http, tokens)).json()
    clock.move(hours=1)
    assert_problem(await refresh(http, tokens), 401, "invalid-refresh-token")


async def test_log_out_ends_one_session_with_any_of_its_tokens(http: AsyncClient, eve: Person) -> None:
    first, other = await signed_in(http), await signed_in(http)
    second = (await refresh(http, first)).json()
    for token in (first["refresh_token"], first["refresh_token"], "unknown"):
        answer = await http.post("/auth/logout", json={"refresh_token": token})
        assert (answer.status_code, answer.content) == (204, b"")
    assert_problem(await refresh(http, second), 401, "invalid-refresh-token")
    assert (await refresh(http, other)).status_code == 200


async def change_password(eve: Person, deactivate: Callable[[Person], Awaitable[None]]) -> None:
    change = {"password": WRONG, "current_password": PASSWORD}
    assert (await eve.call("PATCH", f"/users/{eve.id}", json=change)).status_code == 200
    assert (await sign_in(eve.http, "eve", WRONG)).status_code == 200
    assert_problem(await sign_in(eve.http, "eve"), 401, "wrong-credentials")


async def delete_account(eve: Person, deactivate: Callable[[Person], Awaitable[None]]) -> None:
    assert (await eve.call("DELETE", f"/users/{eve.id}")).status_code == 204


async def deactivate_account(eve: Person, deactivate: Callable[[Person], Awaitable[None]]) -> None:
    await deactivate(eve)


@pytest.mark.parametrize("end", [change_password, delete_account, deactivate_account])
async def test_what_ends_every_session(
    end: Callable[[Person, Callable[[Person], Awaitable[None]]], Awaitable[None]],
    http: AsyncClient,
    eve: Person,
    deactivate: Callable[[Person], Awaitable[None]],
) -> None:
    sessions = [await signed_in(http) for _ in range(2)]
    sessions[1] = (await refresh(http, sessions[1])).json()
    await end(eve, deactivate)
    for tokens in sessions:
        assert_problem(await refresh(http, tokens), 401, "invalid-refresh-token")


async def test_a_new_password_races_a_refresh(http: AsyncClient, second_http: AsyncClient, eve: Person) -> None:
    """Whichever comes first, no session is left."""
    tokens = await signed_in(http)
    change = {"password": WRONG, "current_password": PASSWORD}
    changing = asyncio.create_task(eve.call("PATCH", f"/users/{eve.id}", json=change))
    while not changing.done():
        answer = await refresh(second_http, tokens)
        if answer.status_code == 200:
            tokens = answer.json()
        await asyncio.sleep(0.02)  # in memory whoever never pauses could starve the change
    assert changing.result().status_code == 200
    assert_problem(await refresh(http, tokens), 401, "invalid-refresh-token")


async def test_a_refresh_token_is_no_access_token_nor_the_reverse(http: AsyncClient, eve: Person) -> None:
    tokens = await signed_in(http)
    headers = {"Authorization": f"Bearer {tokens['refresh_token']}"}
    assert_problem(await http.get("/users/me", headers=headers), 401, "invalid-token")
    swapped = {"refresh_token": tokens["access_token"]}
    answer = await http.post("/auth/refresh", json=swapped)
    assert answer.status_code in {401, 422}
    assert tokens["access_token"] not in answer.text


async def test_whoever_comes_back_after_retry_after_seconds_is_not_too_early(
    http: AsyncClient, eve: Person, clock: SetClock
) -> None:
    """The header has whole seconds, which are rounded up."""
    for _ in range(LIMIT):
        assert_problem(await sign_in(http, "eve", WRONG), 401, "wrong-credentials")
    clock.move(milliseconds=1)
    assert (await sign_in(http, "eve")).headers["retry-after"] == "900"
    clock.move(minutes=14, seconds=59, milliseconds=998)
    answer = await sign_in(http, "eve")
    assert_problem(answer, 429, "too-many-attempts")
    assert answer.headers["retry-after"] == "1"
    clock.move(seconds=1)
    assert (await sign_in(http, "eve")).status_code == 200
