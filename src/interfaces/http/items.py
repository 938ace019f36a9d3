"""Items over HTTP: registering, reading and handing over, and the history of that."""

from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, Strict, WithJsonSchema
from pydantic_core import PydanticCustomError

from application.items import CreateItem, TransferItem
from application.paging import Position
from application.readers import ItemReader, OwnedItem, TransferReader
from domain.item import (
    HIGHEST_PRICE,
    NAME_LENGTH,
    ItemId,
    Transfer,
    checked_price,
)
from domain.text import DESCRIPTION_LENGTH, checked_description, checked_name
from domain.user import UserId
from interfaces.http.answers import Answer, answer, timestamp
from interfaces.http.auth import Caller
from interfaces.http.conditional import IfMatch, IfNoneMatch, etag, unless_known
from interfaces.http.cursors import Sort
from interfaces.http.dependencies import use
from interfaces.http.openapi import NAME, TEXT, Id, PageOut, Timestamp, headers, problems
from interfaces.http.paging import Pages
from interfaces.http.retry import Retry
from interfaces.http.routing import new_router
from interfaces.http.validation import RULE, In, rule


def _number(value: object) -> Decimal:
    """JSON's numbers come as int and Decimal, exactly as they were written."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise PydanticCustomError(RULE, "must be a number")
    return Decimal(value)


Name = Annotated[
    str,
    Field(min_length=1, max_length=NAME_LENGTH, examples=["Bicycle"], json_schema_extra=NAME),
    AfterValidator(rule(checked_name, "name", at_most=NAME_LENGTH)),
]
Description = Annotated[
    str,
    Field(max_length=DESCRIPTION_LENGTH, examples=["Green, with a basket"], json_schema_extra=TEXT),
    AfterValidator(rule(checked_description)),
]
Price = Annotated[
    Decimal,
    BeforeValidator(_number),
    AfterValidator(rule(checked_price)),
    WithJsonSchema(
        {"type": "number", "minimum": 0, "maximum": float(HIGHEST_PRICE), "multipleOf": 0.01, "examples": [149.5]}
    ),
]


class ItemIn(In):
    name: Name
    description: Description | None = None
    price: Price


class TransferIn(In):
    to_user_id: Annotated[UUID, Strict(False), Field(description="The new owner.")]


class OwnerOut(BaseModel):
    id: Id
    username: str


class ItemOut(BaseModel):
    id: Id
    name: str
    description: str | None
    price: float
    owner_id: Id
    owner: OwnerOut
    created_at: Timestamp
    version: int


class TransferOut(BaseModel):
    id: Id
    item_id: Id
    number: int
    from_user_id: Id
    to_user_id: Id
    version: int
    transferred_at: Timestamp


def item_out(owned: OwnedItem) -> dict[str, Any]:
    item = owned.item
    return {
        "id": item.id,
        "name": item.name,
        "description": item.description,
        "price": float(item.price),
        "owner_id": item.owner_id,
        "owner": {"id": item.owner_id, "username": owned.owner_username},
        "created_at": timestamp(item.created_at),
        "version": item.version,
    }


def transfer_out(transfer: Transfer) -> dict[str, Any]:
    return {
        "id": transfer.id,
        "item_id": transfer.item_id,
        "number": transfer.number,
        "from_user_id": transfer.from_user_id,
        "to_user_id": transfer.to_user_id,
        "version": transfer.version,
        "transferred_at": timestamp(transfer.transferred_at),
    }


def item_answer(owned: OwnedItem) -> Answer:
    return answer(item_out(owned), etag=etag(owned.item.version))


def created_item(owned: OwnedItem) -> Answer:
    return answer(item_out(owned), 201, etag=etag(owned.item.version), location=f"/items/{owned.item.id}")


OLDEST_FIRST: Sort[Transfer] = Sort("number", int, lambda transfer: Position(transfer.number, transfer.id))
ETAG = "The version, for If-Match and If-None-Match."

router = new_router("items")


@router.post(
    "/items",
    status_code=201,
    response_model=ItemOut,
    responses={**headers(201, ETag=ETAG, Location="The item."), **problems("account-inactive")},
    summary="Register an item",
)
async def create_item(
    body: ItemIn, caller: Caller, retry: Retry, create: Annotated[CreateItem, Depends(use(CreateItem))]
) -> Response:
    creating = create(by=caller, name=body.name, description=body.description, price=body.price)
    return await retry(creating, answer=created_item, body=body)


@router.get(
    "/items/{item_id}",
    response_model=ItemOut,
    responses={
        **headers(200, ETag=ETAG),
        304: {"description": "Still the version that is known."},
        **problems("item-not-found"),
    },
    summary="One item",
)
async def read_item(
    item_id: UUID, items: Annotated[ItemReader, Depends(use(ItemReader))], known: IfNoneMatch = None
) -> Response:
    return unless_known(known, item_answer(await items.get(ItemId(item_id))))


@router.post(
    "/items/{item_id}/transfer",
    response_model=ItemOut,
    responses={
        **headers(200, ETag=ETAG),
        **problems(
            "account-inactive",
            "item-not-found",
            "item-not-owned",
            "recipient-not-found",
            "recipient-is-owner",
            "recipient-inactive",
        ),
    },
    summary="Hand an item over",
)
async def transfer_item(
    *,
    item_id: UUID,
    body: TransferIn,
    caller: Caller,
    expected: IfMatch,
    retry: Retry,
    transfer: Annotated[TransferItem, Depends(use(TransferItem))],
) -> Response:
    transferring = transfer(ItemId(item_id), by=caller, to=UserId(body.to_user_id), expected=expected)
    return await retry(transferring, answer=item_answer, body=body)


@router.get(
    "/items/{item_id}/transfers",
    response_model=PageOut[TransferOut],
    responses={**headers(200, Link="The next page, if there is one."), **problems("item-not-found")},
    summary="An item's chain of ownership, oldest first",
)
async def list_transfers(
    item_id: UUID, pages: Pages, transfers: Annotated[TransferReader, Depends(use(TransferReader))]
) -> Response:
    listing = pages.of(OLDEST_FIRST, item_id=item_id)
    return listing.answer(await transfers.of_item(ItemId(item_id), listing.window), transfer_out)
