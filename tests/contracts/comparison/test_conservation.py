"""While users pass their items on, each item has exactly one owner in any one answer, and at the end."""

import asyncio
import itertools
import random
from decimal import Decimal

from application.paging import Sort, Window
from application.readers import ItemFilter
from application.store import Store
from domain.errors import Forbidden
from domain.item import Item
from domain.user import User, UserId
from interfaces.certification.comparison.use_cases import UseCases, check_histories
from interfaces.testing.clock_and_ids import SetClock

USERS, WRITERS, TRANSFERS = 50, 6, 10
ALL = Window(limit=100)


async def test_each_item_has_one_owner_while_all_are_passed_on(store: Store) -> None:
    use_cases = UseCases(store, SetClock())
    people = [
        await use_cases.create_user(email=f"{number}@example.org", username=f"user{number}", password="correct horse")
        for number in range(USERS)
    ]
    items = [
        (await use_cases.create_item(by=user.id, name="Lamp", description=None, price=Decimal(1))).item
        for user in people
    ]

    async with asyncio.timeout(120):
        writers = [
            asyncio.create_task(pass_on(use_cases, people, items, random.Random(f"writer {number}")))
            for number in range(WRITERS)
        ]
        pictures = [await owners(store, people, items)]
        while not all(writer.done() for writer in writers):
            await asyncio.sleep(0.001)  # a reader need not let others run
            pictures.append(await owners(store, people, items))
        passed_on = sum(await asyncio.gather(*writers))

    assert passed_on > 0
    assert any(earlier != later for earlier, later in itertools.pairwise(pictures)), "nothing was seen"
    at_rest = await owners(store, people, items)
    for user in people:
        owned = await store.items.page(ItemFilter(owner_id=user.id), Sort("id"), ALL)
        assert [one.item.id for one in owned.items] == [id for id, owner in at_rest.items() if owner == user.id]
    await check_histories(store)


async def owners(store: Store, people: list[User], items: list[Item]) -> dict[object, UserId]:
    """Who owns what in one answer, sorted by item. Each item is in it once, with its owner's name."""
    usernames = {user.id: user.username for user in people}
    answer = (await store.items.page(ItemFilter(), Sort("id"), ALL)).items
    assert [owned.item.id for owned in answer] == sorted(item.id for item in items)
    assert all(owned.owner_username == usernames[owned.item.owner_id] for owned in answer)
    return {owned.item.id: owned.item.owner_id for owned in answer}


async def pass_on(use_cases: UseCases, people: list[User], items: list[Item], chance: random.Random) -> int:
    """Try to transfer items to random users; return how often that succeeded. Another writer may be first."""
    succeeded = 0
    for _ in range(TRANSFERS):
        item = (await use_cases.store.items.get(chance.choice(items).id)).item
        to = chance.choice([user.id for user in people if user.id != item.owner_id])
        try:
            await use_cases.transfer_item(item.id, by=item.owner_id, to=to)
            succeeded += 1
        except Forbidden:
            pass
    return succeeded
