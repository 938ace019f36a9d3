"""Why units of work were run again, collected per request for the log and the metrics of a server."""

from contextvars import ContextVar

from application.errors import KeyInFlight, OutcomeUnknown, TryAgain

REASONS: dict[type[Exception], str] = {
    KeyInFlight: "key-in-flight",
    OutcomeUnknown: "outcome-unknown",
    TryAgain: "conflict",
}
"""The reason by the error that ended the unit of work before. The first class that fits counts."""

_collected: ContextVar[list[str] | None] = ContextVar("reruns", default=None)


def collect_reruns() -> list[str]:
    """Return a new list, to which the reason is added each time that a unit of work is about to run again.

    This concerns units of work that run in the current context, such as that of a request, until the next call in it.
    """
    reasons: list[str] = []
    _collected.set(reasons)
    return reasons


def note_rerun(error: Exception) -> None:
    """Add the reason of a rerun to the list of collect_reruns(), if that was called: `error` ended the former run."""
    reasons = _collected.get()
    if reasons is not None:
        reasons.append(next(reason for kind, reason in REASONS.items() if isinstance(error, kind)))
