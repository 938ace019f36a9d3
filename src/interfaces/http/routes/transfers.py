"""Routes for transfers: hand an item over, and list its history."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response
from pydantic import BaseModel, Field, Strict

from application.paging import Sort
from application.readers import TransferReader
from application.use_cases.items import TransferItem
from domain.item import ItemId, Transfer
from domain.user import UserId
from interfaces.http.conditional import IfMatch
from interfaces.http.idempotency import WithIdempotency
from interfaces.http.metrics import Metrics
from interfaces.http.openapi.annotations import (
    ETAG,
    NEXT_PAGE,
    PageOut,
    Timestamp,
    id_schema,
    problem_responses,
    response_headers,
)
from interfaces.http.openapi.examples import ADA_ID, GRACE_ID, ITEM_ID, TRANSFER_ID
from interfaces.http.paging.listing import ListFormat, Paging
from interfaces.http.responses.answers import REPLAYED_HEADER, format_timestamp
from interfaces.http.routes.items import ItemOut, item_answer
from interfaces.http.routing.dependencies import use
from interfaces.http.routing.route import new_router
from interfaces.http.validation.models import InputModel


class TransferIn(InputModel):
    """The recipient of a transfer."""

    to_user_id: Annotated[UUID, Strict(False), Field(description="The new owner.", examples=[GRACE_ID])]


class TransferOut(BaseModel):
    """A transfer in the history of an item.

    `number` counts the transfers of the item from 1. `version` is the version of the item after the transfer.
    """

    id: Annotated[str, id_schema(TRANSFER_ID)]
    item_id: Annotated[str, id_schema(ITEM_ID)]
    number: int
    from_user_id: Annotated[str, id_schema(ADA_ID)]
    to_user_id: Annotated[str, id_schema(GRACE_ID)]
    version: int
    transferred_at: Timestamp


def transfer_out(transfer: Transfer) -> dict[str, Any]:
    """Return the transfer as TransferOut describes it."""
    return {
        "id": str(transfer.id),
        "item_id": str(transfer.item_id),
        "number": transfer.number,
        "from_user_id": str(transfer.from_user_id),
        "to_user_id": str(transfer.to_user_id),
        "version": transfer.version,
        "transferred_at": format_timestamp(transfer.transferred_at),
    }


TRANSFERS = ListFormat({"number": int}, transfer_out)

router = new_router("items")


@router.post(
    "/items/{item_id}/transfer",
    response_model=ItemOut,
    responses={
        **response_headers(200, ETag=ETAG),
        **problem_responses(
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
    request: Request,
    item_id: UUID,
    body: TransferIn,
    expected: IfMatch,
    idempotency: WithIdempotency,
    transfer: Annotated[TransferItem, Depends(use(TransferItem))],
) -> Response:
    """Make another user the owner of the item, and return the item; only its owner may.

    Of several concurrent transfers of one item by its owner exactly one succeeds. A request with an `Idempotency-Key`
    can be sent again safely: the item is transferred once, and the answer is the first one. If the version is no longer
    that in `If-Match`, the answer is 412 and nothing is changed.
    """
    transferring = transfer(ItemId(item_id), by=idempotency.caller, to=UserId(body.to_user_id), expected=expected)
    response = await idempotency.run(transferring, answer=item_answer, body=body)
    if REPLAYED_HEADER not in response.headers:
        metrics: Metrics = request.app.state.metrics
        metrics.transfers.inc()
    return response


@router.get(
    "/items/{item_id}/transfers",
    response_model=PageOut[TransferOut],
    responses={**response_headers(200, Link=NEXT_PAGE), **problem_responses("item-not-found")},
    summary="An item's chain of ownership, oldest first",
)
async def list_transfers(
    request: Request,
    item_id: UUID,
    paging: Paging,
    transfers: Annotated[TransferReader, Depends(use(TransferReader))],
) -> Response:
    """Return a page of the item's transfers, the oldest first.

    Transfers are numbered 1, 2, 3 … without a gap. The `from_user_id` of each is the `to_user_id` of the one before.
    """
    listing = paging.listing(request, TRANSFERS, Sort("number"), item_id=item_id)
    return listing.response(await transfers.page(ItemId(item_id), listing.window))
