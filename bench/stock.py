"""What the stores are filled with: the same users and items for all that are compared."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from uuid_utils.compat import uuid7

from bench.peers.passwords import HASHER
from domain.item import Item, ItemId
from domain.user import User, UserId

PASSWORD = "correct horse battery staple"
HOT = 3
"""The last items, which the first user has."""
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Stock:
    users: list[User]
    items: list[Item]
    rank: dict[UserId, int] = field(default_factory=dict)
    """The place of each user in the list, from 0."""

    def name_of(self, item: Item) -> str:
        return self.users[self.rank[item.owner_id]].username


def stock(*, items: int, users: int = 1000) -> Stock:
    """The same each time but for the ids, which grow as the items do."""
    chance, password_hash = random.Random(1), HASHER.hash(PASSWORD)
    accounts = [
        User(
            id=UserId(uuid7()),
            email=f"user{number}@example.org",
            username=f"user{number}",
            password_hash=password_hash,
            created_at=BEGAN,
        )
        for number in range(users)
    ]
    things = [
        Item(
            id=ItemId(uuid7()),
            name=f"{chance.choice(('Bicycle', 'Chair', 'Drill', 'Kettle', 'Lamp'))} {chance.randrange(items)}",
            description="Green, with a basket and a bell" if number % 2 else None,
            price=Decimal(chance.randrange(100_000)).scaleb(-2),
            owner_id=accounts[number % users if number < items - HOT else 0].id,
            created_at=BEGAN + timedelta(milliseconds=number * 10),
        )
        for number in range(items)
    ]
    return Stock(accounts, things, {user.id: rank for rank, user in enumerate(accounts)})
