"""Routes for items: register, find, change and remove them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from pydantic import AfterValidator, BaseModel, Field

from application.readers import ItemFilter, ItemReader, OwnedItem, UserReader
from application.use_cases.items import ChangeItem, CreateItem, DeleteItem
from domain.errors import Invalid
from domain.item import MAX_NAME_LENGTH, ItemChanges, ItemId
from domain.text import checked_name
from domain.user import UserId
from interfaces.http.conditional import IfMatch, IfNoneMatch, answer_unless_known, etag
from interfaces.http.idempotency import WithIdempotency
from interfaces.http.openapi.annotations import (
    ETAG,
    NEXT_PAGE,
    NOT_MODIFIED,
    PageOut,
    Timestamp,
    id_schema,
    problem_responses,
    response_headers,
)
from interfaces.http.openapi.examples import ADA_ID, ITEM_ID
from interfaces.http.paging.listing import SORT, ListFormat, Listing, PageQuery, parse_sort
from interfaces.http.responses.answers import Answer, format_timestamp, json_answer
from interfaces.http.routing.auth import Caller
from interfaces.http.routing.dependencies import use
from interfaces.http.routing.route import new_router
from interfaces.http.validation.fields import Description, Price, QueryPrice
from interfaces.http.validation.models import ABSENT, InputModel, domain_rule
from interfaces.http.validation.patterns import NAME

Name = Annotated[
    str,
    Field(min_length=1, max_length=MAX_NAME_LENGTH, examples=["Bicycle"], json_schema_extra=NAME),
    AfterValidator(domain_rule(checked_name, "name", max_length=MAX_NAME_LENGTH)),
]


class ItemIn(InputModel):
    """The fields of an item to be registered."""

    name: Name
    description: Description | None = None
    price: Price


class ItemChangesIn(InputModel):
    """Changes of an item. Fields that are absent stay as they are; `null` removes the description."""

    name: Name = ABSENT
    description: Description | None = ABSENT
    price: Price = ABSENT


class OwnerOut(BaseModel):
    """The owner of an item."""

    id: Annotated[str, id_schema(ADA_ID)]
    username: str


class ItemOut(BaseModel):
    """An item with its owner."""

    id: Annotated[str, id_schema(ITEM_ID)]
    name: str
    description: str | None
    price: float
    owner_id: Annotated[str, id_schema(ADA_ID)]
    owner: OwnerOut
    created_at: Timestamp
    version: int


def item_out(owned: OwnedItem) -> dict[str, Any]:
    """Return the item as ItemOut describes it."""
    item = owned.item
    owner_id = str(item.owner_id)
    return {
        "id": str(item.id),  # asyncpg has a UUID class of its own, which to_json takes eight times as long to write
        "name": item.name,
        "description": item.description,
        "price": float(item.price),
        "owner_id": owner_id,
        "owner": {"id": owner_id, "username": owned.owner_username},
        "created_at": format_timestamp(item.created_at),
        "version": item.version,
    }


def item_answer(owned: OwnedItem) -> Answer:
    """Return the answer 200 with the item and its entity tag."""
    return json_answer(item_out(owned), etag=etag(owned.item.version))


def created_item_answer(owned: OwnedItem) -> Answer:
    """Return the answer 201 with the new item, its entity tag and its location."""
    return json_answer(item_out(owned), 201, etag=etag(owned.item.version), location=f"/items/{owned.item.id}")


ITEMS = ListFormat(
    {"id": UUID, "created_at": datetime, "price": Decimal, "name": str}, item_out, lambda owned: owned.item
)

router = new_router("items")


@router.post(
    "/items",
    status_code=201,
    response_model=ItemOut,
    responses={**response_headers(201, ETag=ETAG, Location="The item."), **problem_responses("account-inactive")},
    summary="Register an item",
)
async def create_item(
    body: ItemIn, idempotency: WithIdempotency, create: Annotated[CreateItem, Depends(use(CreateItem))]
) -> Response:
    """Create an item that the caller owns.

    A request with an `Idempotency-Key` can be sent again safely: it creates one item and returns the same answer.
    """
    creating = create(by=idempotency.caller, name=body.name, description=body.description, price=body.price)
    return await idempotency.run(creating, answer=created_item_answer, body=body)


ItemSort = Annotated[Literal["created_at", "-created_at", "price", "-price", "name", "-name"] | None, SORT]


class ItemQuery(PageQuery):
    """The query parameters of a list of items."""

    min_price: QueryPrice | None = None
    max_price: QueryPrice | None = None
    sort: ItemSort = None

    def filter(self, owner_id: UserId | None) -> ItemFilter:
        """Return the filter for items of this owner (None: of any owner) within the requested range of prices.

        Raise Invalid if `min_price` is greater than `max_price`.
        """
        if self.min_price is not None and self.max_price is not None and self.min_price > self.max_price:
            raise Invalid("invalid-request", "at least min_price", "max_price")
        return ItemFilter(owner_id, self.min_price, self.max_price)

    def items_listing(self, request: Request, wanted: ItemFilter) -> Listing[OwnedItem]:
        """Return the description of the list of items that match this filter, in the requested order.

        No item is read. Raise Invalid if the cursor is malformed or of another list, or if `skip` is given with it.
        """
        return self.listing(
            request,
            ITEMS,
            parse_sort(self.sort),
            owner_id=wanted.owner_id,
            min_price=wanted.min_price,
            max_price=wanted.max_price,
        )


class ItemOwnerQuery(ItemQuery):
    """The query parameters of the list of all items, which may be restricted to one owner."""

    owner_id: UUID | None = None


@router.get(
    "/items",
    response_model=PageOut[ItemOut],
    responses=response_headers(200, Link=NEXT_PAGE),
    summary="Find items",
)
async def list_items(
    request: Request,
    query: Annotated[ItemOwnerQuery, Query()],
    items: Annotated[ItemReader, Depends(use(ItemReader))],
) -> Response:
    """Return a page of all items, or of one owner's, within a range of prices.

    Without `sort`, the order is that of creation. Both limits of the range are included.
    """
    wanted = query.filter(UserId(query.owner_id) if query.owner_id else None)
    listing = query.items_listing(request, wanted)
    return listing.response(await items.page(wanted, listing.sort, listing.window))


@router.get(
    "/users/{user_id}/items",
    response_model=PageOut[ItemOut],
    responses={**response_headers(200, Link=NEXT_PAGE), **problem_responses("user-not-found")},
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
    """Return a page of the items that the user owns now, within a range of prices; 404 if there is no such user.

    Without `sort`, the order is that of creation. Both limits of the range are included.
    """
    wanted = query.filter(UserId(user_id))
    listing = query.items_listing(request, wanted)
    page = await items.page(wanted, listing.sort, listing.window)
    if not page.items:
        await users.get(UserId(user_id))  # raises NotFound; a user who owns items exists
    return listing.response(page)


@router.get(
    "/items/{item_id}",
    response_model=ItemOut,
    responses={
        **response_headers(200, ETag=ETAG),
        **NOT_MODIFIED,
        **problem_responses("item-not-found"),
    },
    summary="One item",
)
async def read_item(
    item_id: UUID, items: Annotated[ItemReader, Depends(use(ItemReader))], known: IfNoneMatch
) -> Response:
    """Return the item with its owner, or 304 if `If-None-Match` has its current `ETag`."""
    return answer_unless_known(known, item_answer(await items.get(ItemId(item_id))))


@router.patch(
    "/items/{item_id}",
    response_model=ItemOut,
    responses={
        **response_headers(200, ETag=ETAG),
        **problem_responses("account-inactive", "item-not-found", "item-not-owned"),
    },
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
    """Change the given fields, and return the item; only its owner may.

    A change that changes nothing leaves the version as it is. If the version is no longer that in `If-Match`, the
    answer is 412 and nothing is changed.
    """
    changes = cast(ItemChanges, body.model_dump())
    return item_answer(await change(ItemId(item_id), changes, by=caller, expected=expected)).response()


@router.delete(
    "/items/{item_id}",
    status_code=204,
    responses=problem_responses("account-inactive", "item-not-found", "item-not-owned"),
    summary="Remove an item; its history stays in the store",
)
async def delete_item(
    item_id: UUID, caller: Caller, expected: IfMatch, delete: Annotated[DeleteItem, Depends(use(DeleteItem))]
) -> Response:
    """Remove the item; only its owner may. The store keeps its transfers, but no route shows them any more.

    If the version is no longer that in `If-Match`, the answer is 412 and nothing is removed.
    """
    await delete(ItemId(item_id), by=caller, expected=expected)
    return Response(status_code=204)
