"""The textbook on PostgreSQL: the pattern that guides show for FastAPI with SQLAlchemy's ORM, faults and all.

A session per request from a `yield` dependency, which commits after the answer; a pool of 10 and 20 more, with
pre-ping; entities loaded by the ORM and validated again on their way out; pages by offset with a count. No token is
checked, and no history kept.
"""

import os
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.security import OAuth2PasswordRequestForm
from sqlalchemy import Select, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from bench.peers.textbook import ItemCreate, ItemPage, ItemResponse, Sides, log_in
from bench.peers.textbook_models import Base, Item, User

engine = create_async_engine(
    os.environ["BENCH_URL"].replace("postgresql://", "postgresql+asyncpg://"),
    pool_size=10,
    max_overflow=20,
    pool_timeout=30,
    pool_recycle=3600,
    pool_pre_ping=True,
)
async_session_maker = async_sessionmaker(engine, expire_on_commit=False)


async def get_db() -> AsyncIterator[AsyncSession]:
    async with async_session_maker() as session:
        try:
            yield session
            await session.commit()
        except Exception:
            await session.rollback()
            raise
        finally:
            await session.close()


Db = Annotated[AsyncSession, Depends(get_db)]
app = FastAPI()


async def get_item(db: AsyncSession, item_id: int) -> Item:
    item = (await db.execute(select(Item).where(Item.id == item_id))).scalar_one_or_none()
    if item is None:
        raise HTTPException(404, "Item not found")
    return item


@app.get("/items/{item_id}", response_model=ItemResponse)
async def read_item(item_id: int, db: Db) -> Any:
    return await get_item(db, item_id)


@app.get("/items", response_model=ItemPage)
async def list_items(
    db: Db,
    skip: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
    min_price: float | None = None,
    max_price: float | None = None,
) -> Any:
    def restricted(query: Select[Any]) -> Select[Any]:
        if min_price is not None:
            query = query.where(Item.price >= min_price)
        if max_price is not None:
            query = query.where(Item.price <= max_price)
        return query

    order = [Item.id] if min_price is None else [Item.price.desc(), Item.id.desc()]
    items = (await db.execute(restricted(select(Item)).order_by(*order).offset(skip).limit(limit))).scalars().all()
    total = (await db.execute(restricted(select(func.count(Item.id))))).scalar_one()
    return {"items": items, "total": total, "skip": skip, "limit": limit}


@app.post("/items", response_model=ItemResponse, status_code=201)
async def create_item(item: ItemCreate, db: Db) -> Any:
    db_item = Item(**item.model_dump())
    db.add(db_item)
    await db.flush()
    await db.refresh(db_item)
    return db_item


@app.post("/items/{item_id}/transfer", response_model=ItemResponse)
async def transfer_item(item_id: int, sides: Sides, db: Db) -> Any:
    async with db.begin():
        item = await get_item(db, item_id)
        if item.owner_id != sides.from_user_id:
            raise HTTPException(400, "Item does not belong to user")
        item.owner_id = sides.to_user_id
        await db.flush()
    return item


@app.post("/token")
async def token(form: Annotated[OAuth2PasswordRequestForm, Depends()], db: Db) -> dict[str, str]:
    """Hashes on the event loop, as FastAPI's tutorial does."""
    user = (await db.execute(select(User).where(User.username == form.username))).scalar_one_or_none()
    return log_in(form, user.id if user else None, user.hashed_password if user else None)


async def fill(users: list[dict[str, Any]], items: list[dict[str, Any]]) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(insert(User), users)
        await connection.execute(insert(Item), items)
        for table in ("users", "items"):
            await connection.execute(text(f"SELECT setval('{table}_id_seq', (SELECT max(id) FROM {table}))"))
    await engine.dispose()
