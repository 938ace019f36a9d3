"""Concurrent writers lose no change, and each idempotency key takes effect once."""

import asyncio
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from application.idempotency import IdempotentRequest, Replay, idempotent
from application.paging import Window
from application.ports import KeyId
from application.readers import OwnedItem
from application.store import Store
from domain.errors import DomainError
from domain.item import ItemId
from domain.user import User, UserId
from interfaces.certification.comparison.use_cases import UseCases, check_histories
from interfaces.testing.clock_and_ids import SetClock

WRITERS, DEEDS, KEYS = 6, 12, 8


@dataclass
class Log:
    """What the writers were told."""

    versions: dict[ItemId, list[int]] = field(default_factory=lambda: defaultdict(list))
    transfers: dict[ItemId, list[tuple[int, UserId, UserId]]] = field(default_factory=lambda: defaultdict(list))
    """By version, from whom and to whom."""
    effects: Counter[int] = field(default_factory=Counter)
    answers: dict[int, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    """How often a key's request took effect, and all that was answered to it."""
    refusals: Counter[str] = field(default_factory=Counter)

    def note(self, answer: OwnedItem, expected: set[int] | None) -> None:
        assert expected is None or answer.item.version - 1 in expected
        self.versions[answer.item.id].append(answer.item.version)

    def note_transfer(self, by: UserId, answer: OwnedItem, expected: set[int] | None) -> None:
        self.note(answer, expected)
        self.transfers[answer.item.id].append((answer.item.version, by, answer.item.owner_id))


@pytest.mark.parametrize("seed", range(3))
async def test_whoever_is_first(seed: int, store: Store) -> None:
    use_cases, log = UseCases(store, SetClock()), Log()
    people = [
        await use_cases.create_user(email=f"{name}@example.org", username=name, password="correct horse")
        for name in ("ada", "grace", "zoe")
    ]
    things = [
        (await use_cases.create_item(by=user.id, name="Lamp", description=None, price=Decimal(1))).item.id
        for user in people
    ]

    async with asyncio.timeout(60), asyncio.TaskGroup() as writers:
        for number in range(WRITERS):
            writers.create_task(write(use_cases, people, things, random.Random(f"{seed} {number}"), log))

    await check_histories(store)
    for thing in things:
        item = (await store.items.get(thing)).item
        history = (await store.transfers.page(thing, Window(limit=100))).items
        assert sorted(log.versions[thing]) == [*range(2, item.version + 1)]
        assert sorted(log.transfers[thing]) == [(t.version, t.from_user_id, t.to_user_id) for t in history]
    assert {log.effects[key] for key in log.answers} == {1}
    assert {len(answers) for answers in log.answers.values()} == {1}
    assert log.refusals.keys() <= {"version-mismatch", "item-not-owned", "recipient-is-owner", "request-in-progress"}
    assert log.refusals["version-mismatch"] + log.refusals["item-not-owned"], "nobody got in anybody's way"


async def write(use_cases: UseCases, people: list[User], things: list[ItemId], chance: random.Random, log: Log) -> None:
    for _ in range(DEEDS):
        key = chance.randrange(KEYS)
        operation = chance.choice(["change", "transfer", "transfer once"])
        item = (
            await use_cases.store.items.get(things[key % 3] if operation == "transfer once" else chance.choice(things))
        ).item
        by, to = item.owner_id, chance.choice(people).id
        expected = chance.choice([None, {item.version}])
        try:
            if operation == "change":
                changes = {"price": Decimal(chance.randrange(10**9)) / 100}  # never the same twice
                log.note(await use_cases.change_item(item.id, changes, by=by, expected=expected), expected)  # type: ignore[arg-type]
            elif operation == "transfer":
                log.note_transfer(by, await use_cases.transfer_item(item.id, by=by, to=to, expected=expected), expected)
            else:
                once = IdempotentRequest(
                    KeyId(people[0].id, "POST", f"key {key}"), b"the same", lambda owned: repr(owned).encode()
                )
                with idempotent(once):
                    answer = await use_cases.transfer_item(item.id, by=by, to=people[key % 2].id)
                log.note_transfer(by, answer, None)
                log.effects[key] += 1
                log.answers[key].add(once.answer or b"")
        except Replay as replay:
            log.answers[key].add(replay.answer)
        except DomainError as refusal:
            log.refusals[refusal.code] += 1
