"""Items over HTTP: registering, finding, changing and removing them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from pydantic import AfterValidator, BaseModel, Field

from application.items import ChangeItem, CreateItem, DeleteItem
from application.readers import ItemFilter, ItemReader, OwnedItem, UserReader
from domain.errors import Invalid
from domain.item import MAX_NAME_LENGTH, ItemChanges, ItemId
from domain.text import checked_name
from domain.user import UserId
from interfaces.http.conditional import IfMatch, IfNoneMatch, etag, unless_known
from interfaces.http.idempotency import Retry
from interfaces.http.openapi.annotations import ETAG, NAME, NEXT_PAGE, Id, PageOut, Timestamp, headers, problems
from interfaces.http.paging.listing import SORT, Listing, PageQuery, Rows, sorted_by
from interfaces.http.responses.answers import Answer, answer, timestamp
from interfaces.http.routing.auth import Caller
from interfaces.http.routing.dependencies import use
from interfaces.http.routing.route import new_router
from interfaces.http.validation.fields import Description, Price, SpeltPrice
from interfaces.http.validation.models import LEFT_OUT, In, rule

Name = Annotated[
    str,
    Field(min_length=1, max_length=MAX_NAME_LENGTH, examples=["Bicycle"], json_schema_extra=NAME),
    AfterValidator(rule(checked_name, "name", max_length=MAX_NAME_LENGTH)),
]


class ItemIn(In):
    name: Name
    description: Description | None = None
    price: Price


class ItemChangesIn(In):
    """What is left out stays as it is."""

    name: Name = LEFT_OUT
    description: Description | None = LEFT_OUT
    price: Price = LEFT_OUT


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


def item_out(owned: OwnedItem) -> dict[str, Any]:
    item = owned.item
    owner_id = str(item.owner_id)
    return {
        "id": str(item.id),  # the driver has a UUID class of its own, which to_json takes eight times as long over
        "name": item.name,
        "description": item.description,
        "price": float(item.price),
        "owner_id": owner_id,
        "owner": {"id": owner_id, "username": owned.owner_username},
        "created_at": timestamp(item.created_at),
        "version": item.version,
    }


def item_answer(owned: OwnedItem) -> Answer:
    return answer(item_out(owned), etag=etag(owned.item.version))


def created_item(owned: OwnedItem) -> Answer:
    return answer(item_out(owned), 201, etag=etag(owned.item.version), location=f"/items/{owned.item.id}")


ITEMS = Rows({"id": UUID, "created_at": datetime, "price": Decimal, "name": str}, item_out, lambda owned: owned.item)

router = new_router("items")


@router.post(
    "/items",
    status_code=201,
    response_model=ItemOut,
    responses={**headers(201, ETag=ETAG, Location="The item."), **problems("account-inactive")},
    summary="Register an item",
)
async def create_item(body: ItemIn, retry: Retry, create: Annotated[CreateItem, Depends(use(CreateItem))]) -> Response:
    creating = create(by=retry.caller, name=body.name, description=body.description, price=body.price)
    return await retry(creating, answer=created_item, body=body)


ItemSort = Annotated[Literal["created_at", "-created_at", "price", "-price", "name", "-name"] | None, SORT]


class ItemQuery(PageQuery):
    min_price: SpeltPrice | None = None
    max_price: SpeltPrice | None = None
    sort: ItemSort = None

    def filter(self, owner_id: UserId | None) -> ItemFilter:
        if self.min_price is not None and self.max_price is not None and self.min_price > self.max_price:
            raise Invalid("invalid-request", "at least min_price", "max_price")
        return ItemFilter(owner_id, self.min_price, self.max_price)

    def list_of_items(self, request: Request, wanted: ItemFilter) -> Listing[OwnedItem]:
        return self.listing(
            request,
            ITEMS,
            sorted_by(self.sort),
            owner_id=wanted.owner_id,
            min_price=wanted.min_price,
            max_price=wanted.max_price,
        )


class OwnedItemQuery(ItemQuery):
    owner_id: UUID | None = None


@router.get(
    "/items",
    response_model=PageOut[ItemOut],
    responses=headers(200, Link=NEXT_PAGE),
    summary="Find items",
)
async def list_items(
    request: Request,
    query: Annotated[OwnedItemQuery, Query()],
    items: Annotated[ItemReader, Depends(use(ItemReader))],
) -> Response:
    wanted = query.filter(UserId(query.owner_id) if query.owner_id else None)
    listing = query.list_of_items(request, wanted)
    return listing.answer(await items.page(wanted, listing.sort, listing.window))


@router.get(
    "/users/{user_id}/items",
    response_model=PageOut[ItemOut],
    responses={**headers(200, Link=NEXT_PAGE), **problems("user-not-found")},
    summary="A user's items",
)
async def list_items_of_user(
    *,
    request: Request,
    user_id: UUID,
    query: Annotated[ItemQuery, Query()],
    items: Annotated[ItemReader, Depends(use(ItemReader))],
    users: Annotated[UserReader, Depends(use(UserReader))],
) -> Response:
    wanted = query.filter(UserId(user_id))
    listing = query.list_of_items(request, wanted)
    page = await items.page(wanted, listing.sort, listing.window)
    if not page.items:
        await users.get(UserId(user_id))  # who owns something exists, so that only an empty page costs a second query
    return listing.answer(page)


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


@router.patch(
    "/items/{item_id}",
    response_model=ItemOut,
    responses={**headers(200, ETag=ETAG), **problems("account-inactive", "item-not-found", "item-not-owned")},
    summary="Change an item",
)
async def change_item(
    *,
    item_id: UUID,
    body: ItemChangesIn,
    caller: Caller,
    expected: IfMatch,
    change: Annotated[ChangeItem, Depends(use(ChangeItem))],
) -> Response:
    changes = cast(ItemChanges, body.model_dump())
    return item_answer(await change(ItemId(item_id), changes, by=caller, expected=expected)).response()


@router.delete(
    "/items/{item_id}",
    status_code=204,
    responses=problems("account-inactive", "item-not-found", "item-not-owned"),
    summary="Remove an item; its history stays in the store",
)
async def delete_item(
    item_id: UUID, caller: Caller, expected: IfMatch, delete: Annotated[DeleteItem, Depends(use(DeleteItem))]
) -> Response:
    await delete(ItemId(item_id), by=caller, expected=expected)
    return Response(status_code=204)
