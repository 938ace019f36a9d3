"""The textbook on MongoDB: the pattern that guides show for FastAPI with Beanie, faults and all.

Documents are loaded by the mapper and validated again on their way out; an owner is a link; nothing is a transaction.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

from beanie import Document, Link, init_beanie
from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import Field
from pymongo import AsyncMongoClient, IndexModel
from pymongo.asynchronous.database import AsyncDatabase

from bench.peers.textbook import ItemCreate, ItemPage, ItemResponse, Sides, log_in


class User(Document):
    id: int  # type: ignore[assignment]
    email: str
    username: str
    hashed_password: str
    is_active: bool = True
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))

    class Settings:
        name = "users"
        indexes = ("email", "username")


class Item(Document):
    id: int = Field(default_factory=lambda: int.from_bytes(os.urandom(6)))  # type: ignore[assignment]
    name: str
    description: str | None = None
    price: float
    owner: Link[User]

    class Settings:
        name = "items"
        indexes = (IndexModel("price"),)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    client: AsyncMongoClient[dict[str, Any]]
    async with AsyncMongoClient(os.environ["BENCH_URL"]) as client:
        await init_beanie(client.get_default_database(), document_models=[User, Item])
        yield


app = FastAPI(lifespan=lifespan)


def shown(item: Item) -> dict[str, Any]:
    return {**item.model_dump(exclude={"owner"}), "owner_id": item.owner.ref.id}


async def get_item(item_id: int) -> Item:
    item = await Item.get(item_id)
    if item is None:
        raise HTTPException(404, "Item not found")
    return item


@app.get("/items/{item_id}", response_model=ItemResponse)
async def read_item(item_id: int) -> Any:
    return shown(await get_item(item_id))


@app.get("/items", response_model=ItemPage)
async def list_items(
    skip: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
    min_price: float | None = None,
    max_price: float | None = None,
) -> Any:
    query = Item.find_all()
    if min_price is not None:
        query = query.find(Item.price >= min_price)
    if max_price is not None:
        query = query.find(Item.price <= max_price)
    order = ["+_id"] if min_price is None else ["-price", "-_id"]
    items = await query.sort(*order).skip(skip).limit(limit).to_list()
    total = await query.count()
    return {"items": [shown(item) for item in items], "total": total, "skip": skip, "limit": limit}


@app.post("/items", response_model=ItemResponse, status_code=201)
async def create_item(item: ItemCreate) -> Any:
    db_item = Item(**item.model_dump(exclude={"owner_id"}), owner=User.link_from_id(item.owner_id))
    await db_item.insert()
    return shown(db_item)


@app.post("/items/{item_id}/transfer", response_model=ItemResponse)
async def transfer_item(item_id: int, sides: Sides) -> Any:
    item = await get_item(item_id)
    if item.owner.ref.id != sides.from_user_id:
        raise HTTPException(400, "Item does not belong to user")
    item.owner = User.link_from_id(sides.to_user_id)
    await item.save()
    return shown(item)


@app.post("/token")
async def token(form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> dict[str, str]:
    """Hashes on the event loop, as FastAPI's tutorial does."""
    user = await User.find_one(User.username == form.username)
    return log_in(form, user.id if user else None, user.hashed_password if user else None)


async def fill(users: list[dict[str, Any]], items: list[dict[str, Any]]) -> None:
    client: AsyncMongoClient[dict[str, Any]]
    async with AsyncMongoClient(os.environ["BENCH_URL"]) as client:
        database: AsyncDatabase[dict[str, Any]] = client.get_default_database()
        await init_beanie(database, document_models=[User, Item])
        await database["users"].insert_many([{"_id": user.pop("id")} | user for user in users])
        rows = [{"_id": item["id"], "owner": {"$ref": "users", "$id": item["owner_id"]}} | item for item in items]
        for row in rows:
            del row["id"], row["owner_id"]
        await database["items"].insert_many(rows)
