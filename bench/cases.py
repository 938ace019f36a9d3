"""What is asked of each of the servers, as it goes over the wire: the same of all, as far as they can do it."""

import json
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any
from urllib.parse import urlencode

from pydantic import SecretStr

from application.paging import Sort
from application.readers import OwnedItem
from bench.load import request
from bench.serving import SECRET
from bench.stock import HOT, PASSWORD, Stock
from domain.item import Item
from domain.user import UserId
from infrastructure.security.tokens import JwtTokens
from interfaces.http.paging import cursors
from interfaces.http.paging.listing import list_name
from interfaces.http.routes.items import ITEMS

READ = 10_000
"""Different requests of a read."""
MOVED = 2000
"""Items that one run of transfers hands over and back again."""
WIDTH = 5000
"""Cents between the lowest and the highest price of a filter: one item in twenty."""
FORM = "application/x-www-form-urlencoded"

Requests = Iterator[bytes]


class Peer(ABC):
    """The requests of each case, by its name. Each run of transfers is about items of its own."""

    def __init__(self, stock: Stock, first_run: int = 0) -> None:
        self.stock = stock
        self.runs = count(first_run)

    @abstractmethod
    def item(self) -> Requests: ...

    @abstractmethod
    def known(self) -> Requests: ...

    @abstractmethod
    def page(self) -> Requests: ...

    def deep(self) -> Requests:
        """From anywhere in the list; by cursor that is no different."""
        return self.page()

    @abstractmethod
    def found(self) -> Requests: ...

    @abstractmethod
    def counted(self) -> Requests: ...

    @abstractmethod
    def add(self) -> Requests: ...

    def transfer(self) -> Requests:
        return (self.handing(*sides) for sides in there_and_back(self.stock, next(self.runs)))

    def hot(self) -> Requests:
        return (self.handing(*sides) for sides in contended(self.stock))

    @abstractmethod
    def handing(self, item: Item, giver: UserId, taker: UserId) -> bytes: ...

    @abstractmethod
    def sign_in(self) -> Requests: ...


TITLES = {
    "item": "read an item",
    "known": "read an item that is known (304)",
    "page": "a page by cursor",
    "deep": "a page from anywhere in the list",
    "found": "a page, filtered and sorted",
    "counted": "the same with its total",
    "add": "register an item",
    "transfer": "hand an item over",
    "hot": "hand over one of 3 hot items",
    "sign_in": "sign in",
}


class Handover(Peer):
    def __init__(self, stock: Stock, first_run: int = 0) -> None:
        super().__init__(stock, first_run)
        tokens = JwtTokens(secret=SecretStr(SECRET), previous=None, minutes=24 * 60)
        self.tokens = {user.id: tokens.issue(user.id, datetime.now(UTC)).token for user in stock.users}
        self.token = self.tokens[stock.users[0].id]

    def item(self) -> Requests:
        return (request("GET", f"/items/{item.id}", token=self.token) for item in sample(self.stock))

    def known(self) -> Requests:
        for item in sample(self.stock):
            yield request("GET", f"/items/{item.id}", token=self.token, If_None_Match='"1"')

    def page(self) -> Requests:
        return self.pages(Sort("id"))

    def found(self) -> Requests:
        for least in prices():
            yield request("GET", f"/items?{in_range(least)}&sort=-price&count=false", token=self.token)

    def counted(self) -> Requests:
        return (request("GET", f"/items?{in_range(least)}&sort=-price", token=self.token) for least in prices())

    def add(self) -> Requests:
        for item in sample(self.stock):
            body = {"name": item.name, "description": item.description, "price": float(item.price)}
            yield request("POST", "/items", token=self.tokens[item.owner_id], body=json.dumps(body))

    def handing(self, item: Item, giver: UserId, taker: UserId) -> bytes:
        body = json.dumps({"to_user_id": str(taker)})
        return request("POST", f"/items/{item.id}/transfer", token=self.tokens[giver], body=body)

    def sign_in(self) -> Requests:
        for user in self.stock.users:
            yield request("POST", "/auth/token", body=form(user.username), kind=FORM)

    def pages(self, sort: Sort[Any], **filters: object) -> Requests:
        """From anywhere in the list."""
        name = list_name("/items", sort, filters)
        query = urlencode({**filters, "sort": f"{'-' * sort.descending}{sort.by}"} if sort.by != "id" else filters)
        within = [item for item in self.stock.items if filters.get("owner_id") in {None, item.owner_id}]
        for item in random.Random(5).choices(within, k=READ):
            cursor = cursors.encode_cursor(ITEMS.position(OwnedItem(item, ""), sort), ITEMS.fields[sort.by], name)
            yield request("GET", f"/items?cursor={cursor}&{query}", token=self.token)


class Textbook(Peer):
    """Its ids are numbers, callers say who they are, and there are no cursors."""

    def __init__(self, stock: Stock) -> None:
        super().__init__(stock)
        self.numbers = {item.id: number for number, item in enumerate(stock.items, 1)}

    def item(self) -> Requests:
        return (request("GET", f"/items/{self.numbers[item.id]}") for item in sample(self.stock))

    def known(self) -> Requests:
        """It sends it again."""
        return self.item()

    def page(self) -> Requests:
        """One of the first hundred, where it is best."""
        return (request("GET", f"/items?skip={10 * number}") for number in range(100))

    def deep(self) -> Requests:
        chance = random.Random(6)
        return (request("GET", f"/items?skip={chance.randrange(len(self.stock.items))}") for _ in range(READ))

    def found(self) -> Requests:
        """It counts in any case."""
        return self.counted()

    def counted(self) -> Requests:
        return (request("GET", f"/items?{in_range(least)}") for least in prices())

    def add(self) -> Requests:
        for item in sample(self.stock):
            owner = self._user(item.owner_id)
            body = {"name": item.name, "description": item.description, "price": float(item.price), "owner_id": owner}
            yield request("POST", "/items", body=json.dumps(body))

    def handing(self, item: Item, giver: UserId, taker: UserId) -> bytes:
        body = json.dumps({"from_user_id": self._user(giver), "to_user_id": self._user(taker)})
        return request("POST", f"/items/{self.numbers[item.id]}/transfer", body=body)

    def sign_in(self) -> Requests:
        return (request("POST", "/token", body=form(user.username), kind=FORM) for user in self.stock.users)

    def _user(self, id: UserId) -> int:
        return self.stock.rank[id] + 1


class Floor(Peer):
    """No token is checked here either."""

    def item(self) -> Requests:
        return (request("GET", f"/items/{item.id}") for item in sample(self.stock))

    def known(self) -> Requests:
        return (request("GET", f"/items/{item.id}", If_None_Match='"1"') for item in sample(self.stock))

    def page(self) -> Requests:
        return (request("GET", f"/items?after={item.id}") for item in sample(self.stock))

    def found(self) -> Requests:
        return (request("GET", f"/items?least={least}&most={least + WIDTH}") for least in prices())

    def counted(self) -> Requests:
        return (request("GET", f"/items?least={least}&most={least + WIDTH}&count=1") for least in prices())

    def add(self) -> Requests:
        for item in sample(self.stock):
            facts: dict[str, Any] = {"name": item.name, "description": item.description}
            body = facts | {"cents": int(item.price * 100), "owner_id": str(item.owner_id)}
            yield request("POST", "/items", body=json.dumps(body))

    def handing(self, item: Item, giver: UserId, taker: UserId) -> bytes:
        body = json.dumps({"from_user_id": str(giver), "to_user_id": str(taker)})
        return request("POST", f"/items/{item.id}/transfer", body=body)

    def sign_in(self) -> Requests:
        return (request("POST", "/token", body=form(user.username), kind=FORM) for user in self.stock.users)


def sample(stock: Stock) -> list[Item]:
    return random.Random(2).choices(stock.items[:-HOT], k=READ)


def prices() -> list[int]:
    chance = random.Random(3)
    return [chance.randrange(100_000 - WIDTH) for _ in range(1000)]


def in_range(least: int) -> str:
    return f"min_price={least / 100:.2f}&max_price={(least + WIDTH) / 100:.2f}"


def form(username: str) -> str:
    return urlencode({"username": username, "password": PASSWORD})


Handing = tuple[Item, UserId, UserId]


def there_and_back(stock: Stock, run: int) -> Iterator[Handing]:
    """Of items that no other run has touched: the first of them is back at its owner's when the file is at its end."""
    items = stock.items[run * MOVED : (run + 1) * MOVED]
    if len(items) < MOVED:
        raise ValueError("so many runs take more items")
    # Far from the giver, so that those who are under way at the same time have no users in common either.
    takers = [stock.users[stock.rank[item.owner_id] - len(stock.users) // 2].id for item in items]
    for item, taker in zip(items, takers, strict=True):
        yield item, item.owner_id, taker
    for item, taker in zip(items, takers, strict=True):
        yield item, taker, item.owner_id


def contended(stock: Stock) -> Iterator[Handing]:
    """Between the same two users by turns, as nobody can know who has the item just now: about half can succeed."""
    chance = random.Random(4)
    one, other = (user.id for user in stock.users[:2])
    for _ in range(READ // 2):
        yield chance.choice(stock.items[-HOT:]), one, other
        yield chance.choice(stock.items[-HOT:]), other, one
