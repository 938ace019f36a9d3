"""The route that Prometheus reads, and who may read it."""

import hmac

from fastapi import Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.security.utils import get_authorization_scheme_param
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from domain.errors import Unauthenticated
from infrastructure.container import Settings
from interfaces.http.metrics import Metrics
from interfaces.http.openapi.annotations import problem_responses
from interfaces.http.routing.auth import PUBLIC
from interfaces.http.routing.route import new_router

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
    check_token(request.app.state.settings, request.headers.get("authorization"))
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)


def check_token(settings: Settings, authorization: str | None) -> None:
    """Raise Unauthenticated unless the header Authorization has the metrics token, or none is needed.

    It is needed if HANDOVER_METRICS_TOKEN is set, and always in production, where every request is refused if it is
    not set. The code is `not-signed-in` without a bearer token (also for None), `invalid-token` for another one.
    """
    token = settings.metrics_token
    if token is None and not settings.in_production:
        return
    scheme, presented = get_authorization_scheme_param(authorization)
    if scheme.lower() != "bearer":
        raise Unauthenticated("not-signed-in", "metrics need the token of HANDOVER_METRICS_TOKEN")
    expected = token.get_secret_value() if token else ""
    if not expected or not hmac.compare_digest(presented.encode(), expected.encode()):
        raise Unauthenticated("invalid-token", "this is not the token of HANDOVER_METRICS_TOKEN")
