"""A soak: a server under a steady mixed load for a long time, to see whether anything grows."""

import asyncio
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import serving
from bench.soak import samples, verdict
from bench.soak.load import Load
from bench.soak.verdict import TRANSFERS, Sample

PEOPLE = 20
SECONDS_BETWEEN_SAMPLES = 5.0
WARM_UP = 120.0
"""Seconds of load before the first sample, in which all have come, and every worker has served and hashed."""
PURGE_INTERVAL = 20
"""Seconds."""
WORKERS = {"memory": "1"}
"""Two for other engines."""
SHORT_LIFETIMES = Path(__file__).with_name("short_lifetimes")


def soak(engine: str, *, minutes: float, rate: float) -> list[str]:
    """Run a soak of one engine, print its table, and return what is wrong, in words; nothing if all is well.

    So many minutes are measured, after WARM_UP, with so many requests a second in all. A real server and, if the engine
    has one, a database server are started on the loopback interface, and stopped at the end.
    """
    os.environ["PYTHONPATH"] = os.pathsep.join([str(SHORT_LIFETIMES), os.environ.get("PYTHONPATH", "")])
    start, measuring = samples.ENGINES[engine]
    with TemporaryDirectory(prefix="handover-soak-") as name, start(Path(name)) as url:
        settings = {
            "WORKERS": WORKERS.get(engine, "2"),
            "ENVIRONMENT": "development" if engine == "memory" else "production",
            "SECRET_KEY": secrets.token_hex(32),
            "ACCESS_TOKEN_MINUTES": "1",
            "PURGE_INTERVAL": str(PURGE_INTERVAL),
            "SIGN_UPS_PER_ADDRESS": "1000000",
            "LOGIN_FAILURES_PER_ADDRESS": "1000000",
        }
        given = {name: value for name, value in os.environ.items() if not name.startswith("HANDOVER_")}
        given |= {f"HANDOVER_{name}": value for name, value in settings.items()} | {"HANDOVER_DATABASE_URL": url}
        _command(given, "migrate", "up")
        log = Path(name, "log")

        def start_server(url: str, log: Path, port: int) -> subprocess.Popen[bytes]:
            return serving.handover(url, log, port, **settings)

        with serving.served(start_server, url, log) as server:
            address = f"http://127.0.0.1:{server.port}"
            load, taken = asyncio.run(_run(server, measuring(url), address, minutes * 60, rate))
            # In memory there is nothing that another process could look at.
            diagnosis = _command(given, "doctor") if engine != "memory" else None
        text = log.read_text(errors="replace")

    tally = load.tally
    rows = verdict.judge(taken, verdict.MEMORY_LIMITS if engine == "memory" else verdict.LIMITS)
    print(f"\n{engine}, {minutes:g} minutes, {tally.requests / (minutes * 60 + WARM_UP):.1f} requests a second")
    print(f"{tally.transfers} transfers, the slowest answer took {tally.longest:.2f} s\n")
    print(verdict.table(rows))
    print(
        "\nanswers: " + ", ".join(f"{what} {status} {count}" for (what, status), count in sorted(tally.answers.items()))
    )
    print(f"transport errors: {dict(tally.transport_errors) or 'none'}")
    print(
        f"doctor: {diagnosis.stdout.strip() if diagnosis else 'not possible: the data are in the server'}", flush=True
    )

    faults = [f"{row.name} grew from {row.first:.1f} to {row.last:.1f}" for row in rows if row.grew]
    if tally.server_errors:
        faults.append(f"{tally.server_errors} answers were a 5xx")
    faults += [f"unexpected: {what}, first {text[:200]}" for what, text in tally.unexpected.items()]
    faults += [f"no answer: {what}, {number} times" for what, number in tally.transport_errors.items()]
    if diagnosis and diagnosis.returncode:
        faults.append(f"doctor: {diagnosis.stdout.strip()} {diagnosis.stderr.strip()}")
    faults += [f"the server's log has: {word}" for word in ("Traceback", "purge failed") if word in text]
    if "purged" not in text:
        faults.append("nothing was purged")
    return faults


async def _run(
    server: serving.Server, measuring: samples.Measuring, address: str, seconds: float, rate: float
) -> tuple[Load, list[tuple[float, Sample]]]:
    """Send the load for WARM_UP and so many seconds; return it with the samples that were taken after WARM_UP."""
    taken: list[tuple[float, Sample]] = []
    async with measuring as measure:
        load = Load(address, rate, PEOPLE)
        began = time.monotonic() + WARM_UP

        async def sample_repeatedly() -> None:
            said = began
            await asyncio.sleep(WARM_UP)
            while True:
                await asyncio.sleep(SECONDS_BETWEEN_SAMPLES)
                sample = samples.processes(server.process) | await measure()
                now = time.monotonic()
                taken.append((now - began, sample | {TRANSFERS: load.tally.transfers}))
                if now - said >= 60:
                    said = now
                    figures = ", ".join(f"{name} {value:.1f}" for name, value in taken[-1][1].items())
                    print(f"{(now - began) / 60:.0f} min: {load.tally.requests} answers; {figures}", flush=True)

        sampling = asyncio.create_task(sample_repeatedly())
        running = asyncio.create_task(load.run(began + seconds))
        await asyncio.wait({sampling, running}, return_when=asyncio.FIRST_COMPLETED)
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
        if not sampling.cancelled():
            running.cancel()
            sampling.result()
        await running
    return load, taken


def _command(given: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "interfaces.cli.main", *words]
    return subprocess.run(command, env=given, check=False, capture_output=True, text=True, timeout=600)
