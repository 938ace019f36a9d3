"""If-Match and If-None-Match, as RFC 9110 has them."""

from collections.abc import Awaitable, Callable

import pytest
from httpx2 import Response

from interfaces.certification.parity.document import document
from interfaces.certification.parity.problems import assert_problem
from interfaces.certification.parity.story import CONDITIONAL
from interfaces.testing.builders import new_id
from tests.http.support.client import PASSWORD, Person


@pytest.mark.parametrize(
    "tag", ["*", '"1"', '"7", "1"', '"1","7"', 'W/"7" , "1"', ', "1",,', '"a,b", "1"', '"1", x', '\t"1" ']
)
async def test_if_match_that_fits(ada: Person, bob: Person, tag: str) -> None:
    assert (await ada.hands_over(await ada.registers(), bob, If_Match=tag)).status_code == 200


@pytest.mark.parametrize(
    "tag",
    [
        *('"2"', '"0"', '"-1"', '"01"', '"1 "', '" 1"', '""', '"', '"1', '1"', "1", "", 'W/"1"', 'w/"1"', '"2", W/"1"'),
        *("'1'", '"²"', "**", '*, "2"', f'"{"9" * 5000}"', '"1\\"', '"x,"1', "null"),
    ],
)
async def test_if_match_that_does_not(ada: Person, bob: Person, tag: str) -> None:
    item = await ada.registers()
    response = await ada.call(
        "POST",
        f"/items/{item['id']}/transfer",
        json={"to_user_id": bob.id},
        headers={b"If-Match": tag.encode("latin-1"), b"Authorization": f"Bearer {ada.token}".encode()},  # type: ignore[dict-item]
    )
    assert_problem(response, 412, "version-mismatch")
    assert (await ada.get(f"/items/{item['id']}")).json() == item


async def test_if_match_in_several_lines(ada: Person, bob: Person) -> None:
    item = await ada.registers()
    headers = [("If-Match", '"7"'), ("If-Match", '"1"'), ("Authorization", f"Bearer {ada.token}")]
    address = f"/items/{item['id']}/transfer"
    assert (await ada.http.post(address, json={"to_user_id": bob.id}, headers=headers)).status_code == 200


@pytest.mark.parametrize("tag", ["*", '"1"', 'W/"1"', '"7", "1"', 'W/"7",W/"1"'])
async def test_what_is_known_is_not_sent_again(ada: Person, tag: str) -> None:
    item = await ada.registers()
    response = await ada.get(f"/items/{item['id']}", headers={"If-None-Match": tag})
    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["etag"] == '"1"'
    assert response.headers["cache-control"] == "private, no-cache"
    assert "content-type" not in response.headers


@pytest.mark.parametrize("tag", ['"2"', 'W/"2"', "1", '"1', "", 'w/"1"', '"01"'])
async def test_what_is_not_known_is_sent(ada: Person, tag: str) -> None:
    item = await ada.registers()
    response = await ada.get(f"/items/{item['id']}", headers={"If-None-Match": tag})
    assert (response.status_code, response.json()) == (200, item)


async def test_a_change_ends_what_is_known(ada: Person, bob: Person) -> None:
    item = await ada.registers()
    await ada.hands_over(item, bob)
    response = await ada.get(f"/items/{item['id']}", headers={"If-None-Match": '"1"'})
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')


async def test_nothing_is_known_of_what_does_not_exist(ada: Person) -> None:
    response = await ada.get(f"/items/{ada.id}", headers={"If-None-Match": "*"})
    assert_problem(response, 404, "item-not-found")


@pytest.mark.parametrize(
    ("tag", "is_malformed"),
    [("1", True), ('W/"1"', True), ('"3", 2', True), ("", True), ('"2"', False), ('"2", "3"', False), ('"x"', False)],
)
async def test_only_a_malformed_if_match_is_told_that_it_needs_quotes(
    ada: Person, tag: str, *, is_malformed: bool
) -> None:
    address = f"/items/{(await ada.registers())['id']}"
    response = await ada.call("PATCH", address, json={"price": 2}, headers={"If-Match": tag})
    assert_problem(response, 412, "version-mismatch")
    assert ("in double quotes" in response.json()["detail"]) is is_malformed
    assert ("read it again" in response.json()["detail"]) is not is_malformed


@pytest.mark.parametrize("tag", ['"99"', '"1"', '"0"', 'W/"1"', '"1", "2"', "1", "", '*, "1"'])
async def test_no_version_of_an_account_matches(ada: Person, tag: str) -> None:
    """Accounts have no ETag, so an If-Match that is not `*` is false (RFC 9110, section 13.1.1)."""
    address, headers = f"/users/{ada.id}", {"If-Match": tag}
    before = (await ada.get(address)).json()
    change = {"email": "new@example.org", "current_password": PASSWORD}
    assert_problem(await ada.call("PATCH", address, json=change, headers=headers), 412, "version-mismatch")
    refused = await ada.call("DELETE", address, headers=headers)
    assert_problem(refused, 412, "version-mismatch")
    assert refused.json()["detail"] == "an account has no version to compare with; leave the expected one out"
    assert (await ada.get("/users/me")).json() == before


async def test_an_account_matches_a_star(eve: Person) -> None:
    change, headers = {"email": "new@example.org", "current_password": PASSWORD}, {"If-Match": "*"}
    assert (await eve.call("PATCH", f"/users/{eve.id}", json=change, headers=headers)).status_code == 200
    assert (await eve.call("DELETE", f"/users/{eve.id}", headers=headers)).status_code == 204


async def test_if_match_of_an_account_is_judged_after_the_right_to_change_it_and_before_the_password(
    ada: Person, bob: Person, deactivate: Callable[[Person], Awaitable[None]]
) -> None:
    stale = {"If-Match": '"99"'}
    item = await ada.registers()

    async def refusals(person: Person, user_id: str) -> list[Response]:
        change = {"email": "BOB@example.org", "current_password": "wrong"}
        return [
            await person.call("PATCH", f"/users/{user_id}", json=change, headers=stale),
            await person.call("DELETE", f"/users/{user_id}", headers=stale),
        ]

    for response in await refusals(ada, str(new_id())):
        assert_problem(response, 404, "user-not-found")
    for response in await refusals(ada, bob.id):
        assert_problem(response, 403, "not-your-account")
    for _ in range(11):  # more than the limit of wrong passwords
        for response in await refusals(ada, ada.id):  # who owns an item, and whose new address is taken
            assert_problem(response, 412, "version-mismatch")
    assert (await ada.get(f"/items/{item['id']}")).status_code == 200
    await deactivate(ada)
    for response in await refusals(ada, ada.id):
        assert_problem(response, 401, "account-inactive")


def test_every_operation_that_changes_an_object_checks_if_match() -> None:
    """A PATCH or PUT added tomorrow that forgets it fails here."""
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            names = [parameter["name"] for parameter in operation.get("parameters", [])]
            if method in {"patch", "put"} or operation["operationId"] in CONDITIONAL:
                assert "If-Match" in names, f"{method} {path}"


async def test_what_creates_an_object_ignores_if_match(ada: Person) -> None:
    assert (await ada.post("/tasks", json={"title": "Sit"}, headers={"If-Match": '"99"'})).status_code == 201
