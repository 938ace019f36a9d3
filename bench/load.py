"""Load from wrk: one thread, so that on a small machine the rest is left to what is measured."""

import json
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("wrk.lua")
CONNECTIONS = 32


class NoLoad(RuntimeError):
    """The message says what is missing."""


@dataclass(frozen=True, slots=True)
class Sent:
    answers: int
    seconds: float
    refused: int
    """Answers of 400 or more."""
    failed: int
    """Connections that were not made, and answers that did not come."""
    p50: float
    """Milliseconds."""
    p99: float

    @property
    def rate(self) -> float:
        """Successes a second."""
        return (self.answers - self.refused) / self.seconds


def request(
    method: str,
    path: str,
    *,
    token: str | None = None,
    body: str | None = None,
    kind: str = "application/json",
    **more: str,
) -> bytes:
    """As it goes over the wire."""
    headers = {"Host": "127.0.0.1", **{name.replace("_", "-"): value for name, value in more.items()}}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if body is not None:
        headers |= {"Content-Type": kind, "Content-Length": str(len(body.encode()))}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", body or ""]
    return "\r\n".join(lines).encode()


def write(requests: Iterable[bytes], to: Path) -> Path:
    with to.open("wb") as file:
        for one in requests:
            file.write(b"%d\n%b" % (len(one), one))
    return to


def send(
    requests: Path, port: int, *, seconds: float, rate: float | None = None, connections: int = CONNECTIONS
) -> Sent:
    """As fast as it goes, unless a rate is given: so many a second, at random moments, as far as the connections go."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise NoLoad("there is no wrk on the PATH: install it (Debian, Ubuntu: the package wrk)")
    command: list[str | Path] = [wrk, "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "30s", "-s", SCRIPT]
    command += [f"http://127.0.0.1:{port}", "--", requests, *([str(rate)] if rate else [])]
    run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 60)
    return Sent(**json.loads(run.stdout.splitlines()[-1]))
