"""What the textbooks of all engines share: the schemas of the API, and signing in as FastAPI's tutorial does it."""

from fastapi import HTTPException
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import BaseModel, ConfigDict

from bench.peers.passwords import HASHER, token_for


class ItemBase(BaseModel):
    name: str
    description: str | None = None
    price: float


class ItemCreate(ItemBase):
    owner_id: int


class ItemResponse(ItemBase):
    id: int
    owner_id: int

    model_config = ConfigDict(from_attributes=True)


class ItemPage(BaseModel):
    items: list[ItemResponse]
    total: int
    skip: int
    limit: int


class Sides(BaseModel):
    from_user_id: int
    to_user_id: int


def log_in(form: OAuth2PasswordRequestForm, user_id: object, password_hash: str | None) -> dict[str, str]:
    if password_hash is None or not HASHER.verify(form.password, password_hash):
        raise HTTPException(401, "Incorrect username or password", {"WWW-Authenticate": "Bearer"})
    return token_for(user_id)
