"""Metrics for Prometheus: the number of requests, how long they took, and what the background purge removed."""

import hmac
import os

from fastapi import Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.security.utils import get_authorization_scheme_param
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

from domain.errors import Unauthenticated
from infrastructure.container import Settings
from interfaces.http.openapi.annotations import problem_responses
from interfaces.http.routing.auth import PUBLIC
from interfaces.http.routing.route import new_router

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the folder in which several workers share their metrics (prometheus_client)."""


class Metrics:
    """Counts requests, their durations and purged records, and returns the numbers as text for Prometheus.

    The numbers are those of this process, or of all workers if they share a folder. check_token() decides who may read
    them.
    """

    def __init__(self, settings: Settings) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "http_requests", "Requests that were answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "http_request_duration_seconds", "Until the answer was out.", ["method", "route"], registry=self.registry
        )
        self.purged = Counter(
            "purged_records", "Expired records that were removed in the background.", registry=self.registry
        )
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.token = settings.metrics_token
        self.needs_token = settings.in_production or self.token is not None
        if SHARED_FOLDER not in os.environ:
            ProcessCollector(registry=self.registry)

    def observe(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request, and record the seconds that it took.

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

    def text(self) -> bytes:
        """Return all metrics of this process, or of all workers, in the text format of Prometheus."""
        if SHARED_FOLDER not in os.environ:
            return generate_latest(self.registry)
        of_all_workers = CollectorRegistry()
        MultiProcessCollector(of_all_workers)  # type: ignore[no-untyped-call]  # it ships none
        return generate_latest(of_all_workers)

    def check_token(self, authorization: str | None) -> None:
        """Raise Unauthenticated unless the header Authorization has the metrics token, or none is needed.

        It is needed if HANDOVER_METRICS_TOKEN is set, and always in production, where every request is refused if it is
        not set. The code is `not-signed-in` without a bearer token (also for None), `invalid-token` for another one.
        """
        if not self.needs_token:
            return
        scheme, presented = get_authorization_scheme_param(authorization)
        if scheme.lower() != "bearer":
            raise Unauthenticated("not-signed-in", "metrics need the token of HANDOVER_METRICS_TOKEN")
        expected = self.token.get_secret_value() if self.token else ""
        if not expected or not hmac.compare_digest(presented.encode(), expected.encode()):
            raise Unauthenticated("invalid-token", "this is not the token of HANDOVER_METRICS_TOKEN")


router = new_router("health")


@router.get(
    "/metrics",
    openapi_extra=PUBLIC,
    response_class=PlainTextResponse,
    responses=problem_responses("not-signed-in", "invalid-token"),
    summary="Numbers of requests and their times, for Prometheus; in production it needs a token of its own",
)
async def read_metrics(request: Request) -> Response:
    """Return counts and durations of requests, in the text format of Prometheus; with several workers, of all of them.

    In production, and wherever the setting `HANDOVER_METRICS_TOKEN` is set, the header `Authorization` must have the
    token of this setting: `Bearer …`.
    """
    metrics: Metrics = request.app.state.metrics
    metrics.check_token(request.headers.get("authorization"))
    return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)
