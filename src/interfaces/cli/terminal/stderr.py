"""A stderr that never fails: what cannot be written to it is lost.

A server's log goes to stderr. If its disk is full, or the reader of its pipe has ended, requests must be answered as
before, and every command must end with the exit code that tells what it has done.
"""

import io
import sys
from typing import Any, TextIO


class LossyFile(io.FileIO):
    """The file of a stream. What cannot be written to it is discarded and counted; no error is raised.

    If only a part of a line could be written, what is written next begins on a new line. close() leaves it open.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream.fileno(), "w", closefd=False)
        self._stream = stream  # which would close the file if nothing referred to it
        self.lost = 0
        """How many writes were lost, in whole or in part. The log makes one for each line."""
        self._within_line = False
        self._torn = False
        """Whether the rest of the line that was written last is lost."""

    def write(self, data: Any, /) -> int:
        """Write the bytes or the first of them, and return how many; if they are lost, return how many there are."""
        try:
            if self._torn and not super().write(b"\n"):
                raise BlockingIOError
            self._within_line, self._torn = self._within_line and not self._torn, False
            written = super().write(data)
        except OSError:
            written = None
        if written is None:  # None also stands for a full pipe that this process must not wait for
            self.lost += 1
            self._torn = self._within_line
            return len(data)
        self._within_line = bytes(data[:written])[-1:] != b"\n"
        return written


def lose_what_stderr_cannot_take() -> None:
    """Make `sys.stderr` a stream that never raises OSError. It has a line written as soon as that ends."""
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(LossyFile(sys.stderr)),
        encoding=sys.stderr.encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


def lost_writes() -> int:
    """Return how many writes to stderr this process has lost; 0 unless lose_what_stderr_cannot_take() was called."""
    file = getattr(getattr(sys.stderr, "buffer", None), "raw", None)
    return file.lost if isinstance(file, LossyFile) else 0
