"""Who stands behind a request. A route is closed unless it says that it is open."""

from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.routing import APIRoute

from application.ports import Tokens
from domain.errors import Unauthenticated
from domain.user import UserId

OPEN: dict[str, Any] = {"security": []}
"""As a route's `openapi_extra`: open to all, in the document and in fact."""

CALLER = "handover.caller"


def is_open(route: APIRoute) -> bool:
    return route.openapi_extra is not None and route.openapi_extra.get("security") == []


def authenticate(request: Request) -> UserId:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("not-signed-in", "send an access token in the header Authorization: Bearer")
    state = request.app.state
    tokens: Tokens = state.offered[Tokens]
    caller = tokens.verify(token.strip(), state.now())
    request.scope[CALLER] = caller
    return caller


def caller_of(request: Request) -> UserId:
    """On a closed route."""
    caller: UserId = request.scope[CALLER] if CALLER in request.scope else authenticate(request)
    return caller


async def signed_in(request: Request) -> UserId | None:
    """The caller; None on an open route. The whole app depends on this, so that no route can be closed by half."""
    return None if is_open(request.scope["route"]) else caller_of(request)


Caller = Annotated[UserId, Depends(signed_in)]


async def client_address(request: Request) -> str:
    """Where the request comes from, as far as the server trusts what it is told of that."""
    return request.client.host if request.client else "unknown"


Address = Annotated[str, Depends(client_address)]
