"""Ctrl+C during commands that take minutes or ask for something."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(Exception):
    """A signal, such as that of Ctrl+C, has ended the work. The message says in which state that leaves it."""

    def __init__(self, message: str, number: signal.Signals = signal.SIGINT) -> None:
        super().__init__(message)
        self.number = number


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
