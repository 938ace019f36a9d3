"""Numbers for Prometheus, and who may read them."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from dependency_injector import providers
from httpx2 import ASGITransport, AsyncClient
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from structlog.testing import capture_logs

from application.ports import PoolUsage
from infrastructure.container import Container, Settings
from interfaces.certification.parity.problems import assert_problem
from interfaces.http import metrics_files
from interfaces.http.app import attach_container, create_app
from interfaces.http.metrics import Metrics
from interfaces.http.metrics_files import AllocatedFile
from tests.http.support.client import Person
from tests.support.served import served

REQUESTS, SECONDS = "http_requests_total", "http_request_duration_seconds_count"


def samples(text: str, name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels[label] for label in ("method", "route", "status") if label in sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


async def test_requests_are_counted_by_the_template_of_their_route(http: AsyncClient, ada: Person) -> None:
    item = await ada.registers()
    for _ in range(2):
        await ada.get(f"/items/{item['id']}?secret=1")
    await ada.get(f"/items/{ada.id}")
    await ada.call("HEAD", f"/items/{item['id']}")
    await http.get("/made-up")
    await http.request("MADEUP", "/items")
    response = await http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    assert samples(response.text, REQUESTS) == {
        ("POST", "/items", "201"): 1,
        ("GET", "/items/{item_id}", "200"): 2,
        ("GET", "/items/{item_id}", "404"): 1,
        ("HEAD", "/items/{item_id}", "200"): 1,
        ("GET", "none", "404"): 1,
        ("other", "/items", "405"): 1,
    }
    assert samples(response.text, SECONDS)["GET", "/items/{item_id}"] == 3
    assert "process_resident_memory_bytes" in response.text


@pytest.mark.parametrize("environment", ["development", "production"])
@pytest.mark.parametrize("token", ["of the metrics", None])
async def test_who_may_read_them(container: Container, ada: Person, environment: str, token: str | None) -> None:
    settings: Settings = container.settings()
    secret = SecretStr(token) if token else None
    update = {"environment": environment, "metrics_token": secret}
    container.settings.override(providers.Object(settings.model_copy(update=update)))
    app = create_app(container)
    attach_container(app, container)
    async with AsyncClient(transport=ASGITransport(app), base_url="http://handover.test") as http:
        nobody = await http.get("/metrics")
        if environment == "development" and token is None:
            assert nobody.status_code == 200
            return
        assert_problem(nobody, 401, "not-signed-in")
        for wrong in ("x", "", ada.token, "of the metricsx", "of the metric", "None"):
            refused = await http.get("/metrics", headers={"Authorization": f"Bearer {wrong}"})
            assert_problem(refused, 401, "invalid-token")
        right = await http.get("/metrics", headers={"Authorization": "Bearer of the metrics"})
        assert right.status_code == (200 if token else 401)


async def test_each_of_several_workers_tells_the_numbers_of_all(tmp_path: Path) -> None:
    async with served(tmp_path, WORKERS="2", DATABASE_URL=f"sqlite:///{tmp_path}/x.db") as server:

        async def asks() -> None:
            async with server.client() as client:  # a connection of its own, and so perhaps another worker
                assert (await client.get("/health/live")).status_code == 200

        async def counted() -> float:
            async with server.client() as client:
                text = (await client.get("/metrics")).text
            return samples(text, REQUESTS)["GET", "/health/live", "200"]

        await asyncio.gather(*(asks() for _ in range(20)))
        async with asyncio.timeout(60):
            while await counted() < 20:  # noqa: ASYNC110 - a request is counted after its answer was sent
                await asyncio.sleep(0.05)
        for _ in range(10):
            assert await counted() == 20


def test_waits_are_counted_once_however_often_they_are_recorded() -> None:
    metrics = Metrics()
    for waits, seconds in ((2, 0.5), (2, 0.5), (5, 1.5)):
        metrics.record_pools({"reads": PoolUsage(size=4, in_use=1, waiting=0, waits=waits, seconds_waited=seconds)})
    value = metrics.registry.get_sample_value
    assert value("handover_pool_waits_total", {"pool": "reads"}) == 5
    assert value("handover_pool_wait_seconds_total", {"pool": "reads"}) == 1.5


@pytest.fixture
def refuse_space(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Set whether the system refuses to allocate disk space from now on, as a full disk does."""
    monkeypatch.setattr(metrics_files, "RETRY_SECONDS", 0)
    monkeypatch.setattr(AllocatedFile, "is_full", False)
    allocate = os.posix_fallocate
    refused = False

    def posix_fallocate(descriptor: int, offset: int, size: int) -> None:
        if refused:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        allocate(descriptor, offset, size)

    def refuse_space(is_refused: bool) -> None:
        nonlocal refused
        refused = is_refused

    monkeypatch.setattr(os, "posix_fallocate", posix_fallocate)
    return refuse_space


def stored(path: Path) -> dict[str, float]:
    values = MmapedDict.read_all_values_from_file(path)  # type: ignore[no-untyped-call]
    return {key: value for key, value, _, _ in values}


def test_values_without_space_are_stored_as_soon_as_there_is_some(
    tmp_path: Path, refuse_space: Callable[[bool], None]
) -> None:
    path = tmp_path / "counter_1.db"
    refuse_space(True)
    file = AllocatedFile(str(path))
    assert file.read_value("never changed") == (0, 0)
    with capture_logs() as logged:
        for number in range(5000):
            file.write_value(f"before {number}", number, 0)
    reason = os.strerror(errno.ENOSPC)
    assert logged == []  # after the line at the first attempt
    assert [*tmp_path.iterdir()] == []

    refuse_space(False)
    file.write_value("first", 1, 0)
    assert stored(path) == {"never changed": 0, "first": 1} | {f"before {number}": number for number in range(5000)}

    refuse_space(True)
    size = path.stat().st_size
    with capture_logs() as logged:
        for number in range(5000):
            file.write_value(f"after {number}", number, 0)
            file.write_value("first", number, 0)
    [line] = logged
    assert line == {
        "event": "metrics cannot be recorded",
        "log_level": "error",
        "folder": str(tmp_path),
        "reason": reason,
    }
    assert path.stat().st_size == size
    assert stored(path)["first"] == 4999

    refuse_space(False)
    file.write_value("first", 1, 0)
    found = stored(path)
    assert {found[f"after {number}"] for number in range(5000)} == {*range(5000)}
    assert path.stat().st_blocks * 512 >= path.stat().st_size
    file.close()  # type: ignore[no-untyped-call]


def test_a_process_with_the_id_of_one_that_has_ended_continues_its_file(tmp_path: Path) -> None:
    path = tmp_path / "counter_1.db"
    ended, next_one = AllocatedFile(str(path)), AllocatedFile(str(path))
    ended.write_value("key", 7, 0)
    assert next_one.read_value("key") == (7, 0)
    for file in ended, next_one:
        file.close()  # type: ignore[no-untyped-call]
