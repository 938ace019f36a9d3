"""The image without a container engine: what the Dockerfile copies is built and installed in an empty environment, and
its command serves there, as another user, on a root file system that is read-only, until SIGTERM.

`make test-image` builds and runs the image itself, where there is an engine.
"""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.deployment.dockerfile import Image, copy_context, read_dockerfile
from tests.support.servers import free_port
from tests.support.wheels import install_wheels

SECONDS = 120
ROOT_MAY_ISOLATE = os.geteuid() == 0 and sys.platform == "linux"
"""Only root can make a read-only root file system and become another user. Others run the command as they are."""

USER = 10001

ISOLATED = f"""
set -eu
data=$1 temporary=$2; shift 2
mount --bind "$data" "$data"
mount --bind "$temporary" "$temporary"
while read -r _ point _; do
  case "$point" in "$data" | "$temporary") continue ;; esac
  mount -o remount,bind,ro "$point" 2>/dev/null || true
done < /proc/self/mounts
mount -t proc proc /proc
if touch /tmp/handover-is-read-only 2>/dev/null; then echo 'the root file system can be written to' >&2; exit 99; fi
# Reading is allowed, so that an environment in a folder that only root may enter can be tested.
exec setpriv --reuid {USER} --regid {USER} --clear-groups --no-new-privs \
  --inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search -- "$@"
"""
"""Runs a command on a read-only file system but for two folders, as the user of the image."""


@pytest.fixture(scope="module")
def image() -> Image:
    return read_dockerfile()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that others may enter."""
    with TemporaryDirectory(prefix="handover-image-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def python(image: Image, folder: Path) -> Path:
    """The Python of an environment that has the wheel, built of what the Dockerfile copies and of nothing else.

    `make test-image` and `make smoke` install the locked dependencies; here they are those of the tests.
    """
    build = folder / "build"
    copy_context(image.copied, build)
    return install_wheels(folder / "installed", build)


@pytest.fixture
def data(folder: Path) -> Path:
    """The folder of the volume; it and the one for temporary files belong to the user of the image."""
    own = folder / secrets.token_hex(4)
    for each in own, own / "data", own / "tmp":
        each.mkdir()
        if ROOT_MAY_ISOLATE:
            os.chown(each, USER, USER)
    return own / "data"


class Container:
    """A command of the image, as process 1 of its own namespace if root runs the tests."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def said(self) -> str:
        return self.log.read_text()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command, and not to `unshare`, which is its parent."""
        pid = self.process.pid
        if ROOT_MAY_ISOLATE:
            pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
        os.kill(pid, number)

    async def wait(self) -> int:
        async with asyncio.timeout(SECONDS):
            return await self.process.wait()


def environment(image: Image, python: Path, data: Path, **settings: str) -> dict[str, str]:
    """That of the image, with the volume's and the environment's real places, and nothing else."""
    values = {name: value.replace(f"{image.volume}/", f"{data}/") for name, value in image.environment.items()}
    path = values["PATH"].replace("/opt/handover/bin", str(python.parent)).replace("$PATH", os.environ["PATH"])
    return values | {"PATH": path, "TMPDIR": str(data.with_name("tmp"))} | settings


@asynccontextmanager
async def container(command: list[str], data: Path, given: dict[str, str]) -> AsyncIterator[Container]:
    if ROOT_MAY_ISOLATE:
        isolated = ["sh", "-c", ISOLATED, "sh", str(data), given["TMPDIR"], *command]
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *isolated]
    log = data.with_name("log")
    with log.open("a") as file:
        process = await asyncio.create_subprocess_exec(*command, cwd=data, env=given, stdout=file, stderr=file)
    try:
        yield Container(process, log)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def handover_in(python: Path, words: list[str]) -> list[str]:
    """The words of the image's command; the script `handover` is not in an environment of unpacked wheels."""
    assert words[0] == "handover"
    return [str(python), "-m", *words]


async def test_the_image_serves_until_sigterm(image: Image, python: Path, data: Path) -> None:
    assert image.user == f"{USER}:{USER}"
    secret = os.urandom(32).hex()
    port = str(free_port())
    given = environment(image, python, data, HANDOVER_SECRET_KEY=secret, HANDOVER_PORT=port, HANDOVER_WORKERS="2")
    async with container(handover_in(python, ["handover", "migrate", "up"]), data, given) as migration:
        assert (await migration.wait(), "is current" in migration.said) == (0, True), migration.said
    async with container(handover_in(python, image.command), data, given) as server:
        await healthy(server, image, given)
        if ROOT_MAY_ISOLATE:
            assert owners(data) == {USER}  # the isolation works
        server.send(signal.Signals[image.stop_signal])
        assert await server.wait() == 0, server.said
    assert secret not in server.said


async def test_sigterm_ends_a_container_that_still_starts(image: Image, python: Path, data: Path) -> None:
    """Process 1 has no default for signals: the kernel would ignore it, and the engine kill the container later."""
    connected = asyncio.Event()

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(never_answer, "127.0.0.1") as store:
        port = store.sockets[0].getsockname()[1]
        url = f"postgresql://handover@127.0.0.1:{port}/handover"
        settings = {"HANDOVER_DATABASE_URL": url, "HANDOVER_PORT": "0", "HANDOVER_SECRET_KEY": os.urandom(32).hex()}
        given = environment(image, python, data) | settings
        async with container(handover_in(python, image.command), data, given) as server, asyncio.timeout(SECONDS):
            await connected.wait()
            server.send(signal.SIGTERM)
            ended_by_signal = 128 + signal.SIGTERM if ROOT_MAY_ISOLATE else -signal.SIGTERM
            assert await server.wait() == ended_by_signal, server.said


def owners(folder: Path) -> set[int]:
    return {file.stat().st_uid for file in folder.iterdir()}


async def healthy(server: Container, image: Image, given: dict[str, str]) -> None:
    """Wait until the command of HEALTHCHECK succeeds."""
    async with asyncio.timeout(SECONDS):
        while True:
            assert server.process.returncode is None, server.said
            check = await asyncio.create_subprocess_exec(
                *image.health_check, env=given, stderr=asyncio.subprocess.DEVNULL
            )
            if await check.wait() == 0:
                return
            await asyncio.sleep(0.5)
