"""A shortcut around FastAPI's dependency solver for dependencies and query models that need no solving.

FastAPI looks for every kind of parameter in each dependency, and at the type of every field of a query model, anew for
each request. This module changes a route's `Dependant`, which FastAPI does not document, so that such dependencies are
called with the request and such models are validated at once. Decision 0011 has the measurements, and
tests/infrastructure/test_library_internals.py fails if FastAPI changes what is used here.
"""

from collections.abc import Awaitable, Callable
from copy import copy
from typing import Any, cast

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

Call = Callable[[Request], Awaitable[Any]]
Endpoint = Callable[..., Awaitable[Response]]


def with_direct_calls(dependant: Dependant) -> Dependant:
    """Return a copy of a route's dependant in which two kinds of parameters bypass FastAPI's solver.

    These are dependencies whose only parameter is the request, and query parameters collected in a model. The copy's
    `call` provides them to the endpoint. If there are none, return the dependant itself.
    """
    direct: dict[str, Call] = {
        str(dependency.name): cast(Call, dependency.call)
        for dependency in dependant.dependencies
        if dependency.name and dependency.request_param_name and not _has_parameters(dependency)
    }
    models = {field.name: _query_validator(model) for field in dependant.query_params if (model := _model_of(field))}
    if not (direct or models):
        return dependant
    calls = {**direct, **models}.items()
    endpoint, own_request = cast(Endpoint, dependant.call), dependant.request_param_name
    request_name = own_request or "request"

    async def call(**values: Any) -> Response:
        """Call the endpoint with the values from FastAPI's solver and those that bypass it; return its response."""
        request = values[request_name] if own_request else values.pop(request_name)
        for name, get_value in calls:
            values[name] = await get_value(request)
        return await endpoint(**values)

    changed = copy(dependant)
    changed.call, changed.request_param_name = call, request_name
    changed.dependencies = [dependency for dependency in dependant.dependencies if dependency.name not in direct]
    changed.query_params = [field for field in dependant.query_params if field.name not in models]
    return changed


def _has_parameters(dependency: Dependant) -> bool:
    """Return whether a dependency has parameters, or dependencies of its own, besides the request."""
    parameters = (
        dependency.path_params,
        dependency.query_params,
        dependency.header_params,
        dependency.cookie_params,
        dependency.body_params,
    )
    return bool(dependency.dependencies) or any(parameters)


def _model_of(field: Any) -> type[BaseModel] | None:
    """Return the model if this field of a dependant collects all query parameters; None if it is a single parameter."""
    kind = field.field_info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _query_validator(model: type[BaseModel]) -> Call:
    """Return a function that returns a request's query as this model; it raises RequestValidationError if not valid."""

    async def validated(request: Request) -> BaseModel:
        """Return the query as the model; raise RequestValidationError if it does not fit.

        Of a parameter that is sent several times, the last value counts. Unknown parameters are ignored.
        """
        try:
            return model.model_validate(dict(request.query_params))
        except ValidationError as error:
            raise RequestValidationError(
                [{**found, "loc": ("query", *found["loc"])} for found in error.errors(include_url=False)]
            ) from None

    return validated
