"""A server whose log cannot be written answers as with a log, and stops as with a log."""

import asyncio
import json
import os
import resource
import signal
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.faults.checks import FULL
from tests.support.served import SECONDS_TO_RUN, STARTED, Forked, Served, environment, served

MEGABYTES = 4 * 1024 * 1024
"""The size of the log at which it cannot grow any more; the other files of a server stay smaller."""
ACCOUNT = {"username": "ann", "password": "correct horse battery"}
BODY = b'{"email": "eve@example.org", "username": "eve", "password": "correct horse battery"}'
SETTINGS = {"DRAIN_SECONDS": "0.5", "PURGE_INTERVAL": "0"}


async def answers_as_with_a_log(server: Served, database: Path) -> None:
    async with server.client() as http:
        person = ACCOUNT | {"email": "ann@example.org"}
        assert (await http.post("/users", json=person)).status_code == 201
        assert (await http.post("/users", json=person)).status_code == 409
        assert (await http.post("/auth/token", data=ACCOUNT)).status_code == 200
        assert (await http.post("/auth/token", data=ACCOUNT | {"password": "incorrect"})).status_code == 401
        assert (await http.get("/items")).status_code == 401
        assert (await http.get("/health/live")).status_code == 200
        with closing(sqlite3.connect(database)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            answer = await http.post("/users", json=person | {"username": "bob", "email": "bob@example.org"})
            assert answer.status_code == 503
            assert answer.json()["type"].endswith("busy")
        async with asyncio.timeout(SECONDS_TO_RUN):
            while "\nhandover_lost_log_lines_total 0" in (await http.get("/metrics")).text:  # noqa: ASYNC110
                await asyncio.sleep(0.1)  # it is counted once a second


async def stops_as_with_a_log(server: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"POST /users HTTP/1.1\r\nhost: handover\r\ncontent-type: application/json\r\ncontent-length: {len(BODY)}"
    writer.write(head.encode() + b"\r\n\r\n" + BODY[:20])
    await writer.drain()
    async with server.client() as http:  # so that the bytes have arrived
        assert (await http.get("/health/ready")).status_code == 200
    server.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(SECONDS_TO_RUN):
        with suppress(ConnectionError):
            while True:
                _, other = await asyncio.open_connection("127.0.0.1", server.port)
                other.close()
                await asyncio.sleep(0.05)
    writer.write(BODY[20:])
    assert (await reader.read()).startswith(b"HTTP/1.1 201 ")
    writer.close()
    assert await server.wait() == 0


@pytest.mark.parametrize("workers", ["1", "2"] if FULL else ["2"])
async def test_the_reader_of_the_log_has_ended(workers: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    given = environment(SETTINGS | {"PORT": "0", "WORKERS": workers})
    process = await Forked.start(["serve"], tmp_path, given, Path(os.devnull), pipe, pipe)
    try:
        reader = await asyncio.to_thread(os.open, pipe, os.O_RDONLY)
        said = b""
        while not (found := STARTED.search(said.decode())):
            part = await asyncio.to_thread(os.read, reader, 1000)
            assert part, said
            said += part
        os.close(reader)
        server = Served(process, tmp_path / "no log", found[1])
        await answers_as_with_a_log(server, tmp_path / "handover.db")
        await stops_as_with_a_log(server)
    finally:
        process.kill()
        await process.wait()


def limit_files(server: Served, size: int) -> None:
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    for pid in server.process.pid, *map(int, children.split()):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.mark.parametrize("workers", ["1", "2"] if FULL else ["1"])
async def test_the_log_cannot_grow(workers: str, tmp_path: Path) -> None:
    async with served(tmp_path, WORKERS=workers, **SETTINGS) as server:
        os.truncate(server.log, MEGABYTES)
        limit_files(server, MEGABYTES)
        await answers_as_with_a_log(server, tmp_path / "handover.db")
        assert server.log.stat().st_size == MEGABYTES
        await stops_as_with_a_log(server)
        assert server.log.stat().st_size == MEGABYTES


async def test_the_log_goes_on_when_it_can_be_written_again(tmp_path: Path) -> None:
    async with served(tmp_path, LOG_FORMAT="json", **SETTINGS) as server, server.client() as http:
        started = server.said
        os.truncate(server.log, MEGABYTES)
        limit_files(server, MEGABYTES + 10)  # so that the beginning of a line is written
        for _ in range(3):
            assert (await http.get("/items")).status_code == 401
        limit_files(server, resource.RLIM_INFINITY)
        assert (await http.get("/health/live")).status_code == 200
        assert await server.stop() == 0
        torn, *others = server.said[len(started) :].strip("\0").splitlines()
    assert len(torn) == 10
    assert [json.loads(line)["event"] for line in others] == ["request", "draining", "stopped"]
