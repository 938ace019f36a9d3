"""How many requests there were and how long they took, for Prometheus."""

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
from interfaces.http.openapi.annotations import problems
from interfaces.http.routing.auth import OPEN
from interfaces.http.routing.route import new_router

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The library's variable: where several workers keep their numbers, so that each can tell those of all."""


class Metrics:
    def __init__(self, settings: Settings) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "http_requests", "Requests that were answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "http_request_duration_seconds", "Until the answer was out.", ["method", "route"], registry=self.registry
        )
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.token = settings.metrics_token
        self.open = not settings.in_production and self.token is None
        if SHARED_FOLDER not in os.environ:
            ProcessCollector(registry=self.registry)

    def observe(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """By the route's template and by known methods only: whoever makes names up must not make up series."""
        method, route = method if method in METHODS else "other", route or "none"
        series = method, route, status
        if series not in self._series:  # to find them among their labels takes longer than to count
            self._series[series] = self.requests.labels(*series), self.seconds.labels(method, route)
        number, time = self._series[series]
        number.inc()
        time.observe(seconds)

    def text(self) -> bytes:
        if SHARED_FOLDER not in os.environ:
            return generate_latest(self.registry)
        of_all_workers = CollectorRegistry()
        MultiProcessCollector(of_all_workers)  # type: ignore[no-untyped-call]  # it ships none
        return generate_latest(of_all_workers)

    def permit(self, authorization: str | None) -> None:
        if self.open:
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
    openapi_extra=OPEN,
    response_class=PlainTextResponse,
    responses=problems("not-signed-in", "invalid-token"),
    summary="Numbers of requests and their times, for Prometheus; in production it needs a token of its own",
)
async def read_metrics(request: Request) -> Response:
    metrics: Metrics = request.app.state.metrics
    metrics.permit(request.headers.get("authorization"))
    return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)
