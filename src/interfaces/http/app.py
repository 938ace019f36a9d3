"""The HTTP API as an ASGI application."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException

from application.errors import TryAgain, Unavailable
from application.store import Store
from infrastructure.container import Container, Settings, use_cases_and_ports
from interfaces.http import error_handling
from interfaces.http.metrics import Metrics
from interfaces.http.middleware.cors import CorsMiddleware
from interfaces.http.middleware.deadline import DeadlineMiddleware
from interfaces.http.middleware.request_log import RequestLogMiddleware
from interfaces.http.middleware.unhandled_errors import UnhandledErrorMiddleware
from interfaces.http.openapi.document import CONVENTIONS, build_document
from interfaces.http.routes import documentation, health, items, metrics, sessions, tasks, transfers, users
from interfaces.http.routing.auth import authenticated_user
from interfaces.http.routing.route import Route, add_routes
from interfaces.http.telemetry import telemetry_config
from interfaces.logs import configure_logs

log = structlog.get_logger()

REOPEN_SECONDS = 1.0
"""How long to wait before a store that could not be opened is opened again."""

RESOURCES = items, transfers, users, tasks, sessions, health, metrics, documentation


class Api(FastAPI):
    """A FastAPI app whose OpenAPI document is made by build_document()."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, which is made once."""
        self.openapi_schema = self.openapi_schema or build_document(self)
        return self.openapi_schema


def create_app(container: Container) -> FastAPI:
    """Return the app with all its routes. The store is opened when the app starts, and closed when it stops."""
    settings = container.settings()
    app = Api(
        title="Handover",
        version="1",
        summary="Who owns what, and handing it over safely.",
        description=CONVENTIONS,
        lifespan=lambda app: _lifespan(app, container),
        dependencies=[Depends(authenticated_user)],  # also of routes that are added without our own routers
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        telemetry=telemetry_config(),
    )
    app.state.draining = False  # set by the server when it is about to stop
    app.state.store_fault = ""  # why the store could not be opened yet; empty if it is open
    app.state.settings = settings
    app.state.metrics = Metrics()
    _add_middleware(app, settings)
    for kind in (*error_handling.KINDS, StarletteHTTPException, RequestValidationError):
        app.add_exception_handler(kind, error_handling.answer_error)
    app.router.route_class = Route
    add_routes(app, *(resource.router for resource in RESOURCES))
    documentation.add_docs_page(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI, container: Container) -> AsyncIterator[None]:
    """Configure the logs, begin to trace, open the store, and give the app its use cases.

    When the app stops, close the store, and send the spans that are left.

    If the store cannot be opened, log that, and try again every REOPEN_SECONDS. Requests that need it are answered with
    503 until then, rather than wait for a worker that does not serve.
    """
    configure_logs(container.settings())
    tracing = container.tracing()
    if line := tracing.start():
        log.warning(line)
    store = container.store()
    attach_container(app, container)
    await _open(app, store)
    if app.state.store_fault:
        log.error("a worker cannot open the store, and tries again", reason=app.state.store_fault)
    opening = asyncio.create_task(_open_until_it_works(app, store))
    try:
        yield
    finally:
        opening.cancel()
        await asyncio.wait({opening})
        if not app.state.store_fault:
            await store.close()
        await tracing.stop()


async def _open(app: FastAPI, store: Store) -> None:
    """Open the store; if it cannot be used, set the app's `store_fault` to the reason, and else to an empty text."""
    try:
        await store.open()
    except (Unavailable, TryAgain) as error:
        app.state.store_fault = str(error) or type(error).__name__
    else:
        app.state.store_fault = ""


async def _open_until_it_works(app: FastAPI, store: Store) -> None:
    """Open the store every REOPEN_SECONDS until that succeeds, then log it; do nothing if it is open already."""
    if not app.state.store_fault:
        return
    while app.state.store_fault:
        await asyncio.sleep(REOPEN_SECONDS)
        await _open(app, store)
    log.info("a worker has opened the store")


def attach_container(app: FastAPI, container: Container) -> None:
    """Store the container's use cases, ports and clock in the app's state, where its routes find them.

    The container is asked once, so that a request costs one dict look-up.
    """
    app.state.use_cases_and_ports = use_cases_and_ports(container)
    app.state.now = container.now()


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """Add all middleware, the innermost first: the one that is added last sees a request first."""
    app.add_middleware(DeadlineMiddleware, seconds=settings.request_deadline)
    app.add_middleware(UnhandledErrorMiddleware)
    if settings.cors_origins:
        app.add_middleware(CorsMiddleware, origins=settings.cors_origins)
    app.add_middleware(RequestLogMiddleware, observe=app.state.metrics.observe)
