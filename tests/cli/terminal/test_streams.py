"""Output on a terminal and in a pipe; closed streams, readers that end early, and Ctrl+C."""

import asyncio
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from infrastructure.persistence import sqlalchemy
from interfaces.testing.builders import a_user
from tests.support.engines import settings_for
from tests.support.served import SECONDS_TO_RUN, Forked, environment, handover

USERS = 300
LONG_NAME = "n" * 50
COMMAND = f"{sys.executable} -m interfaces.cli.main"


@pytest.fixture(scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("accounts")
    store = sqlalchemy.open_store(settings_for(f"sqlite:///{folder}/handover.db"))
    await store.open()
    await store.upgrade()
    names = [LONG_NAME, *(f"user-{number}" for number in range(1, USERS))]
    await store.stream.write([a_user(username=name) for name in names])
    await store.close()
    return folder


async def run_in_terminal(folder: Path, *words: str, columns: int = 80, **given: str) -> str:
    """Run the command in a terminal of its own; return what the terminal shows. It must be done."""
    keyboard, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    variables = {k: v for k, v in environment({}).items() if k not in {"COLUMNS", "NO_COLOR", "FORCE_COLOR"}}
    device = Path(os.ttyname(terminal))
    process = await Forked.start(words, folder, variables | {"TERM": "xterm-256color"} | given, device, device, device)
    screen = b""
    async with asyncio.timeout(SECONDS_TO_RUN):
        while process.returncode is None or select.select([keyboard], [], [], 0)[0]:
            if select.select([keyboard], [], [], 0.01)[0]:
                screen += os.read(keyboard, 65536)
            await asyncio.sleep(0)
    os.close(keyboard)
    os.close(terminal)
    assert process.returncode == 0, screen.decode()
    return screen.decode()


async def test_a_table_on_a_terminal_loses_nothing_where_it_is_narrow(folder: Path) -> None:
    wide = await run_in_terminal(folder, "users", "list", columns=200)
    assert f" {LONG_NAME} " in wide
    assert wide.count("E-mail address") == USERS / 100  # a table per page
    narrow = await run_in_terminal(folder, "users", "list", columns=80)
    assert max(map(len, narrow.splitlines())) <= 80
    cells = [line[: line.index(" ", 1)].strip() for line in narrow.splitlines() if re.match(r" ?n", line)]
    assert "".join(cells) == LONG_NAME
    assert "…" not in narrow


async def test_no_color(folder: Path) -> None:
    words = ("users", "deactivate", "user-7")
    assert "\x1b[" in await run_in_terminal(folder, *words)  # the line of the log
    assert "\x1b[" not in await run_in_terminal(folder, *words, NO_COLOR="1")
    assert "\x1b[" not in await run_in_terminal(folder, "settings", NO_COLOR="1")


async def test_plain_lines_in_a_pipe(folder: Path) -> None:
    run = await handover("users", "list", folder=folder)
    assert len(run.out.splitlines()) == USERS
    assert "\x1b" not in run.out
    assert "Username" not in run.out


@pytest.mark.parametrize("words", [["users", "list"], ["users", "list", "--json"], ["settings"]])
async def test_a_reader_that_ends_early(words: list[str], folder: Path, tmp_path: Path) -> None:
    """The command ends as `cat` would, however much it had to say."""
    pipe, err = tmp_path / "pipe", tmp_path / "err"
    os.mkfifo(pipe)
    process = await Forked.start(words, folder, environment({}), Path(os.devnull), pipe, err)
    reader = await asyncio.to_thread(os.open, pipe, os.O_RDONLY)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)  # far less than there is to say of all users
    if words != ["settings"]:  # whose output fits into the pipe, so that it is written at the end of the process
        assert os.read(reader, 10)
    os.close(reader)
    async with asyncio.timeout(SECONDS_TO_RUN):
        assert await process.wait() == -signal.SIGPIPE
    assert err.read_text() == ""


async def test_a_full_disk(folder: Path, tmp_path: Path) -> None:
    for words in (["settings"], ["users", "list"]):
        process = await Forked.start(
            words, folder, environment({}), Path(os.devnull), Path("/dev/full"), tmp_path / "err"
        )
        assert await process.wait() == 1
    one = "handover: not all of the output could be written: no space left on the device\n"
    assert (tmp_path / "err").read_text() == one * 2


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("users create bob bob@example.org <&-", (1, "", "handover: password: 8 to 128 characters\n")),
        ("users list >&-", (0, "", "")),
        ("users activate nobody 2>&-", (1, "", "")),
    ],
)
def test_streams_that_are_closed(command: str, expected: tuple[int, str, str], folder: Path) -> None:
    run = subprocess.run(
        ["sh", "-c", f"exec {COMMAND} {command}"],
        cwd=folder,
        env=environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == expected


@pytest.mark.parametrize("key", [b"\x03", b"\x04"], ids=["Ctrl+C", "Ctrl+D"])
async def test_giving_up_at_the_password_leaves_the_terminal_as_it_was(key: bytes, folder: Path) -> None:
    """Without cleanup, the terminal would go on hiding what is typed."""
    keyboard, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    process = await asyncio.create_subprocess_exec(
        *("setsid", "--ctty", *COMMAND.split(), "users", "create", "bob", "bob@example.org"),
        cwd=folder,
        env=environment({}),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    screen = b""
    async with asyncio.timeout(SECONDS_TO_RUN):
        while b"Password: " not in screen:
            screen += await asyncio.to_thread(os.read, keyboard, 1024)
        while termios.tcgetattr(terminal)[3] & termios.ECHO:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
        os.write(keyboard, key)
        await process.wait()
    os.set_blocking(keyboard, False)
    screen += os.read(keyboard, 65536)
    assert process.returncode == -signal.SIGINT
    assert screen.decode().splitlines() == ["Password: ", "handover: interrupted: no account was created"]
    assert termios.tcgetattr(terminal) == before
    os.close(keyboard)
    os.close(terminal)
