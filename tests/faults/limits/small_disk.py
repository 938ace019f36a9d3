"""A small file system in memory that a test can fill. Neither root nor a free partition is needed, only `unshare`."""

import errno
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

MEGABYTE = 1024 * 1024
MOUNT = 'mount -t tmpfs -o size="$1m" tmpfs /tmp && : > /tmp/filler && echo mounted && exec cat'
"""It waits for the end of its input, and so ends with the tests. With it ends the name space that has the mount."""


class SmallDisk:
    """A file system of limited size for the data of one server. Use small_disk() to have it removed in the end."""

    def __init__(self, megabytes: int) -> None:
        self.megabytes = megabytes
        self._mounter: subprocess.Popen[str] | None = None

    def mount(self, user: Mapping[str, Any]) -> Path:
        """Mount it in a mount name space of its own, and return a folder to create, which other processes can use, too.

        `user` are the arguments of Popen that say as whom to mount it. Only this user can create files in it, and only
        this user and root can enter it. If it cannot be mounted, the test fails with one line.
        """
        try:
            self._mounter = subprocess.Popen(
                ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT, "sh", str(self.megabytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd="/",
                **user,
            )
        except FileNotFoundError:
            pytest.fail("a full disk needs the program unshare (Debian, Ubuntu: the package util-linux)", pytrace=False)
        assert self._mounter.stdout
        if (said := self._mounter.stdout.readline().strip()) != "mounted":
            pytest.fail(f"a full disk needs a file system that this user may mount with unshare: {said}", pytrace=False)
        return self._folder / "data"

    @property
    def _folder(self) -> Path:
        assert self._mounter
        return Path(f"/proc/{self._mounter.pid}/root/tmp")

    def fill(self) -> None:
        """Use up all the space that is left."""
        with (self._folder / "filler").open("ab", buffering=0) as filler:
            try:
                while filler.write(bytes(MEGABYTE)):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Give back what fill() has used."""
        with (self._folder / "filler").open("r+b") as filler:
            filler.truncate()

    def unmount(self) -> None:
        """End the name space, and so the file system, as soon as no process uses it any more."""
        if self._mounter:
            self._mounter.communicate()  # the end of its input


@contextmanager
def small_disk(megabytes: int) -> Iterator[SmallDisk]:
    """Yield a file system that is not mounted yet, and unmount it in the end."""
    disk = SmallDisk(megabytes)
    try:
        yield disk
    finally:
        disk.unmount()
