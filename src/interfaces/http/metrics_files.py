"""The files in which several workers share their metrics, with disk space that is allocated before it is used.

prometheus_client maps these files into memory, and makes them longer without allocating blocks. If the folder's file
system is full, the first write to such a block ends the process by the signal SIGBUS. Here the blocks are allocated
first. This replaces a class of prometheus_client that is not documented (decision 0018).
"""

import mmap
import os
import time
from contextlib import suppress
from typing import Any, ClassVar

import structlog
from prometheus_client import mmap_dict, values

INITIAL_SIZE = 64 * 1024
"""The bytes of a new file, as in prometheus_client; each time that it is full, it doubles."""
RETRY_SECONDS = 1.0
"""How long after an allocation that failed the next one is tried."""

log = structlog.get_logger()


class AllocatedFile(mmap_dict.MmapedDict):
    """The metrics of one type in one process, stored in a file. No method fails for want of disk space.

    A value for which there is no space is kept in memory, and stored when a value of the same type changes and there is
    space. Until then other workers do not see it.
    """

    is_full: ClassVar = False
    """Whether the log says that a file of this process has no space, and none has got any since."""

    def __init__(self, filename: str) -> None:
        self._fname = filename
        self._f: Any = None
        self._positions: dict[str, int] = {}
        self._unstored: dict[str, tuple[float, float]] = {}
        """The values for which there was no space, with their timestamps."""
        self._retry_at = 0.0

    def read_value(self, key: str) -> tuple[float, float]:
        """Return the value of a metric and its timestamp; both are 0 if it is new."""
        if self._has_space(key):
            return super().read_value(key)  # type: ignore[no-any-return, no-untyped-call]
        return self._unstored.setdefault(key, (0.0, 0.0))

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Store the value of a metric and its timestamp, and those for which there was no space until now."""
        if key in self._positions:
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]
        else:
            self._unstored[key] = value, timestamp
        while self._unstored and self._has_space(key := next(iter(self._unstored))):
            super().write_value(key, *self._unstored.pop(key))  # type: ignore[no-untyped-call]

    def _has_space(self, key: str) -> bool:
        """Return whether the file has a place for this metric, after allocating one if need be and possible.

        If it is not possible, log a line, unless the last attempt of this process has failed, too.
        """
        if key in self._positions:
            return True
        if time.monotonic() < self._retry_at:
            return False
        try:
            if not self._f:
                self._create()
            self._grow(self._used + len(key.encode()) + 32)  # its length, at most 12 of padding, and two numbers
        except OSError as error:
            if not AllocatedFile.is_full:
                log.error("metrics cannot be recorded", folder=os.path.dirname(self._fname), reason=error.strerror)
            AllocatedFile.is_full = True
            self._retry_at = time.monotonic() + RETRY_SECONDS
            return False
        AllocatedFile.is_full = False
        return True

    def _create(self) -> None:
        """Create the file, unless there is one, and map it. Other processes never see it empty. Raise OSError."""
        if not os.path.exists(self._fname):
            new = f"{self._fname}.new"
            try:
                with open(new, "wb") as file:
                    os.posix_fallocate(file.fileno(), 0, INITIAL_SIZE)
                os.rename(new, self._fname)
            except OSError:
                with suppress(OSError):
                    os.remove(new)
                raise
        try:
            super().__init__(self._fname)  # type: ignore[no-untyped-call]
        except OSError:
            self._f = None
            raise

    def _grow(self, size: int) -> None:
        """Make the file at least this long, and map it again if it was shorter. Raise OSError."""
        capacity = self._capacity
        while capacity < size:
            capacity *= 2
        if capacity > self._capacity:
            os.posix_fallocate(self._f.fileno(), 0, capacity)
            self._m = mmap.mmap(self._f.fileno(), capacity)
            self._capacity = capacity


def allocate_before_use() -> None:
    """Make prometheus_client store the metrics that several workers share in files of the class AllocatedFile.

    Do nothing on systems that cannot allocate blocks, such as macOS.
    """
    if hasattr(os, "posix_fallocate"):
        values.MmapedDict = AllocatedFile  # type: ignore[assignment, attr-defined]
