"""Authentication. Every route requires sign-in unless it is marked as PUBLIC."""

from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.routing import APIRoute

from application.ports import Tokens
from domain.errors import Unauthenticated
from domain.user import UserId

PUBLIC: dict[str, Any] = {"security": []}
"""For `openapi_extra` of a route: it needs no sign-in, which the OpenAPI document says, too."""

CALLER = "handover.caller"


def is_public(route: APIRoute) -> bool:
    """Return whether the route needs no sign-in."""
    return route.openapi_extra is not None and route.openapi_extra.get("security") == []


def authenticate(request: Request) -> UserId:
    """Return the user of the request's access token, and store the user's id in the request's scope.

    Raise Unauthenticated: `not-signed-in` if the header Authorization has no bearer token, `invalid-token` if the token
    is not valid. The store is not asked, so the account may be inactive or deleted.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("not-signed-in", "send an access token in the header Authorization: Bearer")
    state = request.app.state
    tokens: Tokens = state.use_cases_and_ports[Tokens]
    caller = tokens.verify(token.strip(), state.now())
    request.scope[CALLER] = caller
    return caller


def require_caller(request: Request) -> UserId:
    """Return the signed-in user of this request, as authenticate() has stored it; call authenticate() if it has not.

    Raise Unauthenticated as authenticate() does. That can happen on a public route, where no token may have been sent;
    so only call it on routes that require sign-in.
    """
    caller: UserId = request.scope[CALLER] if CALLER in request.scope else authenticate(request)
    return caller


async def authenticated_user(request: Request) -> UserId | None:
    """Return the signed-in user; on a public route always None, whatever token is sent.

    Raise Unauthenticated as authenticate() does if the route is not public.

    Routes of the class Route check sign-in by themselves. The app depends on this function as well, which covers routes
    that are added in another way.
    """
    return None if is_public(request.scope["route"]) else require_caller(request)


Caller = Annotated[UserId, Depends(authenticated_user)]


async def client_address(request: Request) -> str:
    """Return the client's IP address, or `unknown` if the server does not say.

    The server takes it from X-Forwarded-For only if the proxy is trusted.
    """
    return request.client.host if request.client else "unknown"


ClientAddress = Annotated[str, Depends(client_address)]
