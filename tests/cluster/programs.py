"""The programs around a cluster of PostgreSQL servers, each with a temporary folder and free ports of its own."""

import json
import os
import shutil
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.support import guard
from tests.support.servers import Postgres, Server, free_port

DEBIAN_PACKAGES = {"etcd": "etcd-server", "patroni": "patroni", "haproxy": "haproxy", "pgbouncer": "pgbouncer"}


def find(program: str) -> str:
    """Its path, also where an ordinary user's PATH does not lead; empty if it is not installed."""
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or ""


class _Program(Server):
    """A program that listens on its port when it is ready. It keeps nothing that a SIGKILL would harm."""

    program_variable = url_variable = "PATH"  # no variable of its own names it
    _last_signal = signal.SIGKILL

    def __init__(self) -> None:
        super().__init__(None)

    def _ready(self) -> bool:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o644)
        return path


class Etcd(_Program):
    name = "etcd"

    def _create(self) -> None:
        self.url = f"http://127.0.0.1:{self.port}"
        peers = f"http://127.0.0.1:{free_port()}"
        self._command = [find("etcd"), "--data-dir", self.folder / "data", "--unsafe-no-fsync", "--logger", "zap"]
        for names, url in (("client", self.url), ("peer", peers)):
            self._command += [f"--listen-{names}-urls", url]
        self._command += ["--advertise-client-urls", self.url, "--initial-advertise-peer-urls", peers]
        self._command += ["--initial-cluster", f"default={peers}"]


class PgBouncer(_Program):
    """In transaction mode, for the role `handover`, with fewer connections than Handover's pool has.

    Its settings are those of docs/performance.md.
    """

    name = "PgBouncer"

    def __init__(self, postgres: Postgres) -> None:
        super().__init__()
        self._postgres = postgres

    def _create(self) -> None:
        self._leave_root()
        users = self._write("users", '"handover" ""\n')
        file = self._write(
            "pgbouncer.ini",
            f"""[databases]
handover = host=127.0.0.1 port={self._postgres.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = 5
max_client_conn = 200
ignore_startup_parameters = jit, statement_timeout, idle_in_transaction_session_timeout
""",
        )
        self.url = f"postgresql://handover@127.0.0.1:{self.port}/handover?statement_cache_size=0"
        self._command = [find("pgbouncer"), file]


class Patroni(Postgres):
    """A PostgreSQL server that Patroni starts, and makes a primary or a standby as etcd says.

    The settings let a lost primary be replaced after 15 seconds; by default it takes thirty. `port` and `url` are
    PostgreSQL's.
    """

    name = "Patroni"

    def __init__(self, name: str, etcd: Etcd) -> None:
        super().__init__([])
        self.url = ""  # never a server that runs already
        self.member = name
        self.control_port = free_port()
        self._etcd = etcd

    def _create(self) -> None:
        programs = self._usable_programs()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        settings = dict(setting.split("=") for setting in self._settings)
        configuration = {
            "scope": "handover",
            "name": self.member,
            "etcd3": {"host": self._etcd.url.removeprefix("http://")},
            "restapi": {
                "listen": f"127.0.0.1:{self.control_port}",
                "connect_address": f"127.0.0.1:{self.control_port}",
            },
            "bootstrap": {
                "dcs": {
                    "ttl": 15,
                    "loop_wait": 1,
                    "retry_timeout": 5,
                    "synchronous_mode": True,
                    "postgresql": {"use_pg_rewind": True, "parameters": settings | {"fsync": "on"}},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, {"auth": "trust"}, "no-sync"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "bin_dir": str(programs),
                "data_dir": str(self._data),
                "pgpass": str(self.folder / "pgpass"),
                "authentication": {"superuser": {"username": "postgres"}, "replication": {"username": "postgres"}},
                "parameters": {"unix_socket_directories": ""},
                "pg_hba": ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"],
            },
        }
        file = self.folder / "patroni.json"  # YAML is a superset of JSON
        file.write_text(json.dumps(configuration))
        file.chmod(0o644)
        self._command = [find("patroni"), file]

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def state(self) -> dict[str, Any]:
        """What it says of itself; nothing if it does not answer."""
        connection = HTTPConnection("127.0.0.1", self.control_port, timeout=2)
        try:
            connection.request("GET", "/patroni")
            state: dict[str, Any] = json.load(connection.getresponse())
        except (OSError, ValueError):
            return {}
        finally:
            connection.close()
        return state

    def _ready(self) -> bool:
        """Whether it answers; its database may take some seconds more."""
        return bool(self.state())

    def _end(self, number: signal.Signals) -> None:
        """Patroni and its PostgreSQL, which is no child of it."""
        postmaster = 0
        with suppress(OSError, ValueError):
            postmaster = int((self._data / "postmaster.pid").read_text().split()[0])
        super()._end(signal.SIGKILL)  # or it would stop PostgreSQL in its own time
        if postmaster and guard.alive({postmaster}):
            guard.end(postmaster, number)


class HAProxy(_Program):
    """Passes connections on to the member that is the primary, which it asks twice a second."""

    name = "HAProxy"

    def __init__(self, members: Sequence[Patroni]) -> None:
        super().__init__()
        self._members = members

    def _create(self) -> None:
        servers = "\n".join(
            f"    server {member.member} 127.0.0.1:{member.port} check port {member.control_port}"
            for member in self._members
        )
        file = self._write(
            "haproxy.cfg",
            f"""defaults
    mode tcp
    timeout connect 2s
    timeout client 1h
    timeout server 1h
listen primary
    bind 127.0.0.1:{self.port}
    option httpchk OPTIONS /primary
    http-check expect status 200
    default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
{servers}
""",
        )
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self._command = [find("haproxy"), "-db", "-f", file]
