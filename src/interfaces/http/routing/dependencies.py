"""How routes ask for use cases and ports by their class. Routes import neither the container nor any adapter."""

from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.dependencies.models import Dependant

from application.errors import Unavailable


@dataclass(frozen=True, slots=True)
class use:
    """A dependency that returns the use case or port of this class.

    Written as `Annotated[TransferItem, Depends(use(TransferItem))]`. It is a coroutine function, because FastAPI runs
    plain functions in a thread pool.
    """

    wanted: type[Any]

    async def __call__(self, request: Request) -> Any:
        """Return it; raise Unavailable if the store has not been opened yet."""
        state = request.app.state
        if state.store_fault:
            raise Unavailable(state.store_fault)
        return state.use_cases_and_ports[self.wanted]


def required_classes(dependant: Dependant) -> set[type[Any]]:
    """Return the classes that a route, or one of its dependencies, asks for with use()."""
    found = {dependant.call.wanted} if isinstance(dependant.call, use) else set()
    return found.union(*map(required_classes, dependant.dependencies))
