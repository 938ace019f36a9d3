"""The floor on MongoDB: the driver's own client, on Handover's collections."""

import os
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from pymongo import AsyncMongoClient, ReturnDocument
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from bench.peers.floor import Floor, Row


class MongodbFloor(Floor):
    client: AsyncMongoClient[Row]
    database: AsyncDatabase[Row]
    items: AsyncCollection[Row]

    async def open(self) -> None:
        self.client = AsyncMongoClient(
            os.environ["BENCH_URL"], uuidRepresentation="standard", maxPoolSize=10, w="majority"
        )
        self.database = self.client.get_default_database()
        self.items = self.database["items"]

    async def item(self, id: str) -> Row:
        return renamed(await self.items.find_one({"_id": UUID(id)}))

    async def after(self, id: str) -> list[Row]:
        found = await self.items.find({"_id": {"$gt": UUID(id)}}, sort=[("_id", 1)], limit=11).to_list()
        return [renamed(row) for row in found]

    async def dearest(self, least: int, most: int) -> list[Row]:
        in_range = {"cents": {"$gte": least, "$lte": most}}
        found = await self.items.find(in_range, sort=[("cents", -1), ("_id", -1)], limit=11).to_list()
        return [renamed(row) for row in found]

    async def count(self, least: int, most: int) -> int:
        in_range = {"cents": {"$gte": least, "$lte": most}}
        result = await self.database.command("count", "items", query=in_range, limit=10_000)
        number: int = result["n"]
        return number

    async def add(self, item: Row) -> Row:
        owner = UUID(item["owner_id"])
        row = {**item, "_id": uuid4(), "owner_id": owner, "owner_username": "", "version": 1, "transfers": 0}
        row["created_at"] = datetime.now(UTC)
        await self.items.insert_one(row)
        return renamed(row)

    async def transfer(self, id: str, giver: str, taker: str) -> Row | None:
        async with self.client.start_session() as session, await session.start_transaction():
            row = await self.items.find_one_and_update(
                {"_id": UUID(id), "owner_id": UUID(giver)},
                {"$set": {"owner_id": UUID(taker)}, "$inc": {"version": 1, "transfers": 1}},
                session=session,
                return_document=ReturnDocument.AFTER,
            )
            if row is None:
                return None
            note = {
                "_id": uuid4(),
                "item_id": row["_id"],
                "number": row["transfers"],
                "from_user_id": UUID(giver),
                "to_user_id": row["owner_id"],
                "version": row["version"],
                "transferred_at": datetime.now(UTC),
            }
            await self.database["transfers"].insert_one(note, session=session)
        return renamed(row)

    async def user(self, username: str) -> Row:
        user: Any = await self.database["users"].find_one({"username": username})
        return {"id": user["_id"], "password_hash": user["password_hash"]}


def renamed(row: Any) -> Row:
    return {
        "id": row["_id"],
        "price": row["cents"],
        **{name: row[name] for name in row if name not in {"_id", "cents"}},
    }


app = MongodbFloor()
