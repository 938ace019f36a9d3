"""What the server counts and measures, for Prometheus. docs/observability.md explains each metric."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    Summary,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from application.ports import PoolUsage
from application.transact import RERUN_REASONS
from interfaces.http.metrics_files import allocate_before_use

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the folder in which several workers share their metrics (prometheus_client)."""

REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
FAILURES = 429, 500, 503
"""The statuses that operators watch: too many attempts, an unexpected error, and unavailable."""
EXPIRING = "attempts", "keys", "sessions", "tokens"
"""The kinds of records that Store.purge() names."""
LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


disable_created_metrics()  # type: ignore[no-untyped-call]  # several workers have no such series; one would double all
allocate_before_use()


class Metrics:
    """The metrics of this process, or of all workers of the server if they share a folder.

    Labels have few values: what clients send, such as a path or an unknown method, is never one. A gauge of several
    workers is the sum over those that run; a counter also includes those that have ended. Nothing fails if the folder
    has no space left: see metrics_files.py.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "http_requests", "Requests that were answered.", ["method", "route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "http_request_duration_seconds",
            "Until the answer was out.",
            ["method", "route"],
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self.failures = Counter(
            "handover_failures", "Requests that were answered with 429, 500 or 503.", ["status"], registry=registry
        )
        self.transfers = Counter(
            "handover_transfers", "Items that were handed over, without replays.", registry=registry
        )
        self.replays = Counter(
            "handover_replays", "Stored answers of idempotency keys that were sent again.", ["route"], registry=registry
        )
        self.reruns = Counter(
            "handover_reruns", "Units of work of requests that were run again.", ["reason"], registry=registry
        )
        self.purge_seconds = Summary(
            "handover_purge_seconds", "How long background purges took that have not failed.", registry=registry
        )
        self.purge_failures = Counter("handover_purge_failures", "Background purges that failed.", registry=registry)
        self.purged = Counter(
            "handover_purged_records", "Expired records that background purges removed.", ["kind"], registry=registry
        )
        self.lag = Histogram(
            "handover_event_loop_lag_seconds",
            "How late a timer was that each worker sets ten times a second.",
            buckets=LAG_BUCKETS,
            registry=registry,
        )
        self.pool_size = self._pool_gauge("size", "How many may be in use at once.")
        self.pool_in_use = self._pool_gauge("in_use", "Connections or threads in use.")
        self.pool_waiting = self._pool_gauge("waiting", "Callers that wait for a connection or thread.")
        self.pool_waits = Counter("handover_pool_waits", "Callers that had to wait.", ["pool"], registry=registry)
        self.pool_wait_seconds = Counter(
            "handover_pool_wait_seconds", "How long they waited.", ["pool"], registry=registry
        )
        self.workers = Gauge(
            "handover_workers", "Processes that serve.", multiprocess_mode="livesum", registry=registry
        )
        self.worker_starts = Counter("handover_worker_starts", "Processes that began to serve.", registry=registry)
        self.lost_log_lines = Counter(
            "handover_lost_log_lines", "Lines of the log that could not be written.", registry=registry
        )
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._pools: dict[str, PoolUsage] = {}
        self._lost_log_lines = 0
        # So that these are 0 before the first one: Prometheus sees no increase in a series that begins with 1.
        for counter, labels in (
            (self.failures, FAILURES),
            (self.reruns, RERUN_REASONS.values()),
            (self.purged, EXPIRING),
        ):
            for label in labels:
                counter.labels(label)
        if SHARED_FOLDER not in os.environ:
            ProcessCollector(registry=registry)

    def _pool_gauge(self, name: str, meaning: str) -> Gauge:
        """Return a new gauge `handover_pool_<name>` with the label `pool`."""
        return Gauge(f"handover_pool_{name}", meaning, ["pool"], multiprocess_mode="livesum", registry=self.registry)

    def observe(self, method: str, route: str | None, status: int, seconds: float, reruns: Iterable[str]) -> None:
        """Count a request with the reasons of its reruns, and record the seconds that it took.

        `route` is its path template, or None if no route matched, which is labelled `none`. Unknown methods are
        labelled `other`, so that clients cannot create any number of time series.
        """
        method, route = method if method in METHODS else "other", route or "none"
        series = method, route, status
        if series not in self._series:  # looking them up by their labels takes longer than counting
            self._series[series] = self.requests.labels(*series), self.seconds.labels(method, route)
        number, time = self._series[series]
        number.inc()
        time.observe(seconds)
        if status in FAILURES:
            self.failures.labels(status).inc()
        for reason in reruns:
            self.reruns.labels(reason).inc()

    def record_purge(self, removed: Mapping[str, int], seconds: float) -> None:
        """Count a background purge that has not failed: the removed records by kind, and how long it took."""
        self.purge_seconds.observe(seconds)
        for kind, number in removed.items():
            self.purged.labels(kind).inc(number)

    def record_pools(self, pools: Mapping[str, PoolUsage]) -> None:
        """Set the gauges of the pools to how they are used now, and add the waits since the last call."""
        nothing = PoolUsage(0, 0, 0, 0, 0.0)
        for name, usage in pools.items():
            before = self._pools.get(name, nothing)
            self.pool_size.labels(name).set(usage.size)
            self.pool_in_use.labels(name).set(usage.in_use)
            self.pool_waiting.labels(name).set(usage.waiting)
            self.pool_waits.labels(name).inc(usage.waits - before.waits)
            self.pool_wait_seconds.labels(name).inc(usage.seconds_waited - before.seconds_waited)
            self._pools[name] = usage

    def record_lost_log_lines(self, lost: int) -> None:
        """Count the lines of the log that were lost since the last call; `lost` is how many this process has lost."""
        self.lost_log_lines.inc(lost - self._lost_log_lines)
        self._lost_log_lines = lost

    def record_start(self) -> None:
        """Count this process as one that serves."""
        self.workers.set(1)
        self.worker_starts.inc()

    def text(self) -> bytes:
        """Return all metrics of this process, or of all workers, in the text format of Prometheus."""
        if SHARED_FOLDER not in os.environ:
            return generate_latest(self.registry)
        of_all_workers = CollectorRegistry()
        MultiProcessCollector(of_all_workers)  # type: ignore[no-untyped-call]  # it ships none
        return generate_latest(of_all_workers)


def remove_gauges(folder: Path, worker: int) -> None:
    """Remove the gauges of a worker that has ended, by its process id, from the folder that the workers share.

    What it has counted stays.
    """
    mark_process_dead(worker, str(folder))  # type: ignore[no-untyped-call]  # it ships no types
