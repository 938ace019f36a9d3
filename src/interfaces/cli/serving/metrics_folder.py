"""The folder in which several workers keep their metrics, so that each can tell those of all.

It goes with the server. A server that is killed leaves its folder behind, and the next one to start removes it: a
folder that is in use is locked by its server, and by its workers, which inherit the lock.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir, mkdtemp

PREFIX = "handover-metrics-"


@contextmanager
def metrics_folder() -> Iterator[tuple[Path, int]]:
    """Make a folder, and remove it at the end; first remove all folders of this user whose servers are gone.

    Yield the folder and the file descriptor of its lock. As long as a process has that open, the folder is in use.
    """
    for abandoned in Path(gettempdir()).glob(f"{PREFIX}*"):
        if (descriptor := lock(abandoned)) is not None:
            shutil.rmtree(abandoned, ignore_errors=True)
            os.close(descriptor)
    folder, descriptor = new_folder()
    try:
        yield folder, descriptor
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def new_folder() -> tuple[Path, int]:
    """Make a folder and lock it before another server takes it for abandoned."""
    while True:
        folder = Path(mkdtemp(prefix=PREFIX))
        descriptor = lock(folder)
        if descriptor is not None and folder.exists():
            return folder, descriptor
        if descriptor is not None:
            os.close(descriptor)


def lock(folder: Path) -> int | None:
    """Return the file descriptor of a lock on the folder; None if it is locked, no folder, or another user's."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None
