"""What routes ask for, by shortcuts past FastAPI's own way: the same values, and the same words for what is wrong."""

from typing import Annotated, Any

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from interfaces.http.routing.auth import PUBLIC
from interfaces.http.routing.direct_calls import with_direct_calls
from interfaces.http.routing.route import Route


class Part(BaseModel):
    limit: int = Field(10, ge=1)
    on: bool = False
    name: str | None = None


async def method(request: Request) -> str:
    return request.method


async def tag(request: Request, tag: Annotated[str, Header()] = "none") -> str:
    return f"{request.method} {tag}"


def app_of(kind: type[APIRoute]) -> FastAPI:
    async def told(
        id: int,
        part: Annotated[Part, Query()],
        method: Annotated[str, Depends(method)],
        tag: Annotated[str, Depends(tag)],
    ) -> Any:
        return JSONResponse([id, part.model_dump(), method, tag])

    async def faults(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return JSONResponse([{**fault, "ctx": str(fault.get("ctx"))} for fault in error.errors()], 422)

    app = FastAPI(exception_handlers={RequestValidationError: faults})
    app.router.routes.extend(APIRouter(route_class=kind).routes)
    app.router.routes.append(kind("/told/{id}", told, methods=["GET"], openapi_extra=PUBLIC))
    return app


@pytest.mark.parametrize("query", ["", "?limit=3&on=true&name=x", "?z=1&z=2", "?limit=0", "?on=x&limit=y", "?z=1"])
async def test_a_query_is_told_as_fastapi_tells_it(query: str) -> None:
    answers = []
    for kind in (APIRoute, Route):
        transport = httpx2.ASGITransport(app_of(kind))
        async with httpx2.AsyncClient(transport=transport, base_url="http://handover.test") as client:
            response = await client.get(f"/told/7{query}", headers={"tag": "t"})
        answers.append((response.status_code, response.json()))
    assert answers[0] == answers[1]


def test_what_has_parameters_of_its_own_is_left_to_fastapi() -> None:
    [route] = [route for route in app_of(Route).router.routes if isinstance(route, Route)]
    assert {asked.name for asked in route.dependant.dependencies} == {"method", "tag"}
    assert [asked.name for asked in with_direct_calls(route.dependant).dependencies] == ["tag"]
