"""The same request with the same Idempotency-Key takes effect once, and is answered the same each time."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from httpx2 import Response

import application
from infrastructure.container import Container
from interfaces.certification.parity.document import document
from interfaces.certification.parity.problems import assert_problem
from interfaces.testing.clock_and_ids import SetClock
from tests.http.support.client import Person, assert_faults

LAMP = {"name": "Lamp", "price": 19.99}


def same(first: Response, again: Response) -> bool:
    """The same answer, with the mark of a replay."""
    own = {"x-request-id", "idempotency-replayed"}
    headers = [{k: v for k, v in response.headers.items() if k not in own} for response in (first, again)]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    return headers[0] == headers[1] and first.status_code == again.status_code and first.content == again.content


async def number_of_transfers(person: Person, item: dict[str, str]) -> int:
    total: int = (await person.get(f"/items/{item['id']}/transfers")).json()["total"]
    return total


async def test_registering_once(ada: Person) -> None:
    first = await ada.post("/items", json=LAMP, headers={"Idempotency-Key": "k"})
    assert first.status_code == 201
    again = await ada.post("/items", json=LAMP, headers={"Idempotency-Key": "k"})
    assert same(first, again)
    another = await ada.post("/items", json=LAMP, headers={"Idempotency-Key": "K"})
    assert another.headers["location"] != first.headers["location"]


async def test_handing_over_once_also_after_the_item_has_moved_on(ada: Person, bob: Person) -> None:
    item = await ada.registers()
    first = await ada.hands_over(item, bob, Idempotency_Key="k", If_Match='"1"')
    assert first.status_code == 200
    assert (await bob.hands_over(item, ada)).status_code == 200
    assert same(first, await ada.hands_over(item, bob, Idempotency_Key="k", If_Match='"1"'))
    assert await number_of_transfers(ada, item) == 2


async def test_concurrent_copies_take_effect_once(ada: Person, bob: Person) -> None:
    item = await ada.registers()
    answers = await asyncio.gather(*(ada.hands_over(item, bob, Idempotency_Key="k") for _ in range(10)))
    (first,) = (answer for answer in answers if "idempotency-replayed" not in answer.headers)
    assert all(same(first, answer) for answer in answers if answer is not first)
    assert await number_of_transfers(ada, item) == 1


@pytest.mark.parametrize(
    "spelling",
    [
        '{"price": 19.990, "name": "Lamp"}',
        '{"name": "L\\u0061mp", "price": 1999e-2, "description": null}',
    ],
)
async def test_a_request_is_the_same_however_it_is_spelt(ada: Person, spelling: str) -> None:
    first = await ada.post("/items", json=LAMP, headers={"Idempotency-Key": "k"})
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    assert same(first, await ada.post("/items", content=spelling, headers=headers))


@pytest.mark.parametrize("form", [str.upper, lambda text: text.replace("-", ""), lambda text: f"urn:uuid:{text}"])
async def test_an_item_is_the_same_however_its_id_is_spelt(
    ada: Person, bob: Person, form: Callable[[str], str]
) -> None:
    item = await ada.registers()
    first = await ada.hands_over(item, bob, Idempotency_Key="k")
    assert same(first, await ada.hands_over({"id": form(item["id"])}, bob, Idempotency_Key="k"))


async def test_two_keys_are_refused(ada: Person) -> None:
    headers = [("Authorization", f"Bearer {ada.token}"), ("Idempotency-Key", "k"), ("Idempotency-Key", "k")]
    response = await ada.http.post("/items", json=LAMP, headers=headers)
    assert_faults(response, "/Idempotency-Key")
    assert response.json()["errors"][0]["detail"] == "is there more than once"
    assert (await ada.get("/items")).json()["items"] == []


async def test_another_request_with_the_same_key(ada: Person, bob: Person) -> None:
    item, other = await ada.registers(), await ada.registers()
    assert (await ada.hands_over(item, bob, Idempotency_Key="k", If_Match='"1"')).status_code == 200
    for refused in (
        await ada.hands_over(item, ada, Idempotency_Key="k", If_Match='"1"'),
        await ada.hands_over(item, bob, Idempotency_Key="k", If_Match='"2"'),
        await ada.hands_over(item, bob, Idempotency_Key="k"),
        await ada.hands_over(other, bob, Idempotency_Key="k", If_Match='"1"'),
    ):
        assert_problem(refused, 422, "idempotency-key-reused")
        assert refused.json()["errors"][0]["pointer"] == "/Idempotency-Key"


async def test_a_key_belongs_to_a_caller_and_an_operation(ada: Person, bob: Person) -> None:
    key = {"Idempotency-Key": "k"}
    made = [await person.post("/items", json=LAMP, headers=key) for person in (ada, bob)]
    assert [response.status_code for response in made] == [201, 201]
    assert made[0].headers["location"] != made[1].headers["location"]
    assert (await ada.hands_over(made[0].json(), bob, Idempotency_Key="k")).status_code == 200


async def test_only_success_is_kept(ada: Person, bob: Person) -> None:
    item = await ada.registers()
    assert_problem(await ada.hands_over(item, bob, Idempotency_Key="k", If_Match='"2"'), 412, "version-mismatch")
    assert_problem(await ada.hands_over(item, ada, Idempotency_Key="k"), 422, "recipient-is-owner")
    assert (await ada.hands_over(item, bob, Idempotency_Key="k")).status_code == 200


async def test_a_key_expires_after_a_day(ada: Person, container: Container, clock: SetClock) -> None:
    key = {"Idempotency-Key": "k"}
    first = await ada.post("/items", json=LAMP, headers=key)
    clock.move(hours=23, minutes=59)
    ada.token = container.tokens().issue(ada.user.id, clock()).token
    assert same(first, await ada.post("/items", json=LAMP, headers=key))
    clock.move(minutes=2)
    renewed = await ada.post("/items", json=LAMP, headers=key)
    assert renewed.status_code == 201
    assert renewed.headers["location"] != first.headers["location"]


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"\xff", b"a\tb", "ü".encode(), b"\x7f"])
async def test_a_key_that_is_none(ada: Person, key: bytes) -> None:
    headers = {b"Idempotency-Key": key, b"Authorization": f"Bearer {ada.token}".encode()}
    assert_faults(await ada.http.post("/items", json=LAMP, headers=headers), "/Idempotency-Key")


@pytest.mark.parametrize("key", ["x" * 255, "~ !\"'", "0"])
async def test_a_key_may_be_any_printable_ascii(ada: Person, key: str) -> None:
    first = await ada.post("/items", json=LAMP, headers={"Idempotency-Key": key})
    assert same(first, await ada.post("/items", json=LAMP, headers={"Idempotency-Key": key}))


async def test_reading_ignores_the_key(ada: Person) -> None:
    item = await ada.registers()
    for _ in range(2):
        response = await ada.get(f"/items/{item['id']}", headers={"Idempotency-Key": "\t"})
        assert response.status_code == 200
        assert "idempotency-replayed" not in response.headers


def test_every_post_of_somebody_who_signed_in_takes_a_key() -> None:
    """A route added tomorrow that forgets it fails here."""
    posts = [path["post"] for path in document()["paths"].values() if "post" in path]
    closed = [operation for operation in posts if "security" not in operation]
    assert {"create_item", "create_task", "transfer_item"} <= {operation["operationId"] for operation in closed}
    for operation in closed:
        assert "Idempotency-Key" in [parameter["name"] for parameter in operation["parameters"]]


def test_keys_are_not_a_matter_of_the_use_cases() -> None:
    """They stand for the rules alone; decision 1 tells why."""
    folder = Path(str(application.__file__)).parent / "use_cases"
    for module in ("items", "tasks", "users", "sessions"):
        text = (folder / f"{module}.py").read_text().lower()
        assert not re.search(r"idempoten|idempotent|replay", text), module
