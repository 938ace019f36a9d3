"""The application as an ASGI app."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException

from infrastructure.container import Container, offered
from interfaces.http.middleware import Cors, Deadline, Envelope, Faults
from interfaces.http.openapi.document import CONVENTIONS, document
from interfaces.http.responses import problems
from interfaces.http.routes import docs, health, items, metrics, sessions, tasks, transfers, users
from interfaces.http.routes.metrics import Metrics
from interfaces.http.routing.auth import signed_in
from interfaces.http.routing.route import Route, add_routes
from interfaces.logs import configure_logs


class Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        self.openapi_schema = self.openapi_schema or document(self)
        return self.openapi_schema


def wire(app: FastAPI, container: Container) -> None:
    """Ask the container once for all: a request costs a look-up."""
    app.state.offered = offered(container)
    app.state.now = container.now()


def create_app(container: Container) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        configure_logs(container.settings())
        store = container.store()
        await store.open()
        try:
            wire(app, container)
            yield
        finally:
            await store.close()

    app = Api(
        title="Handover",
        version="1",
        summary="Who owns what, and handing it over safely.",
        description=CONVENTIONS,
        lifespan=lifespan,
        dependencies=[Depends(signed_in)],  # a router of another kind may be included tomorrow
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.draining = False  # the server says when it is
    app.router.route_class = Route
    settings = container.settings()
    app.state.metrics = Metrics(settings)
    app.add_middleware(Deadline, seconds=settings.request_deadline)
    app.add_middleware(Faults)
    if settings.cors_origins:
        app.add_middleware(Cors, origins=settings.cors_origins)
    app.add_middleware(Envelope, observe=app.state.metrics.observe)  # what is added last sees a request first
    for kind in (*problems.KINDS, StarletteHTTPException, RequestValidationError):
        app.add_exception_handler(kind, problems.refuse)
    add_routes(app, *(module.router for module in (items, transfers, users, tasks, sessions, health, metrics, docs)))
    docs.add_docs(app)
    return app
