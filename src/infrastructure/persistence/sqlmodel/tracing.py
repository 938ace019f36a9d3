"""Spans of OpenTelemetry for the statements that SQLAlchemy's ORM sends."""

from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Tracer
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from infrastructure.tracing import mark_error, statement_attributes, summarize

SPAN = "handover_span"
"""The entry in a connection's `info` with the span of the statement that runs on it."""


def trace_statements(engine: Engine, tracer: Tracer, system: str) -> None:
    """Give each statement of the engine a span, if it is part of a trace that is sampled.

    BEGIN is one on SQLite. BEGIN on PostgreSQL and COMMIT are not, because SQLAlchemy sends them in another way.
    """

    @event.listens_for(engine, "before_cursor_execute")
    def begin_span(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if trace.get_current_span().is_recording():
            connection.info[SPAN] = tracer.start_span(
                summarize(statement), kind=SpanKind.CLIENT, attributes=statement_attributes(system, statement)
            )

    @event.listens_for(engine, "after_cursor_execute")
    def end_span(connection: Any, *_: Any) -> None:
        if span := connection.info.pop(SPAN, None):
            span.end()

    @event.listens_for(engine, "handle_error")
    def end_failed_span(context: ExceptionContext) -> None:
        connection = context.connection
        if connection and not connection.invalidated and (span := connection.info.pop(SPAN, None)):
            mark_error(span, context.original_exception)
            span.end()
