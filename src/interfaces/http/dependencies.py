"""What a route may ask for by its class; the routers know neither the container nor any adapter."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request


def use(wanted: type[Any]) -> Callable[[Request], Awaitable[Any]]:
    """The use case or port of this class, for `Annotated[TransferItem, Depends(use(TransferItem))]`.

    A coroutine, because FastAPI would run a plain function in its thread pool.
    """

    async def offered(request: Request) -> Any:
        return request.app.state.offered[wanted]

    return offered
