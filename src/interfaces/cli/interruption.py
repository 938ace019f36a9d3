"""Ctrl+C during commands that take minutes."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(Exception):
    """The user has pressed Ctrl+C. The message says in which state that leaves the work."""


@contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Let Ctrl+C cancel what runs within, which then closes its stores and its progress bar; raise Interrupted."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted: {message}") from None
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
