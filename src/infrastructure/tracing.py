"""Spans of OpenTelemetry for units of work and statements.

There are none, and nothing is wrapped, unless a tracer provider has been set when the store is created, as
Tracing.start() does. Without it, only OpenTelemetry's API is imported, which FastAPI requires; its SDK comes with the
extra `telemetry`. Names and attributes are those of OpenTelemetry's semantic conventions for databases. No span has a
parameter of a statement, or the message of an error.
"""

import asyncio
import logging
import os
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer

from application.idempotency import Replay
from application.ports import Begin, UnitOfWork
from domain.errors import DomainError

_TARGET = re.compile(
    r"(?<!FOR )(?<!DO )\b(INSERT|UPDATE|DELETE)(?: INTO| FROM)?\s+(\w+)"
    r"|\b(SELECT)\b(?:(?!\bSELECT\b).)*?\bFROM\s+(\w+)",
    re.DOTALL,
)


ENDPOINTS = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
PROTOCOLS = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"
"""The first one that is set counts."""
SECONDS_TO_STOP = 1.5
"""How long a server that stops goes on sending spans. A collector may be down, or not answer."""


class Tracing:
    """Sends spans to a collector, if the OTEL_* variables name one and OpenTelemetry's SDK is installed.

    The variables are those of the OpenTelemetry specification. FastAPI could do the same by itself, but would delay the
    end of the process by half a minute if the collector does not answer.
    """

    def __init__(self) -> None:
        self._shut_down: Callable[[], None] | None = None

    def start(self) -> str | None:
        """Set the tracer provider of this process, unless no endpoint is set, or OTEL_* variables turn tracing off.

        Return a line that says why there are no traces although an endpoint is set, or None. Call it before the store
        is created. A variable that is empty counts as not set, as the specification demands.
        """
        endpoint = next((name for name in ENDPOINTS if os.environ.get(name)), None)
        is_off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        if endpoint is None or is_off or (os.environ.get("OTEL_TRACES_EXPORTER") or "otlp") != "otlp":
            return None
        protocol = next((name for name in PROTOCOLS if os.environ.get(name)), None)
        if protocol and os.environ[protocol] != "http/protobuf":
            return f"there are no traces: {protocol} must be http/protobuf, the only protocol that is supported"
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        except ModuleNotFoundError:
            return f"there are no traces, although {endpoint} is set: pip install 'handover[telemetry]'"
        # Otherwise each attempt to reach a collector that is down would be a warning.
        logging.getLogger("opentelemetry").setLevel(logging.ERROR)
        resource = Resource.create({"service.name": "handover", **OTELResourceDetector().detect().attributes})
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
        self._shut_down = provider.shutdown
        return None

    async def stop(self) -> None:
        """Send the spans that are left; do nothing if tracing is off. They are lost after SECONDS_TO_STOP."""
        if self._shut_down is None:
            return
        loop, done, shut_down = asyncio.get_running_loop(), asyncio.Event(), self._shut_down

        def shut_down_and_tell() -> None:
            """Shut down, and set `done`, unless the event loop has been closed meanwhile."""
            shut_down()
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut_down_and_tell, daemon=True).start()  # so that the process does not wait for it
        with suppress(TimeoutError):
            async with asyncio.timeout(SECONDS_TO_STOP):
                await done.wait()


def current_tracer() -> Tracer | None:
    """Return the tracer of the global tracer provider, or None if nobody has set one."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return None
    return provider.get_tracer("handover")


def traced_begin(begin: Begin) -> Begin:
    """Return a Begin whose units of work have a span each, the parent of their statements' spans.

    Its status is an error if the unit of work ends with one, unless that is a refusal by a rule or a replay. The
    attribute `error.type` names the class. Return `begin` itself if tracing is off.
    """
    tracer = current_tracer()
    if tracer is None:
        return begin

    @asynccontextmanager
    async def begin_and_trace(*, optimistic: bool = False) -> AsyncIterator[UnitOfWork]:
        """Begin a unit of work within a span of its own, unless the trace is not sampled: that would cost in vain."""
        current = trace.get_current_span()
        if current.get_span_context().is_valid and not current.is_recording():
            async with begin(optimistic=optimistic) as uow:
                yield uow
            return
        with _span(tracer, "unit of work", {"handover.optimistic": optimistic}, SpanKind.INTERNAL):
            async with begin(optimistic=optimistic) as uow:
                yield uow

    return begin_and_trace


@contextmanager
def statement_span(tracer: Tracer, system: str, sql: str) -> Iterator[None]:
    """Trace the execution of a statement in the block, if the current span is recorded. `system` names the database."""
    if trace.get_current_span().is_recording():
        with _span(tracer, summarize(sql), statement_attributes(system, sql), SpanKind.CLIENT):
            yield
    else:
        yield


def statement_attributes(system: str, sql: str) -> dict[str, str | bool]:
    """Return the attributes of a statement's span. `sql` has placeholders in place of parameters."""
    return {"db.system.name": system, "db.query.summary": summarize(sql), "db.query.text": sql}


@cache
def summarize(sql: str) -> str:
    """Return a short form of an SQL statement, such as `INSERT transfers UPDATE items`, or its first word."""
    found = [f"{verb or select} {table or source}" for verb, table, select, source in _TARGET.findall(sql)]
    return " ".join(dict.fromkeys(found)) or sql.split(maxsplit=1)[0]


@contextmanager
def _span(tracer: Tracer, name: str, attributes: dict[str, str | bool], kind: SpanKind) -> Iterator[None]:
    """Run the block within a new span, which becomes the current one; mark it if the block raises an error."""
    with tracer.start_as_current_span(
        name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield
        except BaseException as error:
            mark_error(span, error)
            raise


def mark_error(span: Span, error: BaseException) -> None:
    """Set the class of the error as an attribute, and the status unless it is a refusal by a rule, or a replay."""
    span.set_attribute("error.type", type(error).__qualname__)
    if not isinstance(error, DomainError | Replay):
        span.set_status(StatusCode.ERROR)
