"""The textbook on SQLite: the pattern that guides show for FastAPI with SQLAlchemy's ORM, faults and all.

Synchronous sessions from a `yield` dependency, in the thread pool, which commit after the answer.
"""

import os
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.security import OAuth2PasswordRequestForm
from sqlalchemy import create_engine, insert
from sqlalchemy.orm import Query as Selection
from sqlalchemy.orm import Session, sessionmaker

from bench.peers.textbook import ItemCreate, ItemPage, ItemResponse, Sides, log_in
from bench.peers.textbook_models import Base, Item, User

engine = create_engine(os.environ["BENCH_URL"], connect_args={"check_same_thread": False})
SessionLocal = sessionmaker(autocommit=False, autoflush=False, bind=engine)


def get_db() -> Iterator[Session]:
    db = SessionLocal()
    try:
        yield db
        db.commit()
    except Exception:
        db.rollback()
        raise
    finally:
        db.close()


Db = Annotated[Session, Depends(get_db)]
app = FastAPI()


def get_item(db: Session, item_id: int) -> Item:
    item = db.query(Item).filter(Item.id == item_id).first()
    if item is None:
        raise HTTPException(404, "Item not found")
    return item


@app.get("/items/{item_id}", response_model=ItemResponse)
def read_item(item_id: int, db: Db) -> Any:
    return get_item(db, item_id)


@app.get("/items", response_model=ItemPage)
def list_items(
    db: Db,
    skip: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
    min_price: float | None = None,
    max_price: float | None = None,
) -> Any:
    found: Selection[Item] = db.query(Item)
    if min_price is not None:
        found = found.filter(Item.price >= min_price)
    if max_price is not None:
        found = found.filter(Item.price <= max_price)
    order = [Item.id] if min_price is None else [Item.price.desc(), Item.id.desc()]
    items = found.order_by(*order).offset(skip).limit(limit).all()
    return {"items": items, "total": found.count(), "skip": skip, "limit": limit}


@app.post("/items", response_model=ItemResponse, status_code=201)
def create_item(item: ItemCreate, db: Db) -> Any:
    db_item = Item(**item.model_dump())
    db.add(db_item)
    db.flush()
    db.refresh(db_item)
    return db_item


@app.post("/items/{item_id}/transfer", response_model=ItemResponse)
def transfer_item(item_id: int, sides: Sides, db: Db) -> Any:
    item = get_item(db, item_id)
    if item.owner_id != sides.from_user_id:
        raise HTTPException(400, "Item does not belong to user")
    item.owner_id = sides.to_user_id
    db.flush()
    return item


@app.post("/token")
def token(form: Annotated[OAuth2PasswordRequestForm, Depends()], db: Db) -> dict[str, str]:
    user = db.query(User).filter(User.username == form.username).first()
    return log_in(form, user.id if user else None, user.hashed_password if user else None)


async def fill(users: list[dict[str, Any]], items: list[dict[str, Any]]) -> None:
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
        connection.execute(insert(User), users)
        connection.execute(insert(Item), items)
    engine.dispose()
