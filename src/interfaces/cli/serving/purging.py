"""The background task of each worker that removes expired records."""

import asyncio
import random
from collections.abc import Callable

import structlog

from application.errors import OutcomeUnknown, TryAgain, Unavailable
from application.use_cases.purge import PurgeInTurn

log = structlog.get_logger()


async def purge_repeatedly(purge: PurgeInTurn, count: Callable[[int], None]) -> None:
    """Purge, wait for one interval, and so on, until this task is cancelled.

    `count` is called with the number of removed records after each purge that has removed any. A purge that fails is
    logged, and the next one follows after the same interval.

    The first purge begins at a random time in the first interval, so that workers that were started together do not all
    ask the store at the same time.
    """
    seconds = purge.interval.total_seconds()
    await asyncio.sleep(random.uniform(0, seconds))  # noqa: S311 - jitter, not a secret
    while True:
        await _purge_once(purge, count)
        await asyncio.sleep(seconds)


async def _purge_once(purge: PurgeInTurn, count: Callable[[int], None]) -> None:
    """Purge; log and count what was removed, if anything. Errors are logged and never raised."""
    try:
        removed = await purge()
    except (TryAgain, OutcomeUnknown, Unavailable) as error:
        log.warning("purge failed", reason=str(error))
    except Exception:
        log.exception("purge failed")
    else:
        if removed:
            log.info("purged", records=removed)
            count(removed)
