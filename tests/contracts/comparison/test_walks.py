"""Reading a list page by page gives every row that stays exactly once while other rows are added and removed."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from application.paging import Page, Position, Sort, Window
from application.ports import UnitOfWork
from application.readers import ItemFilter, TaskFilter
from application.store import Store
from domain.item import Item, ItemId
from domain.task import Task, TaskId, TaskStatus
from domain.user import User, UserId
from interfaces.certification.comparison.use_cases import scattered_ids
from interfaces.certification.comparison.values import ITEM_SORTS, TASK_SORTS, names
from interfaces.certification.comparison.walking import check_new
from interfaces.testing.builders import NOON, a_user

Place = tuple[Any, UUID]
Kind = tuple[str, Decimal, int]
Change = tuple[str, int, Kind]

kinds = st.tuples(
    st.sampled_from(["a", "B", "💡", "\uffee"]) | names,
    st.sampled_from(["0.00", "0.01", "10.00"]).map(Decimal),
    st.integers(0, 1),
)
"""Name, price and moment of a row: so few that there are ties everywhere."""
changes = st.tuples(st.sampled_from(["add", "remove", "rename"]), st.integers(0, 100), kinds)


@dataclass
class Walk:
    """One list in one order, page by page from where the last one ended."""

    sort: Sort[Any]
    limit: int
    page_of: Callable[[Sort[Any], Window], Awaitable[Page[Any]]]
    seen: list[Place] = field(default_factory=list)
    ended: bool = False

    async def go_on(self) -> None:
        if not self.ended:
            after = Position(*self.seen[-1]) if self.seen else None
            page = await self.page_of(self.sort, Window(self.limit, after=after, count=False))
            places = [place(getattr(row, "item", row), self.sort) for row in page.items]
            check_new(places, self.seen, after, more=page.more)
            self.seen += places
            self.ended = not page.more


def place(row: Any, sort: Sort[Any]) -> Place:
    return getattr(row, sort.by), row.id


class Rows:
    """A user, an item and a task each, that come, go and are renamed together."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ids = scattered_ids()
        self.owner = a_user(id=UserId(next(self.ids)))
        self.there: list[tuple[User, Item, Task]] = []
        self.removed: set[UUID] = set()
        self.renamed: set[UUID] = set()

    async def begin_with(self, kinds: list[Kind]) -> None:
        async with self.store.begin() as uow:
            await uow.users.add(self.owner)
            for kind in kinds:
                await self._add(uow, kind)
            await uow.commit()

    async def apply_changes(self, changes: list[Change]) -> None:
        async with self.store.begin() as uow:
            await uow.users.hold(self.owner.id)
            for what, which, kind in changes:
                if what == "add":
                    await self._add(uow, kind)
                elif self.there:
                    await self._end(uow, which % len(self.there), kind[0] if what == "rename" else None)
            await uow.commit()

    async def _add(self, uow: UnitOfWork, kind: Kind) -> None:
        name, price, moment = kind
        at = NOON + timedelta(milliseconds=moment)
        user = a_user(id=UserId(next(self.ids)))
        item = Item(
            id=ItemId(next(self.ids)),
            name=name,
            description=None,
            price=price,
            owner_id=self.owner.id,
            created_at=at,
        )
        task = Task(
            id=TaskId(next(self.ids)),
            owner_id=self.owner.id,
            title=name,
            description=None,
            status=TaskStatus.PENDING,
            created_at=at,
        )
        await uow.users.add(user)
        await uow.items.add(item)
        await uow.tasks.add(task)
        self.there.append((user, item, task))

    async def _end(self, uow: UnitOfWork, which: int, name: str | None) -> None:
        """Of a row under its name: it goes on under another, or not at all."""
        user, item, task = self.there.pop(which)
        await uow.items.get_for_update(item.id)
        await uow.tasks.get_for_update(task.id)
        if name is None:
            await uow.users.remove(await uow.users.get_for_update(user.id))
            await uow.items.remove(item)
            await uow.tasks.remove(task)
            self.removed |= {user.id, item.id, task.id}
        else:
            item = replace(item, name=name, version=item.version + 1)
            task = replace(task, title=name, version=task.version + 1)
            await uow.items.save(item)
            await uow.tasks.save(task)
            self.renamed |= {item.id, task.id}
            self.there.append((user, item, task))

    def stay(self, first: list[Any], sort: Sort[Any]) -> set[Place]:
        moved = self.removed | (self.renamed if sort.by in {"name", "title"} else set())
        return {place(row, sort) for row in first if row.id not in moved}


def test_a_walk_misses_and_repeats_nothing(
    loop: asyncio.AbstractEventLoop, fresh: Callable[[], Awaitable[Store]], effort: settings
) -> None:
    @settings(effort)
    @given(
        first=st.lists(kinds, min_size=4, max_size=12),
        limit=st.integers(1, 4),
        meanwhile=st.lists(st.lists(changes, max_size=4), min_size=1, max_size=8),
    )
    def walk(first: list[Kind], limit: int, meanwhile: list[list[Change]]) -> None:
        loop.run_until_complete(walk_all(first, limit, meanwhile))

    async def walk_all(first: list[Kind], limit: int, meanwhile: list[list[Change]]) -> None:
        store = await fresh()
        rows = Rows(store)
        await rows.begin_with(first)
        users, items, tasks = ([*row] for row in zip(*rows.there, strict=True))
        lists: list[tuple[list[Any], Walk]] = [
            (users, Walk(Sort("id"), limit, lambda _, window: store.users.page(window))),
            *((items, Walk(sort, limit, lambda *part: store.items.page(ItemFilter(), *part))) for sort in ITEM_SORTS),
            *(
                (tasks, Walk(sort, limit, lambda *part: store.tasks.page(TaskFilter(rows.owner.id), *part)))
                for sort in TASK_SORTS
            ),
        ]
        while not all(walk.ended for _, walk in lists):
            for _, walk in lists:
                await walk.go_on()
            await rows.apply_changes(meanwhile.pop() if meanwhile else [])

        for there_first, walk in lists:
            assert walk.seen == sorted(set(walk.seen), reverse=walk.sort.descending)
            assert rows.stay(there_first, walk.sort) <= set(walk.seen)

    walk()
