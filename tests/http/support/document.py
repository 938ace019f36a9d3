"""What the OpenAPI document says."""

from functools import cache
from typing import Any

from infrastructure.container import build_container
from interfaces.http.app import create_app
from tests.support.engines import settings_for


@cache
def document() -> dict[str, Any]:
    return create_app(build_container(settings_for("memory://"))).openapi()


@cache
def operations() -> dict[str, dict[str, Any]]:
    """By their ids."""
    return {operation["operationId"]: operation for path in document()["paths"].values() for operation in path.values()}


def declared_problems() -> set[tuple[str, str]]:
    """Each operation with each problem that it may give."""
    return {
        (name, problem)
        for name, operation in operations().items()
        for response in operation["responses"].values()
        for problem in response.get("content", {}).get("application/problem+json", {}).get("examples", {})
    }
