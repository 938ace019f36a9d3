"""deploy/nginx.conf, as nginx itself reads it, in front of a server."""

import asyncio
import json
import re
import shutil
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from infrastructure.settings import Settings
from interfaces.certification.parity.problems import assert_problem
from interfaces.http.responses.problems import PROBLEMS, REPEAT
from interfaces.http.validation.body import MAX_BODY_BYTES
from tests.faults.checks import FULL
from tests.faults.clients import Client, new_clients
from tests.support.served import SECONDS_TO_RUN, Served, served
from tests.support.servers import free_port

CONFIGURATION = (Path(__file__).parents[2] / "deploy" / "nginx.conf").read_text()
FAILURES = 3
SECONDS = 60
CLIENTS = 4
TRANSFERS = 15
"""Of each client, before, between and after the restarts."""
MOST_REFUSED = CLIENTS
"""With two servers: a POST that reaches a connection just as its server closes it is not sent again by nginx."""

# `make test` must not need nginx. .ci/run runs where it is installed.
with_nginx = pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")


def certificate(folder: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=handover.example.org", "-addext", "subjectAltName=DNS:handover.example.org,IP:127.0.0.1"]
    command += ["-days", "2", "-keyout", str(folder / "handover.key"), "-out", str(folder / "handover.crt")]
    subprocess.run(command, check=True, capture_output=True)


def configured(folder: Path, server_ports: Sequence[int], http: int, https: int) -> Path:
    """Write a main configuration with ours in it, on free ports and with a certificate of its own; return its path.

    Each other server has the line of the one that is there, as its comment says.
    """
    site = CONFIGURATION
    [line] = re.findall(r"^ *server 127.*;$", site, re.MULTILINE)
    site = site.replace(line, "\n".join(line.replace(":8000", f":{port}") for port in server_ports))
    for theirs, ours in [
        ("listen 80;", f"listen 127.0.0.1:{http};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{https} ssl;"),
        ("/etc/nginx/", f"{folder}/"),
    ]:
        assert theirs in site
        site = site.replace(theirs, ours)
    places = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = folder / "main.conf"
    main.write_text(
        f"daemon off;\nuser root;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}{site}}}\n"
    )
    return main


@asynccontextmanager
async def proxied(folder: Path, *server_ports: int) -> AsyncIterator[tuple[int, int]]:
    """Run nginx in front of the servers; yield its ports for HTTP and for HTTPS."""
    http, https = free_port(), free_port()
    certificate(folder)
    main = configured(folder, server_ports, http, https)
    command = ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(main)]
    tried = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)  # noqa: ASYNC221
    assert tried.returncode == 0, tried.stderr
    assert not re.search(r"\[(warn|error|emerg)\](?!.*\"user\" directive)", tried.stderr), tried.stderr
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", https)
                    break
                except ConnectionRefusedError:
                    assert process.returncode is None
                    await asyncio.sleep(0.02)
        writer.close()
        yield http, https
    finally:
        process.terminate()
        await process.wait()


def client_at(address: str, folder: Path, port: int) -> httpx2.AsyncClient:
    """A client with this address of the loopback network, which trusts the certificate and resolves its name."""
    trust = ssl.create_default_context(cafile=str(folder / "handover.crt"))
    transport = httpx2.AsyncHTTPTransport(verify=trust, local_address=address)
    return httpx2.AsyncClient(
        transport=transport, base_url=f"https://127.0.0.1:{port}", headers={"Host": "handover.example.org"}, timeout=30
    )


async def fails_to_sign_in(http: httpx2.AsyncClient, username: str, **headers: str) -> int:
    request = http.build_request(
        "POST", "/auth/token", data={"username": username, "password": "x" * 12}, headers=headers
    )
    request.extensions["sni_hostname"] = "handover.example.org"
    return (await http.send(request)).status_code


@with_nginx
async def test_throttles_and_logs_know_the_clients_behind_the_proxy(tmp_path: Path) -> None:
    settings = {"TRUSTED_PROXIES": "127.0.0.1", "LOGIN_FAILURES_PER_ADDRESS": str(FAILURES), "LOG_FORMAT": "json"}
    async with served(tmp_path, **settings) as server, proxied(tmp_path, server.port) as (_, https):
        async with client_at("127.0.0.2", tmp_path, https) as guesser, client_at("127.0.0.3", tmp_path, https) as other:
            guesses = [
                await fails_to_sign_in(guesser, f"user{number}", **{"X-Forwarded-For": f"203.0.113.{number}"})
                for number in range(FAILURES + 1)
            ]
            assert guesses == [401] * FAILURES + [429]
            assert await fails_to_sign_in(other, "user0") == 401
        # Past the proxy, from an address that is not trusted.
        direct = httpx2.AsyncHTTPTransport(local_address="127.0.0.4")
        async with httpx2.AsyncClient(transport=direct, base_url=server.url, timeout=30) as http:
            assert await fails_to_sign_in(http, "user9", **{"X-Forwarded-For": "203.0.113.9"}) == 401
        await server.stop()
        lines = [json.loads(line) for line in server.said.splitlines() if line.startswith("{")]
    addresses = {value for line in lines for name, value in line.items() if name in ("client", "address")}
    assert addresses == {"127.0.0.2", "127.0.0.3", "127.0.0.4"}, lines
    assert "203.0.113" not in server.said


@with_nginx
async def test_bodies_redirects_and_metrics(tmp_path: Path) -> None:
    async with (
        served(tmp_path, TRUSTED_PROXIES="127.0.0.1") as server,
        proxied(tmp_path, server.port) as (plain, https),
    ):
        async with client_at("127.0.0.2", tmp_path, https) as http:
            sni = {"sni_hostname": "handover.example.org"}
            sent = {"Content-Type": "application/json", "X-Request-ID": "my-1"}
            of_handover, of_nginx = [
                await http.post("/users", content=b" " * size, headers=sent, extensions=sni)
                for size in (MAX_BODY_BYTES + 1, 2 * 1024 * 1024)
            ]
            for answer in of_handover, of_nginx:
                assert_problem(answer, 413, "content-too-large")
                assert answer.json() == of_handover.json()
                names = "Content-Type", "X-Request-ID", "Cache-Control", "X-Content-Type-Options"
                assert [answer.headers[name] for name in names] == [of_handover.headers[name] for name in names]
                assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
            ready = await http.get("/health/ready", extensions=sni)
            assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
            assert ready.headers["Strict-Transport-Security"] == "max-age=31536000"
            assert (await http.get("/metrics", extensions=sni)).status_code == 404
        async with httpx2.AsyncClient() as http:
            headers = {"Host": "handover.example.org"}
            moved = await http.get(f"http://127.0.0.1:{plain}/items?limit=2", headers=headers)
        assert (moved.status_code, moved.headers["Location"]) == (308, "https://handover.example.org/items?limit=2")


@with_nginx
async def test_without_a_server_the_proxy_answers_as_a_busy_server_would(tmp_path: Path) -> None:
    async with proxied(tmp_path, free_port()) as (_, https), client_at("127.0.0.2", tmp_path, https) as http:
        for path in "/items?limit=2", "/docs/a.css", "/caf%C3%A9/%22?x=%22":
            answer = await http.get(path)
            assert_problem(answer, 503, "busy")
            assert len(answer.json()["request_id"]) == 32
        raw = await http.get("/", extensions={"target": b'/a"b\\'})  # as no client should send it
        assert (raw.status_code, raw.json()["instance"]) == (503, "/")
        for method in "POST", "PATCH", "DELETE":
            answer = await http.request(method, "/items", content=b"x" * 1000, headers={"X-Request-ID": "my-1"})
            assert_problem(answer, 503, "busy")
            assert answer.json()["title"] == PROBLEMS["busy"].title
            assert answer.json()["detail"].endswith(f"A change may have been made. {REPEAT}")
            assert answer.json()["request_id"] == answer.headers["X-Request-ID"] == "my-1"
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        forged = await http.get("/items", headers={"X-Request-ID": 'x","status":200,"a":"'})
        assert_problem(forged, 503, "busy")
        assert len(forged.json()["request_id"]) == 32


@with_nginx
async def test_answers_of_the_server_itself_pass_unchanged(tmp_path: Path) -> None:
    async with (
        served(tmp_path, DRAIN_SECONDS="20") as server,
        proxied(tmp_path, server.port) as (_, https),
        client_at("127.0.0.2", tmp_path, https) as http,
    ):
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(SECONDS):
            while (answer := await http.get("/health/ready")).status_code == 200:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert_problem(answer, 503, "store-unavailable")
        assert "about to stop" in answer.json()["detail"]


@dataclass(slots=True)
class Counted:
    """Passes requests to a client, and remembers the answers."""

    http: httpx2.AsyncClient
    answers: list[httpx2.Response] = field(default_factory=list)

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        self.answers.append(await self.http.get(path, **options))
        return self.answers[-1]

    async def post(self, path: str, **options: Any) -> httpx2.Response:
        self.answers.append(await self.http.post(path, **options))
        return self.answers[-1]


@with_nginx
@pytest.mark.parametrize("servers", [1, 2] if FULL else [2])
async def test_servers_are_restarted_one_after_the_other_and_no_request_is_lost(servers: int, tmp_path: Path) -> None:
    """With one server, requests may be refused until the next one has started, so that their clients repeat them."""
    ports = [free_port() for _ in range(servers)]
    url = f"sqlite:///{tmp_path}/store.db"
    stop = asyncio.Event()
    async with (
        AsyncExitStack() as first,
        AsyncExitStack() as second,
        proxied(tmp_path, *ports) as (_, https),
        client_at("127.0.0.2", tmp_path, https) as http,
        asyncio.timeout(SECONDS_TO_RUN),
    ):

        async def started(port: int, name: str, stack: AsyncExitStack) -> Served:
            """A server on this port, which others can have been stopped on before."""
            folder = tmp_path / name
            folder.mkdir()
            settings = {"DATABASE_URL": url, "SECRET_KEY": "k3y-" * 10, "DRAIN_SECONDS": "0.3"}
            return await stack.enter_async_context(served(folder, PORT=str(port), **settings))

        old = [await started(port, f"old-{port}", first) for port in ports]
        counted = Counted(http)
        clients = await new_clients(http, CLIENTS)

        async def work(client: Client) -> None:
            while not stop.is_set():
                await client.transfer(counted)  # type: ignore[arg-type]
                await counted.get(f"/items/{client.item}", headers=client.users[0].headers)

        async def more_is_done(done: int) -> None:
            """Wait until each client has done so many transfers more."""
            goals = [len(client.answers) + done for client in clients]
            while any(  # noqa: ASYNC110 - there is no event for it
                len(client.answers) < goal for client, goal in zip(clients, goals, strict=True)
            ):
                await asyncio.sleep(0.02)

        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(work(client))
            for port, server in zip(ports, old, strict=True):
                await more_is_done(TRANSFERS)
                assert await server.stop() == 0
                if servers > 1:
                    await more_is_done(TRANSFERS)  # by the other one
                await started(port, f"new-{port}", second)
            await more_is_done(TRANSFERS)
            stop.set()

        refused = [answer for answer in counted.answers if not answer.is_success]
        for answer in refused:
            assert_problem(answer, 503, "busy")
        if servers > 1:
            assert len(refused) <= MOST_REFUSED, len(counted.answers)
        for client in clients:
            await client.check(http)


def seconds(directive: str) -> int:
    found = re.search(rf"^\s*{directive} (\d+)s;", CONFIGURATION, re.MULTILINE)
    assert found, directive
    return int(found[1])


def test_its_times_fit_those_of_the_server() -> None:
    assert seconds("proxy_read_timeout") > Settings.model_fields["request_deadline"].default + 5
    upstream = CONFIGURATION.partition("server {")[0]
    kept = re.search(r"keepalive_timeout (\d+)s;", upstream)
    assert kept
    assert int(kept[1]) < 75  # uvicorn's timeout_keep_alive in server.py
