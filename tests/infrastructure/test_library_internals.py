"""What Handover uses of libraries without their promising it (decision 0018).

If one of these tests fails after an update, read the module that it names before raising the version bound.
"""

import inspect
import sqlite3
import subprocess
import sys
import threading
from dataclasses import fields
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import aiosqlite
import httptools
import pytest
import uvicorn
from fastapi import APIRouter, Request
from fastapi.dependencies.models import Dependant
from packaging.requirements import Requirement
from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict
from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.ext.asyncio import create_async_engine
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from infrastructure.persistence.sqlalchemy.engines.asyncpg_connections import PostgresDialect
from infrastructure.persistence.sqlalchemy.engines.combined import combine
from infrastructure.persistence.sqlalchemy.engines.compiled import compile_statement
from infrastructure.persistence.sqlalchemy.tables import items, sessions, transfers

BOUNDED = [
    "aiosqlite",
    "dependency-injector",
    "fastapi",
    "httptools",
    "prometheus-client",
    "pytest",
    "python-dotenv",
    "sqlalchemy",
    "uvicorn",
]


@pytest.mark.parametrize("name", BOUNDED)
def test_the_installed_version_is_within_an_upper_bound(name: str) -> None:
    [requirement] = [parsed for parsed in map(Requirement, requires("handover") or []) if parsed.name == name]
    assert any(specifier.operator == "<" for specifier in requirement.specifier)
    assert requirement.specifier.contains(version(name))


@pytest.mark.parametrize("imported", ["dependency_injector.containers", "infrastructure.container"])
def test_dependency_injector_does_without_its_integrations(imported: str) -> None:
    """Used by infrastructure/dependency_injector_core.py; the first case says whether that module is still needed."""
    program = f"import sys, {imported}; print(*{{'fastapi', 'werkzeug'}} & {{*sys.modules}})"
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert ("fastapi" in found) == (imported == "dependency_injector.containers")
    assert ("werkzeug" in found) == (imported == "dependency_injector.containers")


def test_sqlalchemy_compiles_a_statement_without_executing_it() -> None:
    """Used by engines/compiled.py."""
    statement = (
        update(sessions).where(sessions.c.user_id == bindparam("of_user")).values(revoked=True).returning(sessions.c.id)
    )
    compiled = compile_statement(statement, PostgresDialect())  # type: ignore[no-untyped-call]
    assert compiled.sql == (
        "UPDATE sessions SET revoked=$1::BOOLEAN WHERE sessions.user_id = $2::UUID RETURNING sessions.id"
    )
    assert [name for name, _ in compiled.parameters] == ["revoked", "of_user"]
    assert compiled.constants["revoked"] is True
    assert compiled.columns == ["id"]
    assert not compiled.is_select


def test_placeholders_can_be_renumbered() -> None:
    """Used by engines/combined.py."""
    dialect = PostgresDialect()  # type: ignore[no-untyped-call]
    changes = [
        compile_statement(insert(transfers).returning(transfers.c.id), dialect),
        compile_statement(
            update(items).where(items.c.id == bindparam("which")).values(version=1).returning(items.c.id), dialect
        ),
    ]
    sql = combine(changes)
    numbers = [int(part.split("::")[0].rstrip(", )")) for part in sql.replace("$", "\n$").split("\n$")[1:]]
    assert numbers == list(range(1, len(changes[0].parameters) + len(changes[1].parameters) + 1))


async def test_a_pool_without_connections_needs_a_greenlet(tmp_path: Path) -> None:
    """Used by engines/database.py: Pool.connect() works outside a greenlet if the pool has a connection."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'file'}")
    with pytest.raises(MissingGreenlet):
        engine.pool.connect()
    async with engine.connect() as connection:
        await connection.execute(select(func.abs(-1)))
    pooled = engine.pool.connect()
    assert isinstance(pooled.driver_connection, aiosqlite.Connection)
    pooled.close()
    await engine.dispose()


@pytest.mark.parametrize("dialect", [PGDialect_asyncpg, SQLiteDialect_aiosqlite])
def test_dialects_close_connections_by_two_methods(dialect: Any) -> None:
    """Overridden by engines/asyncpg_connections.py and engines/aiosqlite_connections.py."""
    for method in (dialect.do_terminate, dialect.do_close):
        assert [*inspect.signature(method).parameters] == ["self", "dbapi_connection"]


async def test_aiosqlite_has_a_thread_and_a_connection(tmp_path: Path) -> None:
    """Used by engines/aiosqlite_connections.py."""
    connection = aiosqlite.connect(tmp_path / "file")
    assert isinstance(connection._thread, threading.Thread)
    connection._thread.daemon = True
    await connection
    assert isinstance(connection._conn, sqlite3.Connection)
    connection.stop()
    connection._thread.join(10)
    assert not connection._thread.is_alive()
    with pytest.raises(ValueError, match="no active connection"):
        assert connection._conn


def test_fastapi_describes_dependencies() -> None:
    """Used by routing/direct_calls.py."""
    used = {
        "call",
        "name",
        "dependencies",
        "request_param_name",
        "path_params",
        "query_params",
        "header_params",
        "cookie_params",
        "body_params",
    }
    assert used <= {field.name for field in fields(Dependant)}
    router = APIRouter()

    @router.get("/items/{item_id}")
    async def read(item_id: str, request: Request, limit: int = 1) -> None: ...

    [route] = router.routes
    dependant: Dependant = route.dependant  # type: ignore[attr-defined]
    assert dependant.call is read
    assert dependant.request_param_name == "request"
    assert [parameter.name for parameter in dependant.path_params] == ["item_id"]
    assert [parameter.name for parameter in dependant.query_params] == ["limit"]


def test_uvicorn_parses_requests_by_callbacks() -> None:
    """Overridden by serving/protocol.py."""
    overridden = {
        "connection_made": ["self", "transport"],
        "data_received": ["self", "data"],
        "on_message_begin": ["self"],
        "on_headers_complete": ["self"],
        "on_body": ["self", "body"],
        "on_message_complete": ["self"],
        "on_response_complete": ["self"],
        "pause_writing": ["self"],
        "resume_writing": ["self"],
        "send_400_response": ["self", "msg"],
        "shutdown": ["self"],
        "_unset_keepalive_if_required": ["self"],  # called, not overridden
    }
    for name, parameters in overridden.items():
        assert [*inspect.signature(getattr(HttpToolsProtocol, name)).parameters] == parameters, name
    protocol = inspect.getsource(HttpToolsProtocol.__init__)
    for attribute in ("connections", "pipeline", "cycle", "loop", "transport", "headers", "logger"):
        assert f"self.{attribute}" in protocol
    assert "self.parser = httptools.HttpRequestParser(self)" in protocol
    assert "self.parser.set_dangerous_leniencies(lenient_data_after_close=True)" in protocol
    received = inspect.getsource(HttpToolsProtocol.data_received)
    assert "self._unset_keepalive_if_required()\n\n        try:\n            self.parser.feed_data(data)\n" in received
    assert "self.url +=" in inspect.getsource(HttpToolsProtocol.on_url)
    assert "on_response=self.on_response_complete" in inspect.getsource(HttpToolsProtocol.on_headers_complete)
    cycle = inspect.getsource(RequestResponseCycle.__init__)
    for attribute in ("self.response_started", "self.response_complete", "self.more_body"):
        assert attribute in cycle


def test_httptools_says_where_another_protocol_begins() -> None:
    """Used by serving/protocol.py: the callbacks come before the exception, and know already that it will come."""
    called: list[tuple[str, bool]] = []

    class Callbacks:
        def on_headers_complete(self) -> None:
            called.append(("head", parser.should_upgrade()))

        def on_message_complete(self) -> None:
            called.append(("end", parser.should_upgrade()))

    parser = httptools.HttpRequestParser(Callbacks())
    head = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: 4\r\n\r\n"
    with pytest.raises(httptools.HttpParserUpgrade) as asked:
        parser.feed_data(memoryview(head + b"body"))
    assert asked.value.args == (len(head),)
    assert called == [("head", True), ("end", True)]
    assert (parser.get_method(), parser.get_http_version()) == (b"GET", "1.1")


def test_uvicorn_starts_and_stops_by_methods() -> None:
    """Overridden by serving/server.py."""
    overridden = {
        "startup": ["self", "sockets"],
        "shutdown": ["self", "sockets"],
        "on_tick": ["self", "counter"],
        "handle_exit": ["self", "sig", "frame"],
        "capture_signals": ["self"],
    }
    for name, parameters in overridden.items():
        assert [*inspect.signature(getattr(uvicorn.Server, name)).parameters] == parameters, name
    main_loop = inspect.getsource(uvicorn.Server.main_loop)
    assert "asyncio.sleep(0.1)" in main_loop, "TICKS_PER_SECOND is 10"


def test_prometheus_client_stores_shared_metrics_in_files_of_a_class(tmp_path: Path) -> None:
    """Replaced by interfaces/http/metrics_files.py."""
    assert "= MmapedDict(filename)" in inspect.getsource(values.MultiProcessValue)
    for name, parameters in {
        "__init__": ["self", "filename", "read_mode"],
        "read_value": ["self", "key"],
        "write_value": ["self", "key", "value", "timestamp"],
        "close": ["self"],
    }.items():
        assert [*inspect.signature(getattr(MmapedDict, name)).parameters] == parameters, name
    initial = 64 * 1024
    path = tmp_path / "counter_1.db"
    path.write_bytes(bytes(initial))
    file: Any = MmapedDict(str(path))  # type: ignore[no-untyped-call]
    assert (file._used, file._capacity, file._positions) == (8, initial, {})
    number = 0
    while True:
        key, used = f"{'k' * (number % 9 + 1)}{number}", file._used
        if used + len(key) + 32 > initial:
            break
        file.write_value(key, 1.0, 2.0)
        assert used + len(key) < file._used <= used + len(key) + 32, "what AllocatedFile._grow() has to allow for"
        number += 1
    assert file.read_value("k0") == (1.0, 2.0)
    assert "k0" in file._positions
    assert (file._capacity, path.stat().st_size) == (initial, initial)
    file.close()
    assert not file._f
