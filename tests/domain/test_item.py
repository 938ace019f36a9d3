from copy import copy
from dataclasses import replace
from decimal import Decimal

import pytest

from domain.errors import Conflict, DomainError, Forbidden, Invalid, Stale
from domain.item import Item, ItemId, Transfer, TransferId, checked_price
from domain.user import User
from domain.version import ExpectedVersions
from interfaces.testing.builders import NOON, a_user, an_item, new_id

ADA, GRACE = a_user(), a_user()


def register(name: str = "Lamp", description: str | None = "Brass", price: str = "19.99") -> Item:
    return Item.register(
        id=ItemId(new_id()), name=name, description=description, price=Decimal(price), owner=ADA, at=NOON
    )


def test_a_new_item_belongs_to_who_registers_it() -> None:
    item = register()
    assert item == Item(
        id=item.id,
        name="Lamp",
        description="Brass",
        price=Decimal("19.99"),
        owner_id=ADA.id,
        created_at=NOON,
        version=1,
        transfers=0,
    )


@pytest.mark.parametrize("name", ["x", "💡" * 200, "e\u0301", " . "])
@pytest.mark.parametrize("description", [None, "", "x" * 2_000])
def test_an_item_is_described_as_given(name: str, description: str | None) -> None:
    item = register(name=name, description=description)
    assert (item.name, item.description) == (name, description)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": " \n"}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a\0"}, "name"),
        ({"description": "x" * 2_001}, "description"),
        ({"description": "\ud800"}, "description"),
        ({"price": "-0.01"}, "price"),
    ],
)
def test_a_faulty_item_is_refused_with_the_field_to_blame(fields: dict[str, str], field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        register(**fields)
    assert refusal.value.field == field


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("0", "0.00"),
        ("-0", "0.00"),
        ("-0.000", "0.00"),
        ("0.1", "0.10"),
        ("1.230", "1.23"),
        ("1E+3", "1000.00"),
        ("1e-2", "0.01"),
        ("9999999999.99", "9999999999.99"),
        ("9999999999.9900000000000000000000000000", "9999999999.99"),
    ],
)
def test_a_price_has_two_decimals(given: str, kept: str) -> None:
    assert str(checked_price(Decimal(given))) == kept


@pytest.mark.parametrize(
    "price",
    [
        "-0.01",
        "0.001",
        "1.239",
        "9999999999.991",
        "10000000000",
        "1E+30",
        "1E+999999",
        "1E-999999",
        "0." + "0" * 40 + "1",
        "NaN",
        "sNaN",
        "Infinity",
        "-Infinity",
    ],
)
def test_other_prices_are_refused(price: str) -> None:
    with pytest.raises(Invalid) as refusal:
        checked_price(Decimal(price))
    assert (refusal.value.code, refusal.value.field) == ("invalid-price", "price")


def hand_over(item: Item, *, by: User = ADA, to: User | None = GRACE, expected: ExpectedVersions = None) -> Transfer:
    return item.transfer(id=TransferId(new_id()), by=by.id, to=to, expected=expected, at=NOON)


def test_a_transfer_changes_the_owner_and_is_history() -> None:
    item = an_item(ADA, version=6, transfers=2)
    before = copy(item)
    transfer = hand_over(item)
    assert item == replace(before, owner_id=GRACE.id, version=7, transfers=3)
    assert transfer == Transfer(
        id=transfer.id,
        item_id=item.id,
        number=3,
        from_user_id=ADA.id,
        to_user_id=GRACE.id,
        version=7,
        transferred_at=NOON,
    )


def test_an_item_goes_on_and_comes_back() -> None:
    item = an_item(ADA)
    chain = [hand_over(item), hand_over(item, by=GRACE, to=ADA), hand_over(item)]
    assert [(t.number, t.version, t.from_user_id) for t in chain] == [(1, 2, ADA.id), (2, 3, GRACE.id), (3, 4, ADA.id)]


@pytest.mark.parametrize("expected", [None, {6}, [3, 6], range(10)])
def test_a_version_that_is_expected_passes(expected: ExpectedVersions) -> None:
    hand_over(an_item(ADA, version=6), expected=expected)


STALE: ExpectedVersions = {1, 5}
INACTIVE = a_user(is_active=False)


@pytest.mark.parametrize(
    ("by", "to", "expected", "kind", "code"),
    [
        (GRACE, None, STALE, Forbidden, "item-not-owned"),
        (GRACE, GRACE, STALE, Forbidden, "item-not-owned"),
        (ADA, None, STALE, Stale, "version-mismatch"),
        (ADA, ADA, STALE, Stale, "version-mismatch"),
        (ADA, GRACE, set(), Stale, "version-mismatch"),
        (ADA, None, None, Invalid, "recipient-not-found"),
        (ADA, ADA, None, Invalid, "recipient-is-owner"),
        (ADA, INACTIVE, None, Conflict, "recipient-inactive"),
    ],
)
def test_refusals_come_in_the_order_of_the_contract(
    by: User, to: User | None, expected: ExpectedVersions, kind: type[DomainError], code: str
) -> None:
    item = an_item(ADA, version=6)
    before = copy(item)
    with pytest.raises(kind) as refusal:
        hand_over(item, by=by, to=to, expected=expected)
    assert refusal.value.code == code
    assert item == before


def test_an_inactive_owner_is_still_the_owner() -> None:
    """That is judged before, in require_active(): the item only knows who owns it."""
    owner = a_user(is_active=False)
    with pytest.raises(Invalid) as refusal:
        hand_over(an_item(owner), by=owner, to=owner)
    assert (refusal.value.code, refusal.value.field) == ("recipient-is-owner", "to_user_id")
