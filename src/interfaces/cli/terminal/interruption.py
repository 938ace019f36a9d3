"""Ctrl+C during commands that take minutes or ask for something."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(Exception):
    """The user has pressed Ctrl+C. The message says in which state that leaves the work."""


@contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Raise Interrupted if Ctrl+C is pressed during the block, once the block has cleaned up.

    Ctrl+C raises KeyboardInterrupt in the block, so that it can close its stores and its progress bar. `message` says
    in which state that leaves the work. After the block, Ctrl+C ends the process at once.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted: {message}") from None
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
