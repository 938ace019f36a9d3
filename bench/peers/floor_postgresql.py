"""The floor on PostgreSQL: asyncpg and a pool of its own, on Handover's tables."""

import os
from typing import Any
from uuid import UUID

import asyncpg

from bench.peers.floor import Floor, Row

COLUMNS = "i.id, i.name, i.description, i.price, i.owner_id, i.created_at, i.version"
OWNED = f"SELECT {COLUMNS}, u.username FROM {{}} i JOIN users u ON u.id = i.owner_id"
ITEM = f"{OWNED.format('items')} WHERE i.id = $1"
AFTER = f"{OWNED.format('(SELECT * FROM items WHERE id > $1 ORDER BY id LIMIT 11)')} ORDER BY i.id"
IN_RANGE = "FROM items WHERE price BETWEEN $1 AND $2"
DEAREST = (
    OWNED.format(f"(SELECT * {IN_RANGE} ORDER BY price DESC, id DESC LIMIT 11)") + " ORDER BY i.price DESC, i.id DESC"
)
COUNT = f"SELECT count(*) FROM (SELECT 1 {IN_RANGE} LIMIT 10000) AS found"
ADD = f"""
INSERT INTO items AS i (id, name, description, price, owner_id, created_at, version, transfers)
VALUES (gen_random_uuid(), $1, $2, $3, $4, now(), 1, 0) RETURNING {COLUMNS}
"""
TRANSFER = f"""
WITH i AS (
    UPDATE items SET owner_id = $3, version = version + 1, transfers = transfers + 1
    WHERE id = $1 AND owner_id = $2 RETURNING *
), noted AS (
    INSERT INTO transfers (id, item_id, number, from_user_id, to_user_id, version, transferred_at)
    SELECT gen_random_uuid(), id, transfers, $2, $3, version, now() FROM i
)
SELECT {COLUMNS} FROM i
"""
USER = "SELECT id, password_hash FROM users WHERE username = $1"


class PostgresqlFloor(Floor):
    pool: Any

    async def open(self) -> None:
        self.pool = await asyncpg.create_pool(os.environ["BENCH_URL"], min_size=10, max_size=10)

    async def item(self, id: str) -> Row:
        return dict(await self.pool.fetchrow(ITEM, UUID(id)))

    async def after(self, id: str) -> list[Row]:
        return [dict(row) for row in await self.pool.fetch(AFTER, UUID(id))]

    async def dearest(self, least: int, most: int) -> list[Row]:
        return [dict(row) for row in await self.pool.fetch(DEAREST, least, most)]

    async def count(self, least: int, most: int) -> int:
        number: int = await self.pool.fetchval(COUNT, least, most)
        return number

    async def add(self, item: Row) -> Row:
        values = item["name"], item["description"], item["cents"], UUID(item["owner_id"])
        return dict(await self.pool.fetchrow(ADD, *values))

    async def transfer(self, id: str, giver: str, taker: str) -> Row | None:
        row = await self.pool.fetchrow(TRANSFER, UUID(id), UUID(giver), UUID(taker))
        return dict(row) if row else None

    async def user(self, username: str) -> Row:
        return dict(await self.pool.fetchrow(USER, username))


app = PostgresqlFloor()
