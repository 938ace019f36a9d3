"""Pages of a list, by `skip` and by cursor."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.paging import Position
from domain.errors import Invalid
from interfaces.http.paging import cursors
from tests.http.support.client import Person, assert_faults

LENGTH = 7


@pytest.fixture
async def address(ada: Person, bob: Person) -> str:
    """Of the history of an item that changed hands a few times."""
    item = await ada.registers()
    for number in range(LENGTH):
        here, there = (ada, bob) if number % 2 == 0 else (bob, ada)
        assert (await here.hands_over(item, there)).status_code == 200
    return f"/items/{item['id']}/transfers"


def numbers(page: dict[str, Any]) -> list[int]:
    return [transfer["number"] for transfer in page["items"]]


async def test_by_skip(ada: Person, address: str) -> None:
    page = (await ada.get(f"{address}?skip=2&limit=3")).json()
    assert numbers(page) == [3, 4, 5]
    assert (page["total"], page["total_exact"], page["skip"], page["limit"]) == (LENGTH, True, 2, 3)
    assert numbers((await ada.get(f"{address}?skip=6")).json()) == [7]
    beyond = (await ada.get(f"{address}?skip=10000")).json()
    assert (beyond["items"], beyond["total"], beyond["next_cursor"]) == ([], LENGTH, None)


async def test_without_a_count(ada: Person, address: str) -> None:
    page = (await ada.get(f"{address}?count=false&limit=1")).json()
    assert (numbers(page), page["total"], page["total_exact"]) == ([1], None, None)


async def test_by_cursor_and_by_link(ada: Person, address: str) -> None:
    walked: list[int] = []
    following = f"{address}?limit=3&skip=0&count=true"
    while following:
        response = await ada.get(following)
        assert response.status_code == 200, response.text
        page = response.json()
        walked += numbers(page)
        following = ""
        if page["next_cursor"]:
            following = f"{address}?limit=3&cursor={page['next_cursor']}"
            assert response.headers["link"] == f'<{following}>; rel="next"'
        else:
            assert "link" not in response.headers
    assert walked == list(range(1, LENGTH + 1))
    assert (page["total"], page["total_exact"], page["skip"], page["limit"]) == (None, None, 0, 3)


async def test_a_walk_sees_what_comes_meanwhile(ada: Person, bob: Person, address: str) -> None:
    page = (await ada.get(f"{address}?limit={LENGTH - 1}")).json()
    await bob.hands_over({"id": address.split("/")[2]}, ada)
    assert numbers((await ada.get(f"{address}?cursor={page['next_cursor']}")).json()) == [LENGTH, LENGTH + 1]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=1.5", "limit"),
        *((f"limit={text}", "limit") for text in ("1_0", "%2010", "10%20", "1.0", "%2B1", "1e1", "%D9%A1", "0x1")),
        *((f"skip={text}", "skip") for text in ("1_0", "%201", "1.0", "")),
        ("limit=" + "9" * 5000, "limit"),
        ("skip=-1", "skip"),
        ("skip=10001", "skip"),
        ("count=maybe", "count"),
        ("cursor=", "cursor"),
        ("cursor=x", "cursor"),
        ("cursor=%00%ff", "cursor"),
        ("cursor=" + "A" * 5000, "cursor"),
        ("cursor=A&skip=0", "skip"),
    ],
)
async def test_a_wrong_query_names_its_parameter(ada: Person, query: str, field: str) -> None:
    item = await ada.registers()
    assert_faults(await ada.get(f"/items/{item['id']}/transfers?{query}"), f"/{field}")


async def test_a_cursor_of_another_list(ada: Person, address: str) -> None:
    cursor = (await ada.get(f"{address}?limit=1")).json()["next_cursor"]
    other = await ada.registers()
    assert_faults(await ada.get(f"/items/{other['id']}/transfers?cursor={cursor}"), "/cursor")


PRICES = st.decimals(0, Decimal("9999999999.99"), places=2)
TIMES = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)).map(
    lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200)


@given(value=st.one_of(st.integers(0, 2**31 - 1), TEXTS, PRICES, TIMES, st.uuids()), id_=st.uuids(), listing=st.text())
def test_a_cursor_keeps_a_position_exactly(value: Any, id_: UUID, listing: str) -> None:
    cursor = cursors.encode_cursor(Position(value, id_), type(value), listing)
    assert cursor.isascii()
    assert cursors.decode_cursor(cursor, type(value), listing) == Position(value, id_)
    with pytest.raises(Invalid):
        cursors.decode_cursor(cursor, type(value), f"{listing}x")


@given(cursor=st.one_of(st.text(), st.text("AQgw_-=")))
def test_no_other_text_is_a_cursor(cursor: str) -> None:
    with pytest.raises(Invalid):
        cursors.decode_cursor(cursor, int, "")


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (int, b'["1","00000000000070008000000000000000"]'),
        (int, b'[true,"00000000000070008000000000000000"]'),
        (int, b'[2147483648,"00000000000070008000000000000000"]'),
        (int, b'[-1,"00000000000070008000000000000000"]'),
        (int, b'[1,"x"]'),
        (int, b"[1,2]"),
        (int, b"[1]"),
        (int, b"{}"),
        (int, b"1"),
        (int, b"[" * 5000),
        (str, b'["\\u0000","00000000000070008000000000000000"]'),
        (str, b'["\\ud800","00000000000070008000000000000000"]'),
        (str, b'[1,"00000000000070008000000000000000"]'),
        (Decimal, b'[1e400,"00000000000070008000000000000000"]'),
        (Decimal, b'["x","00000000000070008000000000000000"]'),
        (Decimal, b'[NaN,"00000000000070008000000000000000"]'),
        (datetime, b'[99999999999999999999,"00000000000070008000000000000000"]'),
        (datetime, b'[{},"00000000000070008000000000000000"]'),
        (UUID, b'[1,"00000000000070008000000000000000"]'),
    ],
)
def test_a_forged_cursor_with_a_right_checksum_is_input_like_any_other(kind: type, payload: bytes) -> None:
    genuine: dict[type, Any] = {
        int: 1,
        str: "x",
        Decimal: Decimal(1),
        datetime: datetime(2026, 1, 1, tzinfo=UTC),
        UUID: UUID(int=1),
    }
    made = cursors.encode_cursor(Position(genuine[kind], UUID(int=1)), kind, "")
    raw = urlsafe_b64decode(made + "=" * (-len(made) % 4))
    assert raw[: cursors.CHECKSUM_LENGTH] == cursors._checksum(raw[cursors.CHECKSUM_LENGTH :], "")
    forged = urlsafe_b64encode(cursors._checksum(payload, "") + payload).rstrip(b"=").decode()
    with pytest.raises(Invalid):
        cursors.decode_cursor(forged, kind, "")
