"""What a server does when it starts, and says."""

import asyncio
import errno
import json
import os
import re
import resource
import secrets
import signal
import socket
import stat
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from infrastructure.security.secret_key import read_or_create_secret
from infrastructure.settings import Settings
from interfaces.cli.limits import LIMITS
from interfaces.cli.serving.server import FAILED_TO_START, STOP, STOPPED
from interfaces.cli.serving.supervisor import Supervisor
from tests.support.served import SECONDS_TO_RUN, Served, handover, served

ACCOUNT = {"username": "ann", "password": "correct horse battery"}
PRODUCTION = {"ENVIRONMENT": "production", "SECRET_KEY": secrets.token_hex(32)}


async def signed_up(server: Served, headers: dict[str, str] | None = None) -> str:
    async with server.client() as client:
        await client.post("/users", json=ACCOUNT | {"email": "ann@example.org"})
        return str((await client.post("/auth/token", data=ACCOUNT, headers=headers)).json()["access_token"])


async def is_accepted(server: Served, token: str) -> bool:
    async with server.client() as client:
        answer = await client.get("/users/me", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code == 200


async def test_it_says_where_everything_is_and_how_to_stop_it(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        said = server.said
    assert said.splitlines()[:4] == [
        f"Handover is at  {server.url}",
        f"its docs page   {server.url}/docs",
        f"its data        {tmp_path}/handover.db",
        "stop it with    Ctrl+C",
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::1"])
async def test_it_serves_where_it_says(host: str, tmp_path: Path) -> None:
    async with served(tmp_path, HOST=host, DATABASE_URL="memory://") as server, server.client() as client:
        assert (await client.get("/health/live")).status_code == 200


async def test_a_development_secret_is_made_once_and_kept_to_its_owner(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        token = await signed_up(server)
    secret = tmp_path / "handover.db.secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    kept = secret.read_text()
    assert kept not in server.said
    async with served(tmp_path, WORKERS="2") as server:
        assert await is_accepted(server, token)
    assert secret.read_text() == kept


async def test_without_a_file_to_keep_it_beside_a_secret_lasts_as_long_as_the_server(tmp_path: Path) -> None:
    async with served(tmp_path, DATABASE_URL="memory://") as server:
        token = await signed_up(server)
        assert await is_accepted(server, token)
    async with served(tmp_path, DATABASE_URL="memory://") as server:
        assert not await is_accepted(server, token)
    assert os.listdir(tmp_path) == ["log"]


async def test_of_several_who_make_a_secret_all_have_the_same(tmp_path: Path) -> None:
    made = await asyncio.gather(*(asyncio.to_thread(read_or_create_secret, tmp_path / "secret") for _ in range(16)))
    assert len(set(made)) == 1
    assert os.listdir(tmp_path) == ["secret"]


async def test_production_serves_once_all_is_in_order(tmp_path: Path) -> None:
    assert (await handover("migrate", "up", folder=tmp_path, **PRODUCTION)).exit_code == 0
    async with served(tmp_path, WORKERS="2", **PRODUCTION) as server:
        assert await is_accepted(server, await signed_up(server))
        assert await server.stop() == 0
    assert PRODUCTION["SECRET_KEY"] not in server.said
    events = [json.loads(line)["event"] for line in server.said.splitlines()]
    assert {"request", "signed in"} < set(events)
    assert [event for event in events if event in {"started", "draining", "stopped"}] == [
        "started",
        "draining",
        "stopped",
    ]


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_log_in_json_says_what_has_started_and_why_it_has_stopped(
    number: signal.Signals, workers: str, tmp_path: Path
) -> None:
    async with served(tmp_path, LOG_FORMAT="json", WORKERS=workers, DRAIN_SECONDS="0.2") as server:
        server.process.send_signal(number)
        assert await server.wait() == 0
    lines = [json.loads(line) for line in server.said.splitlines()]
    assert all(line.pop("timestamp") and line.pop("level") == "info" for line in lines)
    started, draining, stopped = lines
    assert started == {
        "event": "started",
        "version": version("handover"),
        "url": server.url,
        "workers": int(workers),
        "engine": "sqlite",
        "adapter": "sqlalchemy",
        "data": f"{tmp_path}/handover.db",
    }
    assert draining == {"event": "draining", "signal": number.name}
    assert stopped == {"event": "stopped"}


async def test_a_log_for_people_says_why_it_has_stopped(tmp_path: Path) -> None:
    async with served(tmp_path, DRAIN_SECONDS="0") as server:
        assert await server.stop() == 0
    assert "started" not in server.said
    assert re.search(r"draining +signal=SIGTERM\n.*stopped *\n$", server.said)


@pytest.mark.parametrize(
    ("trusted", "believed"),
    [("", "127.0.0.1"), ("10.0.0.0/8", "127.0.0.1"), ("10.0.0.0/8, 127.0.0.1", "203.0.113.9")],
)
async def test_forwarded_addresses_are_believed_of_trusted_proxies_only(
    trusted: str, believed: str, tmp_path: Path
) -> None:
    settings = {"TRUSTED_PROXIES": trusted, "LOG_FORMAT": "json", "DATABASE_URL": "memory://"}
    async with served(tmp_path, **settings) as server:
        await signed_up(server, {"X-Forwarded-For": "203.0.113.9"})
        events = [json.loads(line) for line in server.said.splitlines()]
    assert [event["client"] for event in events if event["event"] == "signed in"] == [believed]


async def test_workers_share_the_secret_and_the_throttle_which_no_header_gets_past(tmp_path: Path) -> None:
    settings = {"WORKERS": "2", "LOGIN_FAILURES_PER_ADDRESS": "5"}

    async def attempt(server: Served, number: int) -> int:
        """Over a connection of its own, so by either worker."""
        form = {"username": f"nobody{number}", "password": "a wrong password"}
        headers = {"X-Forwarded-For": f"203.0.113.{number}", "Forwarded": f"for=203.0.113.{number}"}
        async with server.client() as client:
            return (await client.post("/auth/token", data=form, headers=headers)).status_code

    async with served(tmp_path, **settings) as server:
        token = await signed_up(server)
        assert all([await is_accepted(server, token) for _ in range(10)])
        assert [await attempt(server, number) for number in range(7)] == [401] * 5 + [429] * 2
    async with served(tmp_path, TRUSTED_PROXIES="127.0.0.1", **settings) as server:
        assert [await attempt(server, number) for number in range(7)] == [401] * 7


async def test_a_worker_that_ends_with_an_order_unread_has_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when one of several cannot start, and the others are told to stop, which cannot start either."""
    worker = tmp_path / "worker"
    worker.write_text("#!/bin/sh\nsleep 0.3\n")
    worker.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(worker))
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as lock:
        supervisor = Supervisor(
            Settings(_env_file=None),
            listener,
            on_started=lambda: None,
            on_ended=lambda _: None,
            metrics_lock=lock.fileno(),
        )
        running = asyncio.create_task(supervisor.run_worker())
        await asyncio.sleep(0)
        assert supervisor.controls
        supervisor.stop(STOP, FAILED_TO_START)
        await running
        assert not supervisor.started_workers


async def test_workers_that_cannot_open_the_store_answer_with_503_until_they_can(tmp_path: Path) -> None:
    """All are killed while the store is away, and are replaced."""
    async with served(tmp_path, WORKERS="2", LOG_FORMAT="json") as server, server.client() as client:

        async def status(path: str) -> int:
            """On a new connection, so that either worker may be asked."""
            return (await client.get(path, headers={"Connection": "close"})).status_code

        def logged(event: str) -> list[dict[str, str]]:
            lines = [json.loads(line) for line in server.said.splitlines()]
            return [line for line in lines if line["event"].startswith(event)]

        form = {"username": "ann", "password": "correct horse battery"}
        file, kept = tmp_path / "handover.db", tmp_path / "kept.db"
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        workers = (await asyncio.to_thread(children.read_text)).split()
        file.rename(kept)
        file.mkdir()
        for worker in workers:
            os.kill(int(worker), signal.SIGKILL)
        async with asyncio.timeout(SECONDS_TO_RUN):
            while len(logged("a worker cannot open the store")) < 2:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.05)
        assert {await status("/health/live") for _ in range(10)} == {200}
        assert {await status("/health/ready") for _ in range(10)} == {503}
        assert {(await client.post("/auth/token", data=form)).status_code for _ in range(5)} == {503}
        file.rmdir()
        kept.rename(file)
        async with asyncio.timeout(SECONDS_TO_RUN):
            while len(logged("a worker has opened the store")) < 2:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.05)
        assert {await status("/health/ready") for _ in range(10)} == {200}
        assert (await client.post("/auth/token", data=form)).status_code == 401
        assert await server.stop() == 0
        assert "Traceback" not in server.said
        assert len(logged("a worker cannot open the store")) == 2
        assert all("is a folder" in line["reason"] for line in logged("a worker cannot open"))
        assert all("is a folder" in line["reason"] for line in logged("unavailable"))


async def test_a_first_worker_that_fails_while_another_serves_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interfaces.cli.serving.supervisor.RESTART_PAUSE", 0)

    class Scripted(Supervisor):
        """Its worker fails twice, while another one serves."""

        runs = 0

        async def run_worker(self) -> int:
            self.runs += 1
            if self.runs == 3:
                self.stop(STOP, STOPPED)
            return [3, -signal.SIGKILL, 0][self.runs - 1]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = Settings(workers=2, _env_file=None)
        supervisor = Scripted(settings, listener, on_started=lambda: None, on_ended=lambda _: None, metrics_lock=0)
        supervisor.started_workers = 1
        with structlog.testing.capture_logs() as logged:
            await supervisor.keep_worker_running()
    ended = {"event": "a worker has ended; starting another", "log_level": "warning"}
    assert logged == [ended | {"exit_code": 3}, ended | {"signal": "SIGKILL"}]
    assert (supervisor.runs, supervisor.exit_code) == (3, STOPPED)


async def test_a_worker_that_is_replaced_has_the_settings_of_the_others(tmp_path: Path) -> None:
    for name in "a", "b":
        url = f"sqlite:///{tmp_path}/{name}.db"
        assert (await handover("migrate", "up", folder=tmp_path, DATABASE_URL=url)).exit_code == 0
    (tmp_path / ".env").write_text(f"HANDOVER_DATABASE_URL=sqlite:///{tmp_path}/a.db\nHANDOVER_WORKERS=2\n")
    async with served(tmp_path) as server:
        token = await signed_up(server)
        (tmp_path / ".env").write_text(f"HANDOVER_DATABASE_URL=sqlite:///{tmp_path}/b.db\nHANDOVER_PORT=wrong\n")
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        old = (await asyncio.to_thread(children.read_text)).split()
        for pid in old:
            os.kill(int(pid), signal.SIGKILL)
        for _ in range(20):
            assert await is_accepted(server, token)  # by the replacements: the port stays open meanwhile
        assert not {*old} & {*(await asyncio.to_thread(children.read_text)).split()}
        assert await server.stop() == 0
    assert "Traceback" not in server.said
    assert not (tmp_path / "b.db.secret").exists()


def limit_files(pid: int, most: int) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, hard))


async def test_a_worker_is_replaced_as_soon_as_the_system_lets_it_be_started(tmp_path: Path) -> None:
    def refusals(server: Served) -> list[str]:
        return [line for line in server.said.splitlines() if "a worker cannot be started" in line]

    async with served(tmp_path, WORKERS="2", LOG_FORMAT="json") as server, server.client() as http:
        parent = server.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children")
        victim, other = map(int, (await asyncio.to_thread(children.read_text)).split())
        limit_files(parent, 3)
        os.kill(victim, signal.SIGKILL)
        async with asyncio.timeout(SECONDS_TO_RUN):
            while len(refusals(server)) < 2:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.05)
        assert (await http.get("/health/ready")).status_code == 200  # by the other one
        limit_files(parent, 1000)
        async with asyncio.timeout(SECONDS_TO_RUN):
            while "handover_worker_starts_total 3.0" not in (await http.get("/metrics")).text:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert str(other) in (await asyncio.to_thread(children.read_text)).split()
        assert await server.stop() == 0
    assert "Traceback" not in server.said
    assert server.said.count("a worker has ended") == 1
    assert {json.loads(line)["reason"] for line in refusals(server)} == {LIMITS[errno.EMFILE]}


async def test_a_server_without_any_worker_says_why_and_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = Settings(workers=2, _env_file=None)
        supervisor = Supervisor(
            settings, listener, on_started=lambda: None, on_ended=lambda _: None, metrics_lock=listener.fileno()
        )
        with capture_logs() as logged:
            await supervisor.keep_worker_running()
    assert supervisor.exit_code == FAILED_TO_START
    assert not supervisor.controls
    reason = LIMITS[errno.EAGAIN]
    assert logged == [{"event": "a worker cannot be started", "log_level": "error", "reason": reason}]
