"""What `handover serve` refuses to work with: one line that says what to do, exit code 1, and nothing secret."""

import asyncio
import errno
import hashlib
import os
import secrets
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from application.errors import Unavailable
from infrastructure.persistence.sqlalchemy.engines.sqlite import why_not_opened
from infrastructure.security.secret_key import weakness
from infrastructure.settings import Misconfigured, Settings
from interfaces.cli import main
from interfaces.cli.serving.startup import prepare_store
from tests.support.installed import install
from tests.support.served import SECONDS_TO_RUN, Run, environment, handover
from tests.support.servers import mongodb

GOOD_SECRET = hashlib.sha256(b"tests").hexdigest()  # names of tests have it, and must not differ
PASSWORD = "sesame-opens"


def refused(run: Run, *words: str) -> bool:
    assert run.exit_code == 1, run.err
    assert run.err.startswith("handover: ")
    assert run.err.count("\n") == 1, run.err
    assert run.out == ""
    for word in words:
        assert word in run.err
    return True


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"PORT": "9" * 5000}, ["HANDOVER_PORT: must be a whole number\n"]),
        ({"PORT": "eighty"}, ["HANDOVER_PORT: must be a whole number\n"]),
        (
            {"PORT": "70000", "WORKERS": "0", "DRAIN_SECONDS": "soon", "MIGRATE_ON_START": "maybe"},
            [
                "HANDOVER_PORT: must be at most 65535; ",
                "HANDOVER_WORKERS: must be at least 1; ",
                "HANDOVER_DRAIN_SECONDS: must be a number; ",
                "HANDOVER_MIGRATE_ON_START: must be true or false\n",
            ],
        ),
        ({"ENVIRONMENT": "prod"}, ["HANDOVER_ENVIRONMENT: must be 'development' or 'production'"]),
        ({"TRUSTED_PROXIES": "::1, 10.0.0.1/8"}, ["HANDOVER_TRUSTED_PROXIES: ", "10.0.0.0/8, or the address alone"]),
        ({"HOST": "192.0.2.1"}, ["HANDOVER_HOST"]),
        ({"TRUSTED_PROXIES": "10.0.0.0/8, proxy"}, ["HANDOVER_TRUSTED_PROXIES"]),
        ({"ISOLATION": "REPEATABLE READ"}, ["HANDOVER_ISOLATION", "SERIALIZABLE"]),
        ({"TRUSTED_PROXIES": "*"}, ["HANDOVER_TRUSTED_PROXIES"]),
        ({"TRUSTED_PROXIES": "10.0.0.0/8, 0.0.0.0/0"}, ["HANDOVER_TRUSTED_PROXIES", "everybody"]),
        ({"TRUSTED_PROXIES": "10.0.0.0/8, ::/0"}, ["HANDOVER_TRUSTED_PROXIES", "everybody"]),
        ({"DATABASE_URL": f"oracle://scott:{PASSWORD}@host/x"}, ["HANDOVER_DATABASE_URL", "postgresql://"]),
        ({"DATABASE_URL": f"postgresql://u:{PASSWORD}@[::1/x"}, ["HANDOVER_DATABASE_URL"]),
        ({"DATABASE_URL": f"postgresql://u:{PASSWORD}@host:port/x"}, ["HANDOVER_DATABASE_URL"]),
        (
            {"DATABASE_URL": f"postgresql://u:{PASSWORD}@127.0.0.1:1/x"},
            ["HANDOVER_DATABASE_URL", "(ConnectionRefusedError: "],
        ),
        ({"DATABASE_URL": f"mongodb://u:{PASSWORD}@host:port/x"}, ["HANDOVER_DATABASE_URL"]),
        (
            {"DATABASE_URL": f"mongodb://u:{PASSWORD}@127.0.0.1:1/x"},
            ["HANDOVER_DATABASE_URL", "(127.0.0.1:1: [Errno 111]"],
        ),
        ({"DATABASE_URL": "sqlite:///no/such/folder/x.db"}, ["HANDOVER_DATABASE_URL", "no/such/folder"]),
        ({"DATABASE_URL": "memory://", "WORKERS": "2"}, ["HANDOVER_WORKERS"]),
        ({"DATABASE_URL": "memory://", "PERSISTENCE": "papyrus"}, ["HANDOVER_PERSISTENCE", "sqlalchemy"]),
        (
            {"PERSISTENCE": "beanie"},
            ["HANDOVER_PERSISTENCE", "beanie is for mongodb://", "HANDOVER_DATABASE_URL", "sqlite://"],
        ),
        ({"PERSISTENCE": "memory"}, ["HANDOVER_PERSISTENCE", "memory is for memory://", "sqlite://"]),
        (
            {"DATABASE_URL": f"mongodb://u:{PASSWORD}@h/x", "PERSISTENCE": "sqlmodel"},
            ["for sqlite:// and postgresql://"],
        ),
        ({"MIGRATE_ON_START": "false"}, ["handover migrate up", "is needed"]),
        ({"DATABASE_URL": f"postgres://u:{PASSWORD}@h/x"}, ["did you mean postgresql://?"]),
        ({"SECRET_KEY": GOOD_SECRET, "SECRET_KEY_PREVIOUS": GOOD_SECRET}, ["HANDOVER_SECRET_KEY_PREVIOUS", "same"]),
        ({"CORS_ORIGINS": "https://a.example, b.example"}, ["HANDOVER_CORS_ORIGINS", "https://example.org"]),
        ({"CORS_ORIGINS": "https://a.example/"}, ["HANDOVER_CORS_ORIGINS", "without a path"]),
    ],
    ids=lambda value: ",".join(f"{name}={text}" for name, text in value.items()) if isinstance(value, dict) else "",
)
async def test_settings_that_cannot_be_worked_with(settings: dict[str, str], words: list[str], tmp_path: Path) -> None:
    run = await handover("serve", folder=tmp_path, **settings)
    assert refused(run, *words)
    assert PASSWORD not in run.err


@pytest.mark.parametrize("scheme", ["postgresql", "mongodb", "mongodb+srv"])
@pytest.mark.parametrize("character", "/?#")
@pytest.mark.parametrize("command", ["serve", "settings"])
async def test_no_part_of_a_password_that_is_not_escaped_is_shown(
    command: str, character: str, scheme: str, tmp_path: Path
) -> None:
    url = f"{scheme}://user:sesame{character}opens@host:5432/x"
    run = await handover(command, folder=tmp_path, DATABASE_URL=url)
    assert refused(run, "HANDOVER_DATABASE_URL", "%40 %3A %2F %25 %23 %3F")
    assert not any(part in run.err for part in ("sesame", "opens"))


async def test_no_part_of_a_password_that_no_host_could_have_is_shown(tmp_path: Path) -> None:
    """Python's message about characters such as U+2100, which stands for `a/c`, has the whole authority."""
    run = await handover("serve", folder=tmp_path, DATABASE_URL="postgresql://user:sesame\u2100opens@host/x")
    assert refused(run, "HANDOVER_DATABASE_URL")
    assert not any(part in run.err for part in ("sesame", "opens"))


@pytest.mark.parametrize("name", ["shop#1.db", "shop.db?mode=ro", "shop.db?", "shop.db#", "sh\top.db", "sh\nop.db"])
async def test_a_sqlite_url_of_which_a_part_would_be_ignored(name: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/{name}"
    run = await handover("serve", folder=tmp_path, DATABASE_URL=url)
    assert refused(run, "HANDOVER_DATABASE_URL: must be sqlite:///file", "cannot be in the name of the file")
    for source, target, word in ("sqlite:///x.db", url, "TARGET_URL: "), (url, "sqlite:///x.db", "SOURCE_URL: "):
        run = await handover("copy", source, target, folder=tmp_path)
        assert refused(run, f"{word}must be sqlite:///file")
    assert os.listdir(tmp_path) == []


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert refused(await handover("serve", folder=tmp_path, PORT=port), "HANDOVER_PORT", port)
    assert os.listdir(tmp_path) == []  # nothing was migrated before it was seen


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "letter.db").write_text("Dear reader, this is not a database. " * 50)
    run = await handover("serve", folder=tmp_path, DATABASE_URL="sqlite:///letter.db")
    assert refused(run, "HANDOVER_DATABASE_URL", "letter.db")


async def test_a_standalone_mongodb(tmp_path: Path) -> None:
    with mongodb(standalone=True) as server:
        assert refused(await handover("serve", folder=tmp_path, DATABASE_URL=server.url), "--replSet")


async def test_a_package_that_is_not_installed(tmp_path: Path) -> None:
    # As if it were not: found first, and failing as a missing one does.
    (tmp_path / "sqlmodel.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'sqlmodel'\", name='sqlmodel')\n"
    )
    process = await asyncio.create_subprocess_exec(  # not forked from one that may have imported it
        *(sys.executable, "-m", "interfaces.cli.main", "serve"),
        cwd=tmp_path,
        env=environment({"PORT": "0", "PERSISTENCE": "sqlmodel"}) | {"PYTHONPATH": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(SECONDS_TO_RUN):
        out, err = await process.communicate()
    run = Run(process.returncode or 0, out.decode(), err.decode())
    assert refused(run, "HANDOVER_PERSISTENCE", "sqlmodel", "pip install 'handover[sqlmodel]'")


async def test_a_file_that_this_user_may_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run as root, who may write everything."""
    (tmp_path / "store.db").touch()
    settings = Settings(database_url=f"sqlite:///{tmp_path}/store.db", _env_file=None)
    for readable_only in tmp_path, tmp_path / "store.db":
        monkeypatch.setattr(os, "access", lambda path, mode, only=readable_only: path != only or mode == os.F_OK)
        with pytest.raises(Unavailable, match=f"{tmp_path}/store.db cannot be written: give this user the right"):
            await prepare_store(settings)


async def test_a_folder_in_place_of_a_file_is_told_also_to_a_user_who_may_not_write_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path or mode == os.F_OK)
    with pytest.raises(Unavailable, match=f"{tmp_path}/data is a folder: name a file in HANDOVER_DATABASE_URL"):
        await prepare_store(Settings(database_url=f"sqlite:///{tmp_path}/data", _env_file=None))


@pytest.mark.parametrize("command", ["serve", "migrate up", "doctor", "copy sqlite:////tmp sqlite:///x.db"])
async def test_a_folder_in_place_of_a_file(command: str, tmp_path: Path) -> None:
    run = await handover(*command.split(), folder=tmp_path, DATABASE_URL="sqlite:////tmp")
    name = "SOURCE_URL" if "copy" in command else "HANDOVER_DATABASE_URL"
    assert refused(run, f"the SQLite file /tmp is a folder: name a file in {name}\n")


def test_a_folder_that_this_user_may_not_enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", refuse)
    assert "give this user the right to read and write it and its folder" in why_not_opened(tmp_path / "store.db")


def test_a_current_folder_that_is_gone(tmp_path: Path) -> None:
    command = f"mkdir gone && cd gone && rmdir ../gone && {sys.executable} -m handover"
    for word in "serve", "settings":
        ended = subprocess.run(
            f"{command} {word}",
            shell=True,
            cwd=tmp_path,
            env=environment({}),
            capture_output=True,
            text=True,
            check=False,
        )
        run = Run(ended.returncode, ended.stdout, ended.stderr)
        assert refused(run, "the current folder no longer exists")


async def test_a_settings_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"HANDOVER_PORT=\xff\xfe\n")
    assert refused(await handover("serve", folder=tmp_path), ".env")


async def test_production_wants_a_secret(tmp_path: Path) -> None:
    assert refused(await handover("serve", folder=tmp_path, ENVIRONMENT="production"), "HANDOVER_SECRET_KEY")


@pytest.mark.parametrize("name", ["SECRET_KEY", "SECRET_KEY_PREVIOUS"])
async def test_production_wants_a_good_secret_and_does_not_show_it(name: str, tmp_path: Path) -> None:
    secret = "Hunter2-" * 3
    settings = {"SECRET_KEY": GOOD_SECRET} | {name: secret}
    run = await handover("serve", folder=tmp_path, ENVIRONMENT="production", **settings)
    assert refused(run, f"HANDOVER_{name}:")
    assert secret not in run.err
    assert GOOD_SECRET not in run.err


@pytest.mark.parametrize(
    "secret",
    [
        *("Hunter2-" * 3, "é" * 16, "x" * 64, "change-me-" * 4, "my-very-Secret-key-0123456789-abcdef", "12" * 16),
        *("012345678" * 4, "abcabcabd" * 8),
    ],
)
def test_what_is_no_secret(secret: str) -> None:
    fault = weakness(secret)
    assert fault
    assert secret not in fault


@pytest.mark.parametrize(
    "new", [lambda: secrets.token_hex(32), lambda: secrets.token_urlsafe(32), lambda: secrets.token_hex(16)]
)
def test_what_is_a_secret(new: Callable[[], str]) -> None:
    secret = new()
    assert weakness(secret) is None


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"DATABASE_URL": "memory://"}, "HANDOVER_DATABASE_URL"),
        ({"CORS_ORIGINS": "https://handover.example,*"}, "HANDOVER_CORS_ORIGINS"),
        ({"LOG_LEVEL": "debug"}, "HANDOVER_LOG_LEVEL"),
        ({}, "handover migrate up"),
    ],
)
async def test_production_refuses(settings: dict[str, str], word: str, tmp_path: Path) -> None:
    run = await handover("serve", folder=tmp_path, ENVIRONMENT="production", SECRET_KEY=GOOD_SECRET, **settings)
    assert refused(run, word)
    assert not (tmp_path / "handover.db.secret").exists()


async def test_a_folder_where_no_secret_can_be_kept(tmp_path: Path) -> None:
    secret = tmp_path / "handover.db.secret"
    secret.mkdir()
    assert refused(await handover("serve", folder=tmp_path), "HANDOVER_SECRET_KEY", str(secret))
    secret.rmdir()
    secret.touch()
    assert refused(await handover("serve", folder=tmp_path), "HANDOVER_SECRET_KEY", str(secret))
    assert stat.S_ISREG(secret.stat().st_mode)


@pytest.mark.parametrize("command", ["serve", "doctor", "migrate up", "migrate down"])
@pytest.mark.parametrize("migrates", ["true", "false"])
async def test_a_store_that_a_newer_version_has_migrated(command: str, migrates: str, tmp_path: Path) -> None:
    assert (await handover("migrate", "up", folder=tmp_path)).exit_code == 0
    with closing(sqlite3.connect(tmp_path / "handover.db", isolation_level=None)) as file:
        file.execute("UPDATE alembic_version SET version_num = '9999'")
    run = await handover(*command.split(), folder=tmp_path, MIGRATE_ON_START=migrates)
    assert refused(run, "9999", "use the version of Handover that has migrated it")


BROKEN_ADAPTER = """
from infrastructure.persistence import memory


class Broken(memory.MemoryStore):
    def __init__(self):
        super().__init__()
        self.capabilities = replace(self.capabilities, durable=True)
        {in_the_factory}

    async def open(self):
        {when_opened}

    async def schema(self):
        {when_asked}
        return await super().schema()


def open_store(settings):
    return Broken()
"""
COMMANDS_WITH_A_STORE = ["serve", "doctor", "purge", "users list", "migrate up", "copy broken:// sqlite:///copy.db"]


@pytest.mark.parametrize("command", COMMANDS_WITH_A_STORE)
@pytest.mark.parametrize("place", ["in_the_factory", "when_opened", "when_asked"])
async def test_a_broken_adapter_is_named_in_one_line(
    place: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = dict.fromkeys(("in_the_factory", "when_opened", "when_asked"), "pass") | {place: '{}["key"]'}
    module = "from dataclasses import replace\n" + BROKEN_ADAPTER.format(**places)
    install(tmp_path, "broken", module)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = await handover(*command.split(), folder=tmp_path, DATABASE_URL="broken://")
    assert (run.exit_code, run.out) == (1, ""), run
    line = module.splitlines().index(next(line for line in module.splitlines() if '{}["key"]' in line)) + 1
    assert run.err == (
        f"handover: the adapter broken fails: KeyError: 'key' (broken.py, line {line}); `handover certify` says what it"
        " lacks\n"
    )


async def test_an_incomplete_adapter_does_not_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "broken", INCOMPLETE_ADAPTER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = await handover("serve", folder=tmp_path, DATABASE_URL="broken://")
    assert (run.exit_code, run.out, run.err.count("\n")) == (1, "", 1), run
    assert run.err.startswith(
        "handover: the adapter broken is not complete: UserReader.find_by_login is missing, UserReader.page is missing,"
        " Store.tasks is missing; what each one"
    )
    for command in ("purge", "users list"):
        run = await handover(*command.split(), folder=tmp_path, DATABASE_URL="broken://")
        assert run.exit_code == 1
        assert run.err.startswith("handover: the adapter broken fails: AttributeError: ")
        assert run.err.count("\n") == 1


INCOMPLETE_ADAPTER = """
from dataclasses import replace
from types import SimpleNamespace

from infrastructure.persistence import memory


def open_store(settings):
    store = memory.open_store(settings)
    store.capabilities = replace(store.capabilities, durable=True)
    store.users = SimpleNamespace(get=store.users.get)
    del store.tasks
    return store
"""


@pytest.mark.parametrize(("number", "remedy"), [(errno.EMFILE, "ulimit -n"), (errno.EAGAIN, "ulimit -u")])
def test_a_limit_of_the_system_is_named(
    number: int, remedy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("interfaces.cli.commands.app", fail)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # which run() replaces
    monkeypatch.setattr(main, "lose_what_stderr_cannot_take", lambda: None)  # as pytest has replaced stderr itself
    with pytest.raises(SystemExit) as end:
        main.run()
    assert end.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith("handover: ")
    assert (message.count("\n"), remedy in message) == (1, True)


@pytest.mark.parametrize(
    "option",
    ["sslpassword", "tlsCertificateKeyFilePassword", "authMechanismProperties", "my_secret", "access_token", "sslkey"],
)
def test_secret_options_of_the_url_are_masked(option: str) -> None:
    url = f"mongodb://u:{PASSWORD}@h/x?a=1&{option}=opens&b=2"
    assert Settings(database_url=url, _env_file=None).masked_url == f"mongodb://u:***@h/x?a=1&{option}=***&b=2"


def test_a_kept_key_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.db.secret").write_text("x" * 31)
    with pytest.raises(Misconfigured, match="holds none"):
        Settings(database_url=f"sqlite:///{tmp_path}/x.db", _env_file=None).secret()


def test_how_many_may_sign_up_from_one_address_within_15_minutes() -> None:
    assert Settings(environment="production", _env_file=None).sign_up_limit == 15
    assert Settings(_env_file=None).sign_up_limit is None
