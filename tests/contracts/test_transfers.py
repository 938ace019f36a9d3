"""The history of transfers has no gaps, and it can be read in pages."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from application.paging import Position, Window
from application.ports import Begin, UnitOfWork
from application.readers import TransferReader
from domain.errors import NotFound
from domain.item import Item, ItemId, Transfer, TransferId
from domain.user import User
from interfaces.certification.comparison.walking import check_new
from interfaces.certification.overlapping import COMMITTED, TRY_AGAIN, Meanwhile, attempt, insert, overlap
from interfaces.testing.builders import a_transfer, an_item, new_id


async def handed_over(begin: Begin, item: Item, *people: User) -> list[Transfer]:
    """Its history after it went from one to the next."""
    history = []
    async with begin() as uow:
        item = await uow.items.get_for_update(item.id)
        for number, to in enumerate(people, 1):
            at = datetime(2026, 11, 22, 12, 0, number, 999_000, tzinfo=UTC)
            transfer = item.transfer(id=TransferId(new_id()), by=item.owner_id, to=to, at=at)
            await uow.items.save(item)
            await uow.transfers.add(transfer)
            history.append(transfer)
        await uow.commit()
    return history


async def test_a_transfer_comes_back_as_it_was(
    ada: User, grace: User, lamp: Item, begin: Begin, transfers: TransferReader
) -> None:
    history = await handed_over(begin, lamp, grace, ada)
    page = await transfers.page(lamp.id, Window())
    assert page.items == history
    assert [(t.number, t.version, t.from_user_id, t.to_user_id) for t in page.items] == [
        (1, 2, ada.id, grace.id),
        (2, 3, grace.id, ada.id),
    ]
    assert page.items[0].transferred_at.utcoffset() == timedelta(0)


async def test_an_item_without_transfers_has_an_empty_history(lamp: Item, transfers: TransferReader) -> None:
    page = await transfers.page(lamp.id, Window())
    assert (page.items, page.more, page.total, page.total_exact) == ([], False, 0, True)


async def test_a_history_is_of_one_item(
    ada: User, grace: User, lamp: Item, begin: Begin, transfers: TransferReader
) -> None:
    other = an_item(ada)
    await insert(begin, other)
    await handed_over(begin, other, grace)
    history = await handed_over(begin, lamp, grace, ada)
    page = await transfers.page(lamp.id, Window())
    assert (page.items, page.total) == (history, 2)


async def test_a_missing_item_has_no_history(transfers: TransferReader) -> None:
    with pytest.raises(NotFound) as refusal:
        await transfers.page(ItemId(new_id()), Window())
    assert refusal.value.code == "item-not-found"


@pytest.mark.parametrize(
    ("window", "numbers", "more"),
    [
        (Window(), [1, 2, 3, 4, 5], False),
        (Window(limit=5), [1, 2, 3, 4, 5], False),
        (Window(limit=4), [1, 2, 3, 4], True),
        (Window(limit=1), [1], True),
        (Window(limit=2, skip=2), [3, 4], True),
        (Window(limit=2, skip=3), [4, 5], False),
        (Window(limit=2, skip=4), [5], False),
        (Window(limit=2, skip=5), [], False),
        (Window(limit=100, skip=10_000), [], False),
    ],
    ids=str,
)
async def test_a_page_is_a_part_of_the_history(
    window: Window, numbers: list[int], more: bool, ada: User, grace: User, lamp: Item, begin: Begin,
    transfers: TransferReader,
) -> None:  # fmt: skip
    history = await handed_over(begin, lamp, grace, ada, grace, ada, grace)
    page = await transfers.page(lamp.id, window)
    assert page.items == [history[number - 1] for number in numbers]
    assert (page.more, page.total, page.total_exact) == (more, 5, True)


async def test_what_is_not_asked_for_is_not_counted(
    grace: User, lamp: Item, begin: Begin, transfers: TransferReader
) -> None:
    await handed_over(begin, lamp, grace)
    page = await transfers.page(lamp.id, Window(count=False))
    assert (len(page.items), page.total, page.total_exact) == (1, None, None)


async def test_positions_lead_through_the_history_while_it_grows(
    ada: User, grace: User, lamp: Item, begin: Begin, transfers: TransferReader
) -> None:
    history = await handed_over(begin, lamp, grace, ada, grace, ada)
    walked: list[Transfer] = []
    after = None
    more = True
    while more:
        page = await transfers.page(lamp.id, Window(limit=2, after=after, count=False))
        check_new([one.id for one in page.items], [one.id for one in walked], after, more=page.more)
        walked += page.items
        more = page.more
        after = Position(page.items[-1].number, page.items[-1].id)
        if len(history) == 4:
            history += await handed_over(begin, lamp, grace)
    assert walked == history


async def test_the_last_position_is_the_end(grace: User, lamp: Item, begin: Begin, transfers: TransferReader) -> None:
    [transfer] = await handed_over(begin, lamp, grace)
    page = await transfers.page(lamp.id, Window(after=Position(transfer.number, transfer.id), count=False))
    assert (page.items, page.more) == ([], False)


async def test_a_number_is_not_given_twice(
    ada: User, grace: User, lamp: Item, begin: Begin, transfers: TransferReader
) -> None:
    [first] = await handed_over(begin, lamp, grace)
    second = a_transfer(lamp, ada, number=1)
    assert await attempt(begin, lambda uow: uow.transfers.add(second)) == TRY_AGAIN
    assert (await transfers.page(lamp.id, Window())).items == [first]


async def test_a_number_is_not_given_twice_at_once(ada: User, grace: User, lamp: Item, begin: Begin) -> None:
    one, other = a_transfer(lamp, grace), a_transfer(lamp, ada)

    async def add_slowly(uow: UnitOfWork, meanwhile: Meanwhile) -> None:
        await uow.transfers.add(one)
        await meanwhile()

    ended = await overlap(begin, add_slowly, lambda uow: uow.transfers.add(other))
    assert sorted((ended.first, ended.second)) == [COMMITTED, TRY_AGAIN]


async def test_other_items_have_numbers_of_their_own(
    ada: User, grace: User, lamp: Item, begin: Begin, transfers: TransferReader
) -> None:
    other = an_item(ada)
    await insert(begin, other)
    for item in (lamp, other):
        await handed_over(begin, item, grace)
    assert [t.number for item in (lamp, other) for t in (await transfers.page(item.id, Window())).items] == [1, 1]


async def test_a_removed_item_leaves_its_numbers_taken(ada: User, grace: User, lamp: Item, begin: Begin) -> None:
    """Its history outlives it, even if nobody can ask for it."""
    await handed_over(begin, lamp, grace)
    async with begin() as uow:
        await uow.items.remove(await uow.items.get_for_update(lamp.id))
        await uow.commit()
    again = replace(a_transfer(lamp, ada), number=1)
    assert await attempt(begin, lambda uow: uow.transfers.add(again)) == TRY_AGAIN
