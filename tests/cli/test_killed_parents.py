"""When the parent of several workers is killed, they end, and its folder of metrics is removed by the next start."""

import asyncio
import os
import pickle
import shutil
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import SecretStr

from infrastructure.settings import Misconfigured, Settings
from interfaces.cli.serving.metrics_folder import new_locked_folder, shared_metrics_folder, try_lock
from tests.support.served import environment, handover, served

MOMENTS = 40 if os.environ.get("EXAMPLES") else 6
"""How many times a whole server is killed; `make test-long` does it more often."""
STARTS = 40 if os.environ.get("EXAMPLES") else 12
"""The same for a single worker that is starting."""
SECONDS_TO_SERVE = 2.5
"""How long the workers take from their start until they serve, with as many servers at once as here."""
AT_ONCE = 3
SLOWLY = 60.0
"""Seconds in which all must have ended on a busy machine; on an idle one it takes less than 5."""


def is_running(pid: int) -> bool:
    """Whether the process is there and has not ended: one that nobody waits for stays as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def workers_of(parent: int) -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


async def start(folder: Path, port: int) -> asyncio.subprocess.Process:
    """Start a server with two workers and their metrics in this folder, as soon as the database is there."""
    settings = {"PORT": str(port), "WORKERS": "2", "DATABASE_URL": f"sqlite:///{folder}/store.db", "DRAIN_SECONDS": "0"}
    with (folder / "log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "interfaces.cli.main", "serve"),
            cwd=folder,
            env=environment(settings) | {"TMPDIR": str(folder)},
            stdout=log,
            stderr=log,
        )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def kill_when(folder: Path, seconds: float) -> list[int]:
    """Kill a server so many seconds after its second worker began; return the workers that have not ended in time."""
    port = free_port()
    parent = await start(folder, port)
    try:
        async with asyncio.timeout(SLOWLY):
            while len(workers_of(parent.pid)) < 2 and parent.returncode is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        workers = workers_of(parent.pid)
        await asyncio.sleep(seconds)
    finally:
        with suppress(ProcessLookupError):
            parent.kill()
        await parent.wait()
    assert len(workers) == 2, (folder / "log").read_text()
    deadline = time.monotonic() + SLOWLY
    while any(map(is_running, workers)) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    left = [pid for pid in workers if is_running(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    if not left:
        socket.create_server(("127.0.0.1", port)).close()  # which the workers had taken
    assert "Traceback" not in (folder / "log").read_text()
    return left


async def test_workers_end_when_their_parent_is_killed_at_any_moment_of_its_start(tmp_path: Path) -> None:
    """From the start of the workers until they serve, which takes about as long."""
    assert (await handover("migrate", "up", folder=tmp_path)).exit_code == 0
    folders = [tmp_path / str(number) for number in range(MOMENTS)]
    for folder in folders:
        folder.mkdir()
        shutil.copy(tmp_path / "handover.db", folder / "store.db")
    limit = asyncio.Semaphore(AT_ONCE)

    async def kill_after(seconds: float, folder: Path) -> list[int]:
        async with limit:
            return await kill_when(folder, seconds)

    left = await asyncio.gather(
        *(kill_after(number * SECONDS_TO_SERVE / MOMENTS, folder) for number, folder in enumerate(folders))
    )
    assert left == [[]] * len(folders)


PARENT = """if True:
    import os, subprocess, sys, time
    files = [int(number) for number in sys.argv[1:]]
    command = [sys.executable, "-P", "-m", "interfaces.cli.serving.worker", *sys.argv[1:], str(os.getpid())]
    print(subprocess.Popen(command, pass_fds=files, stdout=subprocess.DEVNULL).pid, flush=True)
    time.sleep(600)
"""
"""A parent that does nothing but start a worker, and so costs next to nothing."""


async def end_of_worker(folder: Path, seconds: float | None) -> None:
    """Kill a worker's parent so long after it started the worker, or when that serves, and see the worker end."""
    listener = socket.create_server(("127.0.0.1", 0))
    ours, theirs = socket.socketpair()
    files = listener.fileno(), theirs.fileno()
    settings = Settings(database_url="memory://", secret_key=SecretStr("x" * 64), _env_file=None)
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, *map(str, files)),
        pass_fds=files,
        cwd=folder,
        env=environment({}) | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert parent.stdin
    assert parent.stdout
    parent.stdin.write(pickle.dumps(settings))  # which the worker inherits
    parent.stdin.close()
    worker = int(await parent.stdout.readline())
    theirs.close()
    listener.close()
    if seconds is None:
        assert await asyncio.to_thread(ours.recv, 1, socket.MSG_PEEK) == b"!"  # left unread
    else:
        await asyncio.sleep(seconds)
    parent.kill()
    ours.close()  # with what is unread in it, if the worker has started: its end is reset
    await parent.wait()
    try:
        async with asyncio.timeout(SLOWLY):
            while is_running(worker):  # noqa: ASYNC110 - it is not our child
                await asyncio.sleep(0.05)
    finally:
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)


async def test_a_worker_ends_although_its_end_of_the_line_is_reset(tmp_path: Path) -> None:
    await end_of_worker(tmp_path, None)


async def test_a_worker_ends_when_its_parent_is_killed_at_any_moment_of_its_start(tmp_path: Path) -> None:
    limit = asyncio.Semaphore(AT_ONCE)

    async def kill_after(seconds: float) -> None:
        async with limit:
            await end_of_worker(tmp_path, seconds)

    await asyncio.gather(*(kill_after(number * SECONDS_TO_SERVE / STARTS) for number in range(STARTS)))


# The folder of metrics


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_the_folder_goes_with_its_server(temporary: Path) -> None:
    with shared_metrics_folder() as (folder, _):
        assert [*temporary.iterdir()] == [folder]
    assert [*temporary.iterdir()] == []


def test_a_folder_that_is_in_use_is_kept_and_one_that_is_not_is_removed(temporary: Path) -> None:
    kept, descriptor = new_locked_folder()
    abandoned, of_a_dead_server = new_locked_folder()
    (abandoned / "counter_1.db").write_bytes(b"1")
    os.close(of_a_dead_server)
    with shared_metrics_folder() as (folder, _):
        assert {*temporary.iterdir()} == {folder, kept}
    os.close(descriptor)


def test_a_link_is_not_followed(temporary: Path) -> None:
    target = temporary / "precious"
    target.mkdir()
    (target / "file").touch()
    (temporary / "handover-metrics-link").symlink_to(target)
    with shared_metrics_folder():
        pass
    assert (target / "file").exists()


def test_the_folder_of_another_user_is_left_alone(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, descriptor = new_locked_folder()
    os.close(descriptor)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert try_lock(folder) is None


def test_a_system_without_a_temporary_folder_is_told_so_in_one_line(temporary: Path) -> None:
    """As in a container whose file system is read-only."""
    temporary.rmdir()
    told = r"^TMPDIR: .* name one in TMPDIR, or set HANDOVER_WORKERS to 1$"
    with pytest.raises(Misconfigured, match=told), shared_metrics_folder():
        pass


async def test_a_killed_server_leaves_no_folder_behind_for_good(tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    os.environ["TMPDIR"], before = str(folder), os.environ.get("TMPDIR")
    try:
        async with served(tmp_path, WORKERS="2") as server:
            workers = workers_of(server.process.pid)
            [in_use] = folder.iterdir()
            await server.kill()
        async with asyncio.timeout(SLOWLY):
            while any(map(is_running, workers)):  # noqa: ASYNC110 - they are not our children
                await asyncio.sleep(0.05)
        assert [*folder.iterdir()] == [in_use]
        async with served(tmp_path, WORKERS="2") as server:
            [other] = folder.iterdir()
            assert other != in_use
            assert await server.stop() == 0
        assert [*folder.iterdir()] == []
    finally:
        os.environ.pop("TMPDIR")
        if before:
            os.environ["TMPDIR"] = before
