"""The floor: what is left when nothing is checked and nothing abstracted, a bare ASGI application on the driver."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from pydantic_core import to_json

from bench.peers.passwords import HASHER, token_for

Row = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]


class Floor(ABC):
    """On one engine, whose driver fulfils what is abstract here. Prices are in cents."""

    @abstractmethod
    async def open(self) -> None: ...

    @abstractmethod
    async def item(self, id: str) -> Row: ...

    @abstractmethod
    async def after(self, id: str) -> list[Row]:
        """Up to 11, by id."""

    @abstractmethod
    async def dearest(self, least: int, most: int) -> list[Row]:
        """Up to 11 with prices in this range, by price and id, the highest first."""

    @abstractmethod
    async def count(self, least: int, most: int) -> int:
        """Up to 10,000."""

    @abstractmethod
    async def add(self, item: Row) -> Row: ...

    @abstractmethod
    async def transfer(self, id: str, giver: str, taker: str) -> Row | None:
        """None if it is not the giver's."""

    @abstractmethod
    async def user(self, username: str) -> Row: ...

    async def answer(self, scope: Any, receive: Receive) -> tuple[int, bytes]:
        match scope["method"], scope["path"].split("/")[1:]:
            case "GET", ["items", id]:
                row = await self.item(id)
                known = dict(scope["headers"]).get(b"if-none-match")
                return (304, b"") if known == b'"%d"' % row["version"] else (200, to_json(shown(row)))
            case "GET", ["items"]:
                return 200, to_json(await self.page(parse_qs(scope["query_string"].decode())))
            case "POST", ["items"]:
                return 201, to_json(shown(await self.add(json.loads(await body_of(receive)))))
            case "POST", ["items", id, "transfer"]:
                sides = json.loads(await body_of(receive))
                moved = await self.transfer(id, sides["from_user_id"], sides["to_user_id"])
                return (200, to_json(shown(moved))) if moved else (403, b"{}")
            case "POST", ["token"]:
                form = parse_qs((await body_of(receive)).decode())
                user = await self.user(form["username"][0])
                assert await asyncio.to_thread(HASHER.verify, form["password"][0], user["password_hash"])
                return 200, to_json(token_for(user["id"]))
        return 404, b"{}"

    async def page(self, query: dict[str, list[str]]) -> dict[str, Any]:
        total = None
        if "after" in query:
            rows = await self.after(query["after"][0])
        else:
            least, most = int(query["least"][0]), int(query["most"][0])
            rows = await self.dearest(least, most)
            total = await self.count(least, most) if "count" in query else None
        return {"items": [shown(row) for row in rows[:10]], "more": len(rows) > 10, "total": total}

    async def __call__(self, scope: Any, receive: Receive, send: Callable[[Any], Awaitable[None]]) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await self.open()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        status, body = await self.answer(scope, receive)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def shown(row: Row) -> Row:
    return {**row, "price": row["price"] / 100}


async def body_of(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)
