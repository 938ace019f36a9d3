"""The background task of each worker that removes expired records."""

import asyncio
import random
import time

import structlog

from application.errors import OutcomeUnknown, TryAgain, Unavailable
from application.use_cases.purge import PurgeInTurn
from interfaces.http.metrics import Metrics

log = structlog.get_logger()


async def purge_repeatedly(purge: PurgeInTurn, metrics: Metrics) -> None:
    """Purge, wait for one interval, and so on, until this task is cancelled.

    `metrics` counts each purge, unless another worker has done it. A purge that fails is counted and logged, and the
    next one follows after the same interval.

    The first purge begins at a random time in the first interval, so that workers that were started together do not all
    ask the store at the same time.
    """
    seconds = purge.interval.total_seconds()
    await asyncio.sleep(random.uniform(0, seconds))  # noqa: S311 - jitter, not a secret
    while True:
        await _purge_once(purge, metrics)
        await asyncio.sleep(seconds)


async def _purge_once(purge: PurgeInTurn, metrics: Metrics) -> None:
    """Purge and count that; log what was removed, if anything. Errors are logged and never raised."""
    began = time.monotonic()
    try:
        removed = await purge()
    except Exception as error:
        metrics.purge_failures.inc()
        if isinstance(error, TryAgain | OutcomeUnknown | Unavailable):
            log.warning("purge failed", reason=str(error))
        else:
            log.exception("purge failed")
        return
    if removed is not None:
        metrics.record_purge(removed, time.monotonic() - began)
    if removed:
        log.info("purged", records=removed.total())
