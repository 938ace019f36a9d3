"""What operators see of a server with several workers: the documents, the dashboard and the alerts fit its metrics."""

import asyncio
import json
import os
import re
import signal
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.clients.writers import sign_up
from tests.support.served import Served, served

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/observability.md").read_text()
FILES = ROOT / "deploy" / "observability"
ALERTS = dict(re.findall(r"- alert: (\w+)\n +expr: (.+)\n", (FILES / "alerts.yml").read_text()))
DASHBOARD = json.loads((FILES / "dashboard.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]

OF_PROMETHEUS: dict[str, dict[str, set[str]]] = {"up": {"job": {"handover"}, "instance": set()}}
"""What Prometheus adds to what it reads: by metric the labels, each with its values in the sample configuration."""
KEYWORDS = {"by", "without", "on", "ignoring", "unless", "and", "or", "offset", "bool"}
TOKEN = "token of the metrics"


@dataclass
class Exposed:
    """What a server exposes: by sample name its labels, each with the values that it has."""

    families: dict[str, str] = field(default_factory=dict)
    """By name the type."""
    labels: dict[str, dict[str, set[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(set)))
    values: dict[tuple[str, str], float] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> "Exposed":
        exposed = cls()
        for family in text_string_to_metric_families(text):
            exposed.families[family.name + ("_total" if family.type == "counter" else "")] = family.type
            for sample in family.samples:
                exposed.values[sample.name, ",".join(sample.labels.values())] = sample.value
                exposed.labels[sample.name].update()
                for label, value in sample.labels.items():
                    exposed.labels[sample.name][label].add(value)
        return exposed


async def read(server: Served) -> Exposed:
    async with server.client() as client:  # a connection of its own, and so perhaps another worker
        answer = await client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    return Exposed.of(answer.text)


async def once(server: Served, is_so: Callable[[Exposed], bool]) -> Exposed:
    """Read the metrics until this is so: a request is counted after its answer, and gauges are set once a second."""
    async with asyncio.timeout(60):
        while not is_so(exposed := await read(server)):  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0.1)
    return exposed


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder = tmp_path_factory.mktemp("monitored")
    settings = {"WORKERS": "2", "METRICS_TOKEN": TOKEN, "PURGE_INTERVAL": "1", "LOGIN_FAILURES_PER_ACCOUNT": "1"}
    async with served(folder, **settings) as server, server.client() as http:
        await be_used(http)
        with closing(sqlite3.connect(folder / "handover.db")) as connection, connection:
            connection.execute("UPDATE idempotency_keys SET expires_at = 0 WHERE operation LIKE 'POST%'")
        yield server


async def be_used(http: httpx2.AsyncClient) -> None:
    """Hand an item over, have that replayed, be refused, and be throttled."""
    _, as_ada = await sign_up(http, "ada")
    bob, _ = await sign_up(http, "bob")
    item = (await http.post("/items", json={"name": "Lamp", "price": 1}, headers=as_ada)).json()["id"]
    for replayed in ("false", "true"):
        answer = await http.post(
            f"/items/{item}/transfer", json={"to_user_id": bob}, headers=as_ada | {"Idempotency-Key": "1"}
        )
        assert (answer.status_code, answer.headers.get("Idempotency-Replayed", "false")) == (200, replayed)
    for status in (401, 429):
        wrong = await http.post("/auth/token", data={"username": "ada", "password": "wrong"})
        assert wrong.status_code == status


async def test_what_has_happened_is_counted(server: Served) -> None:
    def is_settled(exposed: Exposed) -> bool:
        purged, hashing = (("handover_purged_records_total", "keys"), ("handover_pool_in_use", "passwords"))
        return exposed.values[purged] >= 1 and exposed.values.get(hashing) == 0

    exposed = await once(server, is_settled)
    for (name, labels), value in {
        ("handover_transfers_total", ""): 1,
        ("handover_replays_total", "/items/{item_id}/transfer"): 1,
        ("handover_failures_total", "429"): 1,
        ("handover_failures_total", "500"): 0,
        ("handover_failures_total", "503"): 0,
        ("handover_purge_failures_total", ""): 0,
        ("handover_purged_records_total", "sessions"): 0,
        ("handover_reruns_total", "conflict"): 0,
        ("handover_pool_size", "transactions"): 2,
        ("handover_workers", ""): 2,
        ("handover_worker_starts_total", ""): 2,
    }.items():
        assert exposed.values[name, labels] == value, (name, labels)
    assert exposed.values["handover_event_loop_lag_seconds_count", ""] > 0
    assert exposed.values["handover_purge_seconds_count", ""] > 0


async def test_the_table_of_the_metrics_is_what_is_exposed(server: Served) -> None:
    exposed = await once(server, lambda exposed: "handover_pool_in_use" in exposed.families)
    rows = re.findall(r"^\| `([a-z_]+)` \| (\w+) \| (.*?) ?\| .+ \|$", DOCUMENT, re.MULTILINE)
    documented = {name: (kind, {*re.findall(r"`(\w+)`", labels)}) for name, kind, labels in rows}
    suffix = {"histogram": "_count", "summary": "_count"}
    assert documented == {
        name: (kind, {*exposed.labels[name + suffix.get(kind, "")]}) for name, kind in exposed.families.items()
    }


Matchers = dict[str, str | None]
"""By label the value that a query selects, None if it is not exactly one."""


def selectors(expression: str) -> list[tuple[str, Matchers]]:
    """Return the metrics of a PromQL expression, each with the labels that it selects or groups by."""
    groups = re.findall(r"\b(?:by|without|on|ignoring) *\(([^)]*)\)", expression)
    grouping = {label: None for labels in groups for label in re.findall(r"\w+", labels)}
    rest = re.sub(r"\b(?:by|without|on|ignoring) *\([^)]*\)|\[[^]]*\]", "", expression)
    found = re.findall(r"\b([a-z_]\w*)\b(?! *\()(?:\{([^}]*)\})?", re.sub(r"\{[^}]*\}", _protect, rest))
    return [(name, {**grouping, **_matchers(matchers)}) for name, matchers in found if name not in KEYWORDS]


def _protect(matchers: re.Match[str]) -> str:
    """Write what is in braces in capital letters, so that it does not look like a metric."""
    return matchers[0].encode().hex().upper().join("{}")


def _matchers(protected: str) -> Matchers:
    text = bytes.fromhex(protected).decode()
    return {
        label: value if operator == "=" else None
        for label, operator, value in re.findall(r'(\w+) *(=~|!~|!=|=) *"([^"]*)"', text)
    }


def test_metrics_and_labels_are_found() -> None:
    expression = 'a(0.9, sum by (le) (rate(m_total{s="1", i=~"$i"}[5m]))) / b(n) unless on (z) up{s="2"} > 1'
    grouping = {"le": None, "z": None}
    assert selectors(expression) == [
        ("m_total", {**grouping, "s": "1", "i": None}),
        ("n", grouping),
        ("up", {**grouping, "s": "2"}),
    ]


@pytest.mark.parametrize("expression", [*ALERTS.values(), *QUERIES])
async def test_alerts_and_dashboard_ask_for_what_is_exposed(server: Served, expression: str) -> None:
    exposed = await once(server, lambda exposed: "handover_pool_in_use" in exposed.families)
    assert selectors(expression)
    for name, labels in selectors(expression):
        assert name in OF_PROMETHEUS or name in exposed.labels
        known = OF_PROMETHEUS.get(name) or {"instance": set[str](), **exposed.labels[name]}
        for label, value in labels.items():
            assert label in known, (name, label)
            assert not value or not known[label] or value in known[label], (name, label)


def test_every_alert_is_explained_and_has_a_unit_test() -> None:
    rules, tests = (FILES / "alerts.yml").read_text(), (FILES / "alerts.test.yml").read_text()
    assert len(ALERTS) == rules.count("- alert:") > 0
    assert re.findall(r"^\| `(Handover\w+)` \|", DOCUMENT, re.MULTILINE) == [*ALERTS]
    for alert in ALERTS:
        assert re.search(rf"alertname: {alert}\n +exp_alerts:\n", tests), f"{alert} is not seen to fire"
        assert re.search(rf"\*silent, alertname: {alert} |&silent .* {alert}, exp_alerts: \[\]", tests), alert


async def test_the_gauges_of_a_worker_that_has_died_are_removed(server: Served) -> None:
    """Run last: it kills a worker."""
    folder = Path(f"/proc/{server.process.pid}")
    children = (folder / f"task/{server.process.pid}/children").read_text().split()
    before = await once(server, lambda exposed: exposed.values["handover_workers", ""] == 2)
    os.kill(int(children[0]), signal.SIGKILL)
    exposed = await once(server, lambda exposed: exposed.values["handover_worker_starts_total", ""] == 3)
    exposed = await once(server, lambda exposed: exposed.values["handover_workers", ""] == 2)
    assert exposed.values["handover_pool_size", "reads"] == before.values["handover_pool_size", "reads"]
    assert exposed.values["handover_transfers_total", ""] == 1


async def test_a_folder_of_another_program_is_not_used(tmp_path: Path) -> None:
    """Servers of other frameworks that run several processes need this variable, so images may set it."""
    elsewhere = f"env PROMETHEUS_MULTIPROC_DIR={tmp_path / 'missing'}"
    async with served(tmp_path, wrapper=elsewhere, METRICS_TOKEN=TOKEN) as alone:
        assert (await read(alone)).values["handover_workers", ""] == 1
