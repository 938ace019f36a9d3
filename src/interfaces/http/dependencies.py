"""What a route may ask for by its class; the routers know neither the container nor any adapter."""

from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.dependencies.models import Dependant


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
