"""In-memory stores that are right but for one fault each, which the comparison must find."""

from collections import Counter
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from application.paging import Page, Position, Sort, Window
from application.readers import ItemFilter, OwnedItem
from domain.item import Item
from tests.broken.faults import each_unit, nothing

Spoil = Callable[[Any], None]

FAULTS: dict[str, Spoil] = {}


def fault(spoil: Spoil) -> Spoil:
    FAULTS[spoil.__name__.replace("_", "-")] = spoil
    return spoil


# Lists


def listing(store: Any, place: Callable[[Item, Sort[Any]], Any], filter: Callable[[Item, ItemFilter], bool]) -> None:
    """Items are listed by this place and filter."""

    async def page(chosen: ItemFilter, sort: Sort[Any], window: Window) -> Page[OwnedItem]:
        everything = (await sound(chosen, Sort("id"), Window(10_000))).items
        rows = sorted(
            (owned for owned in everything if filter(owned.item, chosen)),
            key=lambda owned: place(owned.item, sort),
            reverse=sort.descending,
        )
        start = window.skip
        if window.after is not None:
            behind = place(item_at(window.after, sort), sort)
            start = sum(
                (place(o.item, sort) >= behind) == sort.descending or place(o.item, sort) == behind for o in rows
            )
        end = start + window.limit
        return Page(rows[start:end], end < len(rows), len(rows) if window.count else None)

    sound, store.items.page = store.items.page, page


def item_at(position: Position, sort: Sort[Any]) -> Any:
    class At:
        id = position.id

    setattr(At, sort.by, position.value)
    return At


def usual_place(item: Item, sort: Sort[Any]) -> Any:
    return getattr(item, sort.by), item.id


def anything(item: Item, chosen: ItemFilter) -> bool:
    return True


@fault
def names_are_sorted_without_case(store: Any) -> None:
    def place(item: Item, sort: Sort[Any]) -> Any:
        value = getattr(item, sort.by)
        return (value.casefold() if sort.by == "name" else value), item.id

    listing(store, place, anything)


@fault
def ties_always_ascend(store: Any) -> None:
    def place(item: Item, sort: Sort[Any]) -> Any:
        return getattr(item, sort.by), -item.id.int if sort.descending else item.id.int

    listing(store, place, anything)


@fault
def the_highest_price_is_excluded(store: Any) -> None:
    listing(store, usual_place, lambda item, chosen: chosen.max_price is None or item.price < chosen.max_price)


@fault
def a_page_starts_at_its_position(store: Any) -> None:
    page = store.users.page

    async def page_from(window: Window) -> Any:
        after = window.after and Position(window.after.value, type(window.after.id)(int=window.after.id.int - 1))
        return await page(replace(window, after=after and replace(after, value=after.id)))

    store.users.page = page_from


# Changes


@fault
@each_unit
def every_holder_is_active(uow: Any) -> None:
    """So the deactivated go on refreshing and transferring."""
    hold = uow.users.hold

    async def hold_as_active(*user_ids: Any) -> Any:
        return {id: replace(user, is_active=True) for id, user in (await hold(*user_ids)).items()}

    uow.users.hold = hold_as_active


@fault
@each_unit
def versions_grow_by_reading(uow: Any) -> None:
    """So that what changes nothing makes a new version."""
    get = uow.items.get_for_update

    async def get_newer(item_id: Any) -> Any:
        item = await get(item_id)
        uow.items.rows.write(item_id, replace(item, version=item.version + 1))
        return replace(item, version=item.version + 1)

    uow.items.get_for_update = get_newer


@fault
@each_unit
def removing_an_item_removes_its_history(uow: Any) -> None:
    remove = uow.items.remove

    async def remove_all(item: Any) -> None:
        await remove(item)
        for number in range(1, item.transfers + 1):
            uow.transfers.rows.write((item.id, number), None)

    uow.items.remove = remove_all


# Sessions and attempts


@fault
@each_unit
def sessions_are_never_revoked_for_a_user(uow: Any) -> None:
    uow.sessions.revoke_all = nothing


@fault
@each_unit
def spent_tokens_are_forgotten(uow: Any) -> None:
    save = uow.sessions.save

    async def save_and_forget(session: Any) -> None:
        before = uow.sessions.rows.read(session.id)
        if before and before.token_hash != session.token_hash:
            uow.sessions.tokens.write(before.token_hash, None)
        await save(session)

    uow.sessions.save = save_and_forget


@fault
@each_unit
def success_forgets_the_failures(uow: Any) -> None:
    save = uow.attempts.save

    async def save_or_forget(*attempts: Any) -> None:
        counted = [copy(one) for one in attempts]
        for one in counted:
            before = uow.attempts.rows.read(one.subject)
            if before and len(one.pending) < len(before.pending) and len(one.failed) == len(before.failed):
                one.failed = ()
        await save(*counted)

    uow.attempts.save = save_or_forget


# Keys


@fault
@each_unit
def keys_live_a_moment_longer(uow: Any) -> None:
    claim = uow.keys.claim

    async def claim_longer(key: Any, fingerprint: bytes, *, lifetime: timedelta, **rest: Any) -> bytes | None:
        longer = lifetime + timedelta(milliseconds=1)
        answer: bytes | None = await claim(key, fingerprint, lifetime=longer, **rest)
        return answer

    uow.keys.claim = claim_longer


@fault
def purging_takes_living_keys_too(store: Any) -> None:
    purge = store.purge

    async def purge_keys(at: datetime, limit: int) -> Counter[str]:
        removed: Counter[str] = await purge(at, limit)
        store.tables.keys.clear()
        return removed

    store.purge = purge_keys
