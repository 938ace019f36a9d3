"""Pages have the same rows in the same order on every engine."""

import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import Any, TypeVar
from uuid import UUID

import pytest

from application.paging import COUNT_LIMIT, Page, Position, Sort, Window
from application.ports import Begin
from application.readers import ItemFilter, OwnedItem, TaskFilter
from application.store import Store
from domain.item import Item, ItemId
from domain.task import Task, TaskStatus
from domain.user import User
from interfaces.certification.comparison.walking import check_new
from interfaces.certification.overlapping import insert
from interfaces.testing.builders import NOON, a_task, a_user, an_item, new_id

T = TypeVar("T")
List = Callable[[Window], Awaitable[Page[T]]]

NAMES = [
    "",
    "a",
    "A",
    "B",
    "b",
    "aa",
    "é",
    "e\u0301",
    "z",
    "Z",
    "ä",
    "中",
    "💡",
    "\uffee",
    "~",
    "'",
    '"',
    "\\",
    "%",
    "_",
]


def ids_of(rows: Iterable[Any]) -> list[UUID]:
    return [getattr(row, "item", row).id for row in rows]


async def walk(page_of: List[T], position_of: Callable[[T], Position], limit: int) -> list[T]:
    """All rows, page by page from where the last one ended."""
    rows: list[T] = []
    window = Window(limit, count=False)
    while True:
        page = await page_of(window)
        assert len(page.items) <= limit
        assert page.total is None
        check_new(ids_of(page.items), ids_of(rows), window.after, more=page.more)
        rows += page.items
        if not page.more:
            return rows
        window = Window(limit, after=position_of(page.items[-1]), count=False)


async def skip_through(page_of: List[T], limit: int) -> list[T]:
    rows: list[T] = []
    while True:
        page = await page_of(Window(limit, skip=len(rows)))
        check_new(ids_of(page.items), ids_of(rows), f"the first {len(rows)} rows", more=page.more)
        rows += page.items
        if not page.more:
            assert page.total == len(rows)
            assert page.total_exact
            return rows


@pytest.fixture
async def things(ada: User, grace: User, begin: Begin) -> list[Item]:
    """With ties everywhere, and stored in no order."""
    choose = random.Random(7)
    items = [
        an_item(
            choose.choice([ada, grace]),
            name=choose.choice(NAMES[1:]) * choose.choice([1, 2]),
            price=Decimal(choose.choice(["0.00", "0.10", "0.11", "9999999999.99", "100.00", "20.00"])),
            created_at=NOON + timedelta(milliseconds=choose.randrange(4)),
        )
        for _ in range(60)
    ]
    await insert(begin, *choose.sample(items, len(items)))
    return items


def item_place(sort: Sort[Any]) -> Callable[[OwnedItem], Position]:
    return lambda owned: Position(getattr(owned.item, sort.by), owned.item.id)


every_item_sort = pytest.mark.parametrize(
    "sort", [Sort(by, down) for by, down in product(("id", "created_at", "price", "name"), (False, True))], ids=str
)
FILTERS = [
    {},
    {"owner": True},
    {"min_price": Decimal("0.10")},
    {"max_price": Decimal("100.00")},
    {"owner": True, "min_price": Decimal("0.11"), "max_price": Decimal("20.00")},
    {"min_price": Decimal("50.00"), "max_price": Decimal("60.00")},
]


@every_item_sort
@pytest.mark.parametrize("chosen", FILTERS, ids=str)
async def test_items_are_listed_in_order_and_each_once(
    sort: Sort[Any], chosen: dict[str, Any], things: list[Item], ada: User, grace: User, store: Store
) -> None:
    chosen = dict(chosen)
    filter = ItemFilter(owner_id=ada.id if chosen.pop("owner", False) else None, **chosen)
    names = {ada.id: ada.username, grace.id: grace.username}
    wanted = [
        OwnedItem(item, names[item.owner_id])
        for item in sorted(things, key=lambda item: (getattr(item, sort.by), item.id), reverse=sort.descending)
        if filter.owner_id in (None, item.owner_id)
        and (filter.min_price is None or item.price >= filter.min_price)
        and (filter.max_price is None or item.price <= filter.max_price)
    ]

    async def page_of(window: Window) -> Page[OwnedItem]:
        return await store.items.page(filter, sort, window)

    assert await walk(page_of, item_place(sort), 7) == wanted
    assert await skip_through(page_of, 25) == wanted
    beyond = await page_of(Window(10, skip=1_000))
    assert (beyond.items, beyond.more, beyond.total) == ([], False, len(wanted))


async def test_the_order_of_names_is_that_of_code_points(ada: User, begin: Begin, store: Store) -> None:
    items = [an_item(ada, name=f"{name}x") for name in NAMES]
    await insert(begin, *items)
    page = await store.items.page(ItemFilter(), Sort("name"), Window(100))
    assert [owned.item.name for owned in page.items] == sorted(item.name for item in items)


@every_item_sort
async def test_a_page_goes_on_behind_a_row_that_has_gone(
    sort: Sort[Any], things: list[Item], begin: Begin, store: Store
) -> None:
    everything = (await store.items.page(ItemFilter(), sort, Window(100))).items
    last = everything[29]
    async with begin() as uow:
        await uow.items.remove(await uow.items.get_for_update(last.item.id))
        await uow.commit()
    page = await store.items.page(ItemFilter(), sort, Window(100, after=item_place(sort)(last), count=False))
    assert page.items == everything[30:]


async def test_users_are_listed_by_id(begin: Begin, store: Store) -> None:
    people = [a_user() for _ in range(23)]
    await insert(begin, *reversed(people))
    assert await walk(store.users.page, lambda user: Position(user.id, user.id), 5) == people
    assert await skip_through(store.users.page, 10) == people


@pytest.mark.parametrize(
    "sort", [Sort(by, down) for by, down in product(("id", "created_at", "title"), (False, True))], ids=str
)
@pytest.mark.parametrize("status", [None, TaskStatus.PENDING, TaskStatus.CANCELLED])
@pytest.mark.parametrize("created_after", [None, NOON + timedelta(milliseconds=1)])
async def test_tasks_are_listed_for_their_owner(
    sort: Sort[Any], status: TaskStatus | None, created_after: Any, ada: User, grace: User, begin: Begin, store: Store
) -> None:
    choose = random.Random(8)
    tasks = [
        a_task(
            choose.choice([ada, ada, grace]),
            title=choose.choice(NAMES[1:]),
            status=choose.choice(list(TaskStatus)),
            created_at=NOON + timedelta(milliseconds=choose.randrange(4)),
        )
        for _ in range(40)
    ]
    await insert(begin, *choose.sample(tasks, len(tasks)))
    filter = TaskFilter(ada.id, status, created_after)
    wanted = [
        task
        for task in sorted(tasks, key=lambda task: (getattr(task, sort.by), task.id), reverse=sort.descending)
        if task.owner_id == ada.id
        and status in (None, task.status)
        and (created_after is None or task.created_at > created_after)
    ]

    async def page_of(window: Window) -> Page[Task]:
        return await store.tasks.page(filter, sort, window)

    assert await walk(page_of, lambda task: Position(getattr(task, sort.by), task.id), 4) == wanted
    assert await skip_through(page_of, 9) == wanted


async def test_what_a_page_hands_out_is_the_callers(ada: User, begin: Begin, store: Store) -> None:
    item, task = an_item(ada), a_task(ada)
    await insert(begin, item, task)
    (await store.items.page(ItemFilter(), Sort("id"), Window())).items[0].item.name = "Spoilt"
    (await store.tasks.page(TaskFilter(ada.id), Sort("id"), Window())).items[0].title = "Spoilt"
    (await store.users.page(Window())).items[0].email = "spoilt@example.org"
    assert (await store.items.get(item.id)).item == replace(item)
    assert await store.tasks.get(task.id, ada.id) == task
    assert await store.users.get(ada.id) == ada


@pytest.mark.parametrize(
    ("others", "total", "exact"), [(COUNT_LIMIT - 2, COUNT_LIMIT - 1, True), (COUNT_LIMIT + 3, COUNT_LIMIT, False)]
)
async def test_counting_stops_at_the_limit(others: int, total: int, exact: bool, lamp: Item, store: Store) -> None:
    for start in range(0, others, 1000):
        copies = range(start, min(start + 1000, others))
        await store.stream.write([replace(lamp, id=ItemId(new_id())) for _ in copies])
    page = await store.items.page(ItemFilter(), Sort("id"), Window())
    assert (page.total, page.total_exact, page.more) == (total, exact, True)
    page = await store.items.page(ItemFilter(), Sort("id"), Window(limit=100, skip=others - 1))
    assert (len(page.items), page.total, page.more) == (2, total, False)
