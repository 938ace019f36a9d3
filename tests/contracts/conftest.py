import pytest

from application.ports import Begin, Ids
from application.transact import Transact
from application.use_cases.items import TransferItem
from domain.item import Item
from domain.user import User
from interfaces.certification.overlapping import insert
from interfaces.testing.builders import a_user, an_item
from interfaces.testing.clock_and_ids import SetClock


@pytest.fixture
async def ada(begin: Begin) -> User:
    user = a_user()
    await insert(begin, user)
    return user


@pytest.fixture
async def grace(begin: Begin) -> User:
    user = a_user()
    await insert(begin, user)
    return user


@pytest.fixture
async def lamp(begin: Begin, ada: User) -> Item:
    """Ada's."""
    item = an_item(ada)
    await insert(begin, item)
    return item


@pytest.fixture
def transfer_item(transact: Transact, ids: Ids, clock: SetClock) -> TransferItem:
    return TransferItem(transact, ids, clock)
