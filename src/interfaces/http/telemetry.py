"""Traces of requests, made by FastAPI itself and completed here (decision 0030)."""

from collections.abc import MutableMapping
from typing import Any

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace

NOT_TRACED = "/metrics", "/health/"
"""How the paths begin that machines ask for every few seconds."""
REDACTED = "REDACTED"


def telemetry_config() -> TelemetryConfig:
    """Return how FastAPI is to trace requests, if a tracer provider has been set when they arrive.

    FastAPI's own metrics are off, because Prometheus reads ours. Its logs are off, because they would contain what was
    sent. Its spans within a request are off: those of units of work and statements say more.
    """
    return {
        "tracing": True,
        "metrics": False,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
        "exclude": _is_not_traced,
    }


def _is_not_traced(scope: MutableMapping[str, Any]) -> bool:
    """Return whether this request is not to be traced."""
    return bool(scope["path"].startswith(NOT_TRACED))


def describe_span(request_id: str, query: bytes) -> str | None:
    """Complete the span of the current request, and return its trace id; return None if requests are not traced.

    The span gets the request's id. The path and the query that FastAPI has noted are removed, because the client may
    have sent anything there; the route's template stays.
    """
    span = trace.get_current_span()
    context = span.get_span_context()
    if not context.is_valid:
        return None
    span.set_attributes({"handover.request_id": request_id, "url.path": REDACTED})
    if query:
        span.set_attribute("url.query", REDACTED)
    return trace.format_trace_id(context.trace_id)
