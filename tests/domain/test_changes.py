from decimal import Decimal

import pytest

from domain.errors import Forbidden, Invalid, Stale
from domain.item import ItemChanges
from interfaces.testing.builders import a_user, an_item

ADA, GRACE = a_user(), a_user()


@pytest.mark.parametrize(
    "changes", [ItemChanges(name="Lantern"), ItemChanges(description=None), ItemChanges(price=Decimal("20"))]
)
def test_an_item_changes_to_a_new_version_once(changes: ItemChanges) -> None:
    item = an_item(ADA)
    assert item.change(changes, by=ADA.id, expected={1})
    assert not item.change(changes, by=ADA.id)
    assert (item.version, item.transfers) == (2, 0)


def test_a_change_to_what_is_there_already_is_none() -> None:
    item = an_item(ADA, price=Decimal("1.20"))
    assert not item.change({"price": Decimal("1.2"), "name": item.name}, by=ADA.id)
    assert item == an_item(ADA, id=item.id, price=Decimal("1.20"))


def test_an_item_is_changed_by_its_owner_who_knows_it() -> None:
    item = an_item(ADA)
    with pytest.raises(Forbidden):
        item.change({"name": "Mine"}, by=GRACE.id, expected={9})
    with pytest.raises(Stale):
        item.change({"name": "Mine"}, by=ADA.id, expected={9})
    with pytest.raises(Invalid):
        item.change({"name": " "}, by=ADA.id, expected={1})


def test_a_user_changes_and_the_username_stays() -> None:
    user = a_user(username="ada")
    user.change(email="New@Example.org", password_hash="hash")
    assert (user.username, user.email, user.password_hash, user.version) == ("ada", "new@example.org", "hash", 2)
    with pytest.raises(Invalid):
        user.change(email="no address")
