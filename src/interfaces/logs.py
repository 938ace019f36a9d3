"""Logging: one format for our own lines and those of libraries, either for a terminal or as JSON."""

import asyncio
import logging
import os
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog
from pydantic_core import to_json
from structlog.typing import ExcInfo, Processor

from infrastructure.container import Settings


def configure_logs(settings: Settings, to: TextIO | None = None) -> None:
    """Send all log lines, also those of libraries, to this stream, or to stderr if it is None.

    Format and lowest level are those of the settings; without a format it is JSON in production, else text for a
    terminal. Debug lines of libraries are never logged. Replaces what was configured before.
    """
    stream = to or sys.stderr
    level = getattr(logging, settings.log_level.upper())
    as_json = settings.logs_json
    in_colors = stream.isatty() and not os.environ.get("NO_COLOR")  # no-color.org
    renderer: Processor = structlog.processors.JSONRenderer(serializer=_json)
    if not as_json:
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=in_colors, exception_formatter=plain)
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(_format_exception),
    ]
    structlog.configure(
        processors=[*common, renderer],
        wrapper_class=_logger_class(level, in_one_step=as_json or not in_colors, as_json=as_json),
        logger_factory=structlog.WriteLoggerFactory(stream),
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=common,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.INFO), force=True)


def log_request(request_id: str, method: str, route: str | None, status: int, ms: float, **more: str | int) -> None:
    """Log that a request was answered. `route` is the path template, None if no route matched.

    `more` are fields that only some requests have: `user_id` of the caller, `reruns` of units of work, and `trace_id`.
    """
    fields = {"method": method, "route": route, "status": status, "ms": ms, **more}
    logger = structlog.get_logger().bind()
    if hasattr(logger, "request"):
        logger.request(request_id, fields)
    else:  # configure_logs() has not been called
        logger.info("request", **fields)


def log_unavailable(scope: Mapping[str, Any], code: str, error: BaseException, reason: str = "") -> None:
    """Log as a warning that a request is answered with 503. Called once for each, in the context of its request.

    `code` is the slug of the problem, `error` why. `reason` is the error's message unless given. The line also has the
    template of the route, None if no route matched, and the class of the error below, such as a driver's.
    """
    route = getattr(scope.get("route"), "path_format", None)
    reason = reason or str(error) or type(error).__name__
    structlog.get_logger().warning("unavailable", code=code, route=route, reason=reason, cause=_class_below(error))


def _class_below(error: BaseException) -> str:
    """Return the name of the class of the error that has led to this one, or of this one if there is none.

    Cancellation and time limits in between are left out, since our own message says which limit it was.
    """
    name = type(error).__name__
    while below := error.__cause__ or error.__context__:
        error = below
        if not isinstance(error, asyncio.CancelledError | TimeoutError):
            name = type(error).__name__
    return name


def _logger_class(level: int, *, as_json: bool, in_one_step: bool) -> type[structlog.typing.FilteringBoundLogger]:
    """Return structlog's logger class for this lowest level, with the method `request` for the line of a request.

    Nearly all lines are such lines, and their fields are known; so with `in_one_step` they are formatted without
    structlog's processors, as these would format them. This takes a fifth of the time (docs/performance.md).
    """
    base = structlog.make_filtering_bound_logger(level)

    class Logger(base):  # type: ignore[valid-type, misc]
        """structlog's logger for the lowest level, with a method for the lines of log_request()."""

        def request(self, request_id: str, fields: dict[str, Any]) -> None:
            """Log at level info that a request was answered, with these fields (see log_request())."""
            if not in_one_step:
                self.info("request", **fields)
            elif level <= logging.INFO:
                at = datetime.now(UTC).isoformat().removesuffix("+00:00") + "Z"
                if as_json:
                    common = {"event": "request", "request_id": request_id, "level": "info", "timestamp": at}
                    line = to_json({**fields, **common}).decode()
                else:
                    fields["request_id"] = request_id
                    line = f"{at} [info     ] {'request':30} " + " ".join(f"{k}={fields[k]}" for k in sorted(fields))
                self._logger.msg(line)

    return Logger


def _json(event: Any, **options: Any) -> str:
    """Return the event as JSON. Five times as fast as json.dumps().

    The option `default`, which structlog passes, is a function that converts what JSON cannot represent.
    """
    return to_json(event, fallback=options["default"]).decode()


def _format_exception(exc_info: ExcInfo) -> str:
    """Return the traceback without the messages of the exceptions, which may contain what was sent."""
    return _format_chain(exc_info[1])


def _format_chain(error: BaseException) -> str:
    """Return the stack and the class of the exception, without its message, after those of its causes."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = f"{_format_chain(cause)}\n\nwhich led to\n\n" if cause else ""
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"{before}{frames}{type(error).__module__}.{type(error).__qualname__}"
