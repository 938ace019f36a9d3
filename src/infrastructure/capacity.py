"""Places for as many at once as a pool has connections: to wait in the pools of the drivers themselves is dear."""

import asyncio

from application.errors import Busy


async def enter(places: asyncio.Semaphore, patience: float) -> None:
    """For so many seconds; whoever enters has to release."""
    if not places.locked():
        await places.acquire()  # at once
        return
    try:
        async with asyncio.timeout(patience):
            await places.acquire()
    except TimeoutError:
        raise Busy("all connections to the store are in use") from None
