"""What a route may ask for by its class; the routers know neither the container nor any adapter."""

from collections.abc import Awaitable, Callable
from copy import copy
from dataclasses import dataclass
from typing import Any, cast

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

Ask = Callable[[Request], Awaitable[Any]]
Endpoint = Callable[..., Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class use:
    """The use case or port of this class, for `Annotated[TransferItem, Depends(use(TransferItem))]`.

    Called as a coroutine, because FastAPI would run a plain function in its thread pool.
    """

    wanted: type[Any]

    async def __call__(self, request: Request) -> Any:
        return request.app.state.offered[self.wanted]


def used(dependant: Dependant) -> set[type[Any]]:
    """All that a route asks for."""
    found = {dependant.call.wanted} if isinstance(dependant.call, use) else set()
    return found.union(*map(used, dependant.dependencies))


def asked_directly(dependant: Dependant) -> Dependant:
    """The same route, with two shortcuts: what wants nothing but the request is called at once, and a model of the
    query is validated at once. FastAPI would look for every kind of parameter in the one and at the type of every field
    in the other, anew for each request."""
    direct: dict[str, Ask] = {
        str(asked.name): cast(Ask, asked.call)
        for asked in dependant.dependencies
        if asked.name and asked.request_param_name and not _wants_more(asked)
    }
    models = {field.name: _query(model) for field in dependant.query_params if (model := _model_of(field))}
    if not (direct or models):
        return dependant
    asks = {**direct, **models}.items()
    endpoint, own_request = cast(Endpoint, dependant.call), dependant.request_param_name
    request_name = own_request or "request"

    async def call(**values: Any) -> Response:
        request = values[request_name] if own_request else values.pop(request_name)
        for name, ask in asks:
            values[name] = await ask(request)
        return await endpoint(**values)

    changed = copy(dependant)
    changed.call, changed.request_param_name = call, request_name
    changed.dependencies = [asked for asked in dependant.dependencies if asked.name not in direct]
    changed.query_params = [field for field in dependant.query_params if field.name not in models]
    return changed


def _wants_more(asked: Dependant) -> bool:
    parameters = asked.path_params, asked.query_params, asked.header_params, asked.cookie_params, asked.body_params
    return bool(asked.dependencies) or any(parameters)


def _model_of(field: Any) -> type[BaseModel] | None:
    kind = field.field_info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _query(model: type[BaseModel]) -> Ask:
    async def validated(request: Request) -> BaseModel:
        try:
            return model.model_validate(dict(request.query_params))
        except ValidationError as error:
            raise RequestValidationError(
                [{**fault, "loc": ("query", *fault["loc"])} for fault in error.errors(include_url=False)]
            ) from None

    return validated
