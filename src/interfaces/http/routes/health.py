"""Health checks for orchestrators: liveness and readiness."""

import asyncio
from typing import Annotated, Literal

from fastapi import Depends, Request, Response
from pydantic import BaseModel

from application.errors import Busy, Unavailable
from application.store import Store
from application.use_cases.health import CheckWritable
from interfaces.http.error_handling import NotReady
from interfaces.http.openapi.annotations import problem_responses
from interfaces.http.responses.answers import json_answer
from interfaces.http.routing.auth import PUBLIC
from interfaces.http.routing.dependencies import use
from interfaces.http.routing.route import new_router

STORE_SECONDS = 2.0
"""How long readiness waits for the store: less than a request's deadline, which would not say what is wrong."""

BY_ITSELF = "The server becomes ready by itself once that is mended; it needs no restart."

router = new_router("health")


class AliveOut(BaseModel):
    """The answer of a process that runs, whatever the state of its store."""

    status: Literal["alive"]


class ReadyOut(BaseModel):
    """The server can serve requests."""

    status: Literal["ready"]


@router.get(
    "/health/live",
    openapi_extra=PUBLIC,
    response_model=AliveOut,
    responses=problem_responses("bad-request"),
    summary="The process answers",
)
async def live() -> Response:
    """Say that the process answers. The store is not looked at."""
    return json_answer({"status": "alive"}).response()


@router.get(
    "/health/ready",
    openapi_extra=PUBLIC,
    response_model=ReadyOut,
    responses=problem_responses("bad-request"),
    summary="The store answers, has room, and its schema is current",
)
async def ready(
    request: Request,
    store: Annotated[Store, Depends(use(Store))],
    check_writable: Annotated[CheckWritable, Depends(use(CheckWritable))],
) -> Response:
    """Say that requests can be served, or answer 503 with the reason.

    The server is ready if it is not about to stop, the store answers within two seconds, its schema is the one that
    this version needs or a newer one, and it has disk space for writes. If the last write failed because the disk was
    full, a write is tried to find out. The reason says what to look at, and whether the server becomes ready by itself.
    """
    if request.app.state.draining:
        raise NotReady("the server is about to stop, because it was told to; it does not become ready again")
    try:
        async with asyncio.timeout(STORE_SECONDS) as limit:
            await _check_store(store, check_writable)
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise NotReady(
            f"the store has not answered for {STORE_SECONDS:g} seconds: look whether it is overloaded or hangs, and at"
            f" the network. {BY_ITSELF}"
        ) from error
    except NotReady:
        raise
    except Busy as error:
        raise NotReady(
            "the store is busy, or all connections to it are in use: look at its load, then at HANDOVER_POOL_SIZE."
            f" {BY_ITSELF}",
            "busy",
        ) from error
    except Unavailable as error:
        raise NotReady(
            "the store cannot be used: look whether it runs; the log says why, in the line 'unavailable' with this"
            f" request_id. {BY_ITSELF}"
        ) from error
    return json_answer({"status": "ready"}).response()


async def _check_store(store: Store, check_writable: CheckWritable) -> None:
    """Raise NotReady, with the reason, if the store's schema is not current or it has no disk space for writes.

    Raise Busy or Unavailable if the store cannot be asked.
    """
    schema = await store.schema()
    if not schema.is_current and not schema.is_newer:
        raise NotReady(
            f"the schema of the store is {schema.found or 'missing'} and not {schema.needed}: run"
            f" `handover migrate up`. {BY_ITSELF}"
        )
    if not await check_writable():
        raise NotReady(f"the store has no disk space left for writes: free some. Reading still works. {BY_ITSELF}")
