"""Why a test has failed, in words for the author of an adapter."""

import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import pytest

from application.errors import OutcomeUnknown, TryAgain, Unavailable
from domain.errors import DomainError

KNOWN = (DomainError, TryAgain, OutcomeUnknown, Unavailable)
"""The errors that an adapter may raise, with all that inherit from them."""

OF_TESTS = (AssertionError, pytest.fail.Exception)
"""What a test itself raises; its message is enough."""

NOT_AWAITABLE = re.compile(r"can't be (used in 'await' expression|awaited)")
"""The message of a TypeError of `await`, in the versions of Python that we support."""


def reason_of(report: pytest.TestReport, error: BaseException | None, package: str, plain: Sequence[str]) -> str:
    """Return the message of a failure, or `skipped: ` and the reason of a skipped test.

    An `error` of the adapter, whose topmost package is given, is followed by its place in the code and what is known
    about it; `plain` are the adapter's plain_methods(). A failure that Hypothesis has found includes the shortest
    program that shows it, but not Hypothesis' explanation.
    """
    if report.skipped:
        return f"skipped: {report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext}"
    crash = getattr(report.longrepr, "reprcrash", None)
    message: str = crash.message if crash else report.longreprtext
    if error is None:
        return _shortened(message)
    first, *others = leaves(error)
    if others:  # what pytest says of a group is only how many there are
        return "\n".join(_shortened(_with_notes(one), _about(one, package, plain)) for one in (first, *others))
    return _shortened(message, _about(first, package, plain))


def _with_notes(error: BaseException) -> str:
    """Return the class of an error, its message and its notes, to which Hypothesis adds the program."""
    return "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])])


def _shortened(message: str, about: str = "") -> str:
    """Return the message of a failure without what pytest and Hypothesis add, and `about` behind its first line."""
    message = message.partition("\nExplanation:")[0].removeprefix("AssertionError: ").removeprefix("Failed: ")
    line, newline, rest = message.partition("\n")
    return f"{line}{about}{newline}{rest}"


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, or those in it if it is a group."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from leaves(one)
    else:
        yield error


def hint_at(error: BaseException, plain: Sequence[str]) -> str:
    """Return which methods may have to be `async def` if the error is that something cannot be awaited, else nothing.

    The text begins with a semicolon, to be put behind the message of the error. `plain` is as for reason_of().
    """
    if plain and isinstance(error, TypeError) and NOT_AWAITABLE.search(str(error)):
        verb, condition = ("has", "it returns") if len(plain) == 1 else ("have", "they return")
        return f"; {' and '.join(plain)} {verb} to be `async def`, unless {condition} an awaitable"
    return ""


def _about(error: BaseException, package: str, plain: Sequence[str]) -> str:
    """Return where the error was raised, and what else is known about it."""
    if isinstance(error, OF_TESTS):
        return ""
    frames = [*_frames(error)]
    ours = [place for place in frames if str(place[0].f_globals.get("__name__")).partition(".")[0] == package]
    if not frames:
        return hint_at(error, plain)
    frame, line = (ours or frames)[-1]
    place = f" ({Path(frame.f_code.co_filename).name}, line {line}, in {frame.f_code.co_name})"
    unknown = "; no use case knows this error; see Errors in docs/adding-an-adapter.md"
    return place + hint_at(error, plain) + (unknown if ours and not isinstance(error, KNOWN) else "")


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """Yield the frames through which the error was raised, each with its line, the innermost one last."""
    traceback = error.__traceback__
    while traceback:
        yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next


def first_sentence(function: object) -> str:
    """Return the first sentence of a docstring in one line; an empty text if there is none."""
    paragraph = " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())
    sentence, stop, _ = paragraph.partition(". ")
    return f"{sentence}." if stop else sentence
