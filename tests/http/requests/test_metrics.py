"""Numbers for Prometheus, and who may read them."""

import asyncio
from pathlib import Path

import pytest
from dependency_injector import providers
from httpx2 import ASGITransport, AsyncClient
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from application.ports import PoolUsage
from infrastructure.container import Container, Settings
from interfaces.certification.parity.problems import assert_problem
from interfaces.http.app import attach_container, create_app
from interfaces.http.metrics import Metrics
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
