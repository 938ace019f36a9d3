"""deploy/nginx.conf, as nginx itself reads it, in front of a server."""

import asyncio
import json
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from infrastructure.settings import Settings
from interfaces.http.validation.body import MAX_BODY_BYTES
from tests.support.served import Served, served
from tests.support.servers import free_port

CONFIGURATION = (Path(__file__).parents[2] / "deploy" / "nginx.conf").read_text()
FAILURES = 3
SECONDS = 60

# `make test` must not need nginx. .ci/run runs where it is installed.
with_nginx = pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")


def certificate(folder: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=handover.example.org", "-addext", "subjectAltName=DNS:handover.example.org"]
    command += ["-days", "2", "-keyout", str(folder / "handover.key"), "-out", str(folder / "handover.crt")]
    subprocess.run(command, check=True, capture_output=True)


def configured(folder: Path, server_port: int, http: int, https: int) -> Path:
    """Write a main configuration with ours in it, on free ports and with a certificate of its own; return its path."""
    site = CONFIGURATION
    for theirs, ours in [
        ("127.0.0.1:8000", f"127.0.0.1:{server_port}"),
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
async def proxied(folder: Path, server: Served) -> AsyncIterator[tuple[int, int]]:
    """Run nginx in front of the server; yield its ports for HTTP and for HTTPS."""
    http, https = free_port(), free_port()
    certificate(folder)
    main = configured(folder, server.port, http, https)
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
    async with served(tmp_path, **settings) as server, proxied(tmp_path, server) as (_, https):
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
async def test_bodies_redirects_metrics_and_a_stopped_server(tmp_path: Path) -> None:
    async with served(tmp_path, TRUSTED_PROXIES="127.0.0.1") as server, proxied(tmp_path, server) as (plain, https):
        async with client_at("127.0.0.2", tmp_path, https) as http:
            sni = {"sni_hostname": "handover.example.org"}
            for size, problem in (MAX_BODY_BYTES + 1, True), (2 * 1024 * 1024, False):
                answer = await http.post("/users", content=b"x" * size, extensions=sni)
                assert answer.status_code == 413
                assert (answer.headers["Content-Type"] == "application/problem+json") == problem
            ready = await http.get("/health/ready", extensions=sni)
            assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
            assert ready.headers["Strict-Transport-Security"] == "max-age=31536000"
            assert (await http.get("/metrics", extensions=sni)).status_code == 404
            await server.stop()
            assert (await http.get("/health/ready", extensions=sni)).status_code == 502
        async with httpx2.AsyncClient() as http:
            headers = {"Host": "handover.example.org"}
            moved = await http.get(f"http://127.0.0.1:{plain}/items?limit=2", headers=headers)
        assert (moved.status_code, moved.headers["Location"]) == (308, "https://handover.example.org/items?limit=2")


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
