"""The class of all routes. It checks requests in a fixed order: sign-in, content headers, FastAPI's validation."""

import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response, params
from fastapi.routing import APIRoute, iter_route_contexts

from interfaces.http.routing.auth import authenticate, is_public
from interfaces.http.routing.direct_calls import has_plain_ids, query_parameters, with_direct_calls
from interfaces.http.validation.body import FORM, JSON, LimitedRequest, check_content_headers
from interfaces.http.validation.repetition import refuse_repeated


class Route(APIRoute):
    """A route that checks sign-in, content headers and repeated query parameters before the body is read.

    FastAPI itself reads the body before it calls any dependency.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return a handler that makes these checks, limits the body, then calls FastAPI's handler.

        Simple dependencies are called directly (see with_direct_calls); the OpenAPI document still lists all of them.
        """
        handle_any = super().get_route_handler()
        # FastAPI's handler captures `self.dependant` when it is built.
        declared, self.dependant = self.dependant, with_direct_calls(self.dependant)
        handle_usual = super().get_route_handler()
        self.dependant = declared  # the OpenAPI document is made of all that was declared
        needs_sign_in, media_type = not is_public(self), self._media_type()
        known_parameters = query_parameters(declared)

        async def check_and_handle(request: Request) -> Response:
            """Check sign-in, unless the route is public, content headers and the query; then call FastAPI.

            FastAPI would use the last value of a parameter that is sent several times.
            """
            if needs_sign_in:
                authenticate(request)
            check_content_headers(request, media_type)
            if known_parameters and b"&" in request.scope["query_string"]:
                refuse_repeated("query", [name for name, _ in request.query_params.multi_items()], known_parameters)
            handle = handle_usual if has_plain_ids(request) else handle_any
            return await handle(LimitedRequest(request.scope, request.receive) if media_type else request)

        return check_and_handle

    def _media_type(self) -> str | None:
        """Return the media type of the route's request body; None if it takes no body."""
        if self.body_field is None:
            return None
        return FORM if isinstance(self.body_field.field_info, params.Form) else JSON


def new_router(tag: str) -> APIRouter:
    """Return a router with this tag, whose routes are Routes. Operation ids are the names of the route functions."""
    return APIRouter(route_class=Route, tags=[tag], generate_unique_id_function=lambda route: route.name)


def add_routes(app: FastAPI, *routers: APIRouter) -> None:
    """Add the routes of the routers to the app, one by one.

    With include_router(), every request would be matched three times. Routes with a parameter in their path are changed
    so that they do not match the fixed paths of other routes.

    Raise TypeError for a route of another class, which would not require sign-in.
    """
    routes = [route for router in routers for route in router.routes]
    for route in routes:
        if not isinstance(route, Route):
            raise TypeError(f"{route} would need no sign-in: make its router with new_router()")
        _exclude_fixed_paths(route, [other.path for other in routes if isinstance(other, Route)])
        app.router.routes.append(route)


def _exclude_fixed_paths(route: Route, paths: list[str]) -> None:
    """Make a route with a parameter in its path not match the fixed paths of other routes.

    `PUT /tasks/recent` is then 405, because `/tasks/recent` has no PUT, rather than 422 for an invalid task id.
    """
    fixed = [re.escape(path) for path in paths if path != route.path and route.path_regex.match(path)]
    if fixed:
        route.path_regex = re.compile(f"(?!({'|'.join(fixed)})$){route.path_regex.pattern}")


def allowed_methods(request: Request) -> str:
    """Return the value of the header Allow: the methods of all routes that match the request's path, sorted.

    FastAPI names only those of the first route that matches. HEAD is added to GET, because the middleware answers it.
    """
    allowed: set[str] = set()
    for context in iter_route_contexts(request.app.routes):
        if context.methods and context.path_regex.match(request.scope["path"]):
            allowed |= context.methods | ({"HEAD"} if "GET" in context.methods else set())
    return ", ".join(sorted(allowed))
