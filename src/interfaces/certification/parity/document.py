"""What the OpenAPI document says about operations and their problems."""

from functools import cache
from typing import Any

from infrastructure.container import Settings, build_container
from interfaces.http.app import create_app

IN_MEMORY = Settings(database_url="memory://", _env_file=None)


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document of the whole API. It is made once."""
    return create_app(build_container(IN_MEMORY)).openapi()


@cache
def operations() -> dict[str, dict[str, Any]]:
    """Return all operations of the document by their operation ids."""
    return {operation["operationId"]: operation for path in document()["paths"].values() for operation in path.values()}


def declared_problems() -> set[tuple[str, str]]:
    """Return each pair of an operation id and a problem that the document declares for it."""
    return {
        (name, problem)
        for name, operation in operations().items()
        for response in operation["responses"].values()
        for problem in response.get("content", {}).get("application/problem+json", {}).get("examples", {})
    }
