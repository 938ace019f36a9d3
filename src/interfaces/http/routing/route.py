"""The order in which every request is judged: sign-in, then the announced body, then what FastAPI validates."""

import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response, params
from fastapi.routing import APIRoute, iter_route_contexts

from interfaces.http.routing.auth import authenticate, is_open
from interfaces.http.routing.dependencies import asked_directly
from interfaces.http.validation.body import FORM, JSON, LimitedRequest, check_announced


class Route(APIRoute):
    """FastAPI reads the body before it asks any dependency; here no body is read before it is known whose it is."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        declared, self.dependant = self.dependant, asked_directly(self.dependant)
        handle = super().get_route_handler()
        self.dependant = declared  # the document tells of all that it asks for
        closed, media_type = not is_open(self), self._media_type()

        async def judge(request: Request) -> Response:
            if closed:
                authenticate(request)
            check_announced(request, media_type)
            return await handle(LimitedRequest(request.scope, request.receive) if media_type else request)

        return judge

    def _media_type(self) -> str | None:
        if self.body_field is None:
            return None
        return FORM if isinstance(self.body_field.field_info, params.Form) else JSON


def new_router(tag: str) -> APIRouter:
    return APIRouter(route_class=Route, tags=[tag], generate_unique_id_function=lambda route: route.name)


def add_routes(app: FastAPI, *routers: APIRouter) -> None:
    """As they are. include_router() would match every request three times over."""
    routes = [route for router in routers for route in router.routes]
    for route in routes:
        if not isinstance(route, Route):
            raise TypeError(f"{route} would be open to all: make its router with new_router()")
        _spare_fixed_paths(route, [other.path for other in routes if isinstance(other, Route)])
        app.router.routes.append(route)


def _spare_fixed_paths(route: Route, paths: list[str]) -> None:
    """No id is called as a fixed path is, or `PUT /tasks/recent` would find fault with an id that nobody has meant."""
    fixed = [re.escape(path) for path in paths if path != route.path and route.path_regex.match(path)]
    if fixed:
        route.path_regex = re.compile(f"(?!({'|'.join(fixed)})$){route.path_regex.pattern}")


def allowed_methods(request: Request) -> str:
    """All methods of a path; FastAPI names those of the first route only."""
    allowed: set[str] = set()
    for context in iter_route_contexts(request.app.routes):
        if context.methods and context.path_regex.match(request.scope["path"]):
            allowed |= context.methods | ({"HEAD"} if "GET" in context.methods else set())
    return ", ".join(sorted(allowed))
