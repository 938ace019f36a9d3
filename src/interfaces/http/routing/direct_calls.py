"""A shortcut around FastAPI's dependency solver for what needs no solving.

FastAPI looks for every kind of parameter in each dependency, and at the type of every parameter, anew for each request.
This module changes a route's `Dependant`, which FastAPI does not document, so that simple dependencies are called with
the request, query models are validated at once, and ids in the path are converted. Decision 0011 has the measurements,
and tests/infrastructure/test_library_internals.py fails if FastAPI changes what is used here.
"""

import re
from collections.abc import Awaitable, Callable
from copy import copy
from typing import Any, cast
from uuid import UUID

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

Call = Callable[[Request], Awaitable[Any]]
Endpoint = Callable[..., Awaitable[Response]]
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def with_direct_calls(dependant: Dependant) -> Dependant:
    """Return a copy of a route's dependant in which three kinds of parameters bypass FastAPI's solver.

    These are dependencies whose only parameter is the request, query parameters collected in a model, and ids in the
    path. The copy's `call` provides them to the endpoint. If there are none, return the dependant itself. The copy may
    only be used for requests for which has_plain_ids() is true.

    Parameters of a dependency whose names begin with `_` do not count: they are headers that the document names, and
    that the dependency reads from the request by itself.
    """
    direct: dict[str, Call] = {
        str(dependency.name): cast(Call, dependency.call)
        for dependency in dependant.dependencies
        if dependency.name and dependency.request_param_name and not _has_parameters(dependency)
    }
    models = {field.name: _query_validator(model) for field in dependant.query_params if (model := _model_of(field))}
    ids = [field.name for field in dependant.path_params if field.field_info.annotation is UUID]
    if not (direct or models or ids):
        return dependant
    calls = {**direct, **models}.items()
    endpoint, own_request = cast(Endpoint, dependant.call), dependant.request_param_name
    request_name = own_request or "request"

    async def call(**values: Any) -> Response:
        """Call the endpoint with the values from FastAPI's solver and those that bypass it; return its response."""
        request = values[request_name] if own_request else values.pop(request_name)
        for name in ids:
            values[name] = UUID(request.path_params[name])
        for name, get_value in calls:
            values[name] = await get_value(request)
        return await endpoint(**values)

    changed = copy(dependant)
    changed.call, changed.request_param_name = call, request_name
    changed.dependencies = [dependency for dependency in dependant.dependencies if dependency.name not in direct]
    changed.query_params = [field for field in dependant.query_params if field.name not in models]
    changed.path_params = [field for field in dependant.path_params if field.name not in ids]
    return changed


def query_parameters(dependant: Dependant) -> set[str]:
    """Return the names of the query parameters of a route and its dependencies, those of query models included."""
    names: set[str] = set()
    for field in dependant.query_params:
        model = _model_of(field)
        names |= model.model_fields.keys() if model else {field.alias}
    return names.union(*map(query_parameters, dependant.dependencies))


def has_plain_ids(request: Request) -> bool:
    """Return whether all path parameters are UUIDs in their usual form; others are left to FastAPI's validation."""
    return all(map(_ID.fullmatch, request.path_params.values()))


def _has_parameters(dependency: Dependant) -> bool:
    """Return whether a dependency has parameters, or dependencies of its own, besides the request.

    Header parameters whose names begin with `_` are for the document only, and do not count.
    """
    parameters = (
        dependency.path_params,
        dependency.query_params,
        [field for field in dependency.header_params if not field.name.startswith("_")],
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

        Unknown parameters are ignored. Of a parameter that is sent several times, the last value counts; the class
        Route has refused such a query before.
        """
        try:
            return model.model_validate(dict(request.query_params))
        except ValidationError as error:
            raise RequestValidationError(
                [{**found, "loc": ("query", *found["loc"])} for found in error.errors(include_url=False)]
            ) from None

    return validated
