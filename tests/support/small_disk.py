"""A small file system in memory that a test can fill. Neither root nor a free partition is needed, only `unshare`."""

import errno
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEGABYTE = 1024 * 1024
MOUNT = 'mount -t tmpfs -o size="$1m" tmpfs /tmp && : > /tmp/filler && echo mounted && exec cat'
"""It waits for the end of its input, and so ends with the tests. With it ends the name space that has the mount."""


class NoSmallDisk(RuntimeError):
    """The message says what is missing."""


@dataclass(frozen=True, slots=True)
class SmallDisk:
    folder: Path

    def fill(self) -> None:
        """Use up all the space that is left."""
        with (self.folder / "filler").open("ab", buffering=0) as filler:
            try:
                while filler.write(bytes(MEGABYTE)):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Give back what fill() has used."""
        with (self.folder / "filler").open("r+b") as filler:
            filler.truncate()


@contextmanager
def small_disk(megabytes: int, user: Mapping[str, Any]) -> Iterator[SmallDisk]:
    """Mount the file system in a mount name space of its own, and yield its folder, which other processes can use, too.

    `user` are the arguments of Popen that say as whom to mount it. Only this user can create files in it, and only this
    user and root can enter it. Raise NoSmallDisk if it cannot be mounted.
    """
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT, "sh", str(megabytes)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    try:
        mounter = subprocess.Popen(command, text=True, cwd="/", **pipes, **user)
    except FileNotFoundError:
        raise NoSmallDisk("a full disk needs the program unshare (Debian, Ubuntu: the package util-linux)") from None
    with mounter:
        assert mounter.stdout
        if (said := mounter.stdout.readline().strip()) != "mounted":
            raise NoSmallDisk(f"a full disk needs a file system that a user may mount with unshare: {said}")
        yield SmallDisk(Path(f"/proc/{mounter.pid}/root/tmp"))
        assert mounter.stdin
        mounter.stdin.close()
