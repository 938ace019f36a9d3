"""A temporary folder in which several workers share their metrics.

It is removed when the server stops. If a server was killed, the next one that starts removes its folder. A folder that
is in use is locked by its server and by the workers, which inherit the lock.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir, mkdtemp

from infrastructure.container import Misconfigured

PREFIX = "handover-metrics-"


@contextmanager
def shared_metrics_folder() -> Iterator[tuple[Path, int]]:
    """Make a temporary folder, and remove it at the end of the block. First remove folders of servers that were killed.

    Yield the folder and the file descriptor of its lock. As long as a process has it open, the folder counts as in use.
    Raise Misconfigured if no folder can be made.
    """
    try:
        for abandoned in Path(gettempdir()).glob(f"{PREFIX}*"):
            if (descriptor := try_lock(abandoned)) is not None:
                shutil.rmtree(abandoned, ignore_errors=True)
                os.close(descriptor)
        folder, descriptor = new_locked_folder()
    except OSError as error:
        raise Misconfigured(
            "TMPDIR: several workers need a temporary folder for their metrics, but none can be made"
            f" ({os.strerror(error.errno or 0)}): name one in TMPDIR, or set HANDOVER_WORKERS to 1"
        ) from None
    try:
        yield folder, descriptor
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def new_locked_folder() -> tuple[Path, int]:
    """Make a folder and lock it; return the folder and the lock's file descriptor.

    Try again if another server has locked or removed the folder before it was locked here.
    """
    while True:
        folder = Path(mkdtemp(prefix=PREFIX))
        descriptor = try_lock(folder)
        if descriptor is not None and folder.exists():
            return folder, descriptor
        if descriptor is not None:
            os.close(descriptor)


def try_lock(folder: Path) -> int | None:
    """Lock the folder without waiting; return the lock's file descriptor, whose closing releases the lock.

    Return None if it is locked already, cannot be opened, is not a folder, or belongs to another user.
    """
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
