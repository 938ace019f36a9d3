"""Whether the process lives, and whether it can serve."""

from typing import Annotated, Literal

from fastapi import Depends, Request, Response
from pydantic import BaseModel

from application.health import CheckWritable
from application.ports import Store
from interfaces.http.openapi.annotations import problems
from interfaces.http.responses.answers import answer
from interfaces.http.responses.problems import NotReady
from interfaces.http.routing.auth import OPEN
from interfaces.http.routing.dependencies import use
from interfaces.http.routing.route import new_router

router = new_router("health")


class AliveOut(BaseModel):
    status: Literal["alive"]


class ReadyOut(BaseModel):
    status: Literal["ready"]


@router.get(
    "/health/live",
    openapi_extra=OPEN,
    response_model=AliveOut,
    responses=problems("bad-request"),
    summary="The process answers",
)
async def live() -> Response:
    return answer({"status": "alive"}).response()


@router.get(
    "/health/ready",
    openapi_extra=OPEN,
    response_model=ReadyOut,
    responses=problems("bad-request"),
    summary="The store answers, has room, and its schema is current",
)
async def ready(
    request: Request,
    store: Annotated[Store, Depends(use(Store))],
    check_writable: Annotated[CheckWritable, Depends(use(CheckWritable))],
) -> Response:
    if request.app.state.draining:
        raise NotReady("the server is about to stop")
    schema = await store.schema()
    if not schema.is_current:
        raise NotReady(
            f"the store's schema is {schema.found or 'missing'} and not {schema.needed}: run handover migrate up"
        )
    if not await check_writable():
        raise NotReady("the store has no disk space left for writes: free some")
    return answer({"status": "ready"}).response()
