"""Spans of OpenTelemetry for the commands that are sent to MongoDB."""

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent


class CommandSpans(CommandListener):
    """Gives each command of the driver a span, if it is part of a trace that is sampled.

    It has the command's name and its collection, but neither its content nor the server's error message.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._running: dict[int, Span] = {}

    def started(self, event: CommandStartedEvent) -> None:
        """Begin a span for the command, if it is part of a trace that is sampled."""
        if not trace.get_current_span().is_recording():
            return
        target = event.command.get(event.command_name)
        name = f"{event.command_name} {target}" if isinstance(target, str) else event.command_name
        attributes = {"db.system.name": "mongodb", "db.query.summary": name}
        self._running[event.request_id] = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """End the command's span."""
        if span := self._running.pop(event.request_id, None):
            span.end()

    def failed(self, event: CommandFailedEvent) -> None:
        """End the command's span with an error."""
        if span := self._running.pop(event.request_id, None):
            span.set_attribute("error.type", str(event.failure.get("codeName", "error")))
            span.set_status(StatusCode.ERROR)
            span.end()
