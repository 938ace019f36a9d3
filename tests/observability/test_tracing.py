"""Traces: a request's spans on every engine, in this process, and what a server sends to a collector."""

import asyncio
import json
import re
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import httpx2
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from domain.errors import NotFound
from infrastructure import tracing
from infrastructure.persistence.memory import MemoryStore
from infrastructure.tracing import Tracing, current_tracer, summarize, traced_begin
from interfaces.certification.database import Database
from interfaces.testing.builders import a_user
from interfaces.testing.clock_and_ids import SetClock
from tests.http.support.client import app_of, client_of, container_on
from tests.support.clients.writers import sign_up
from tests.support.engines import ENGINES
from tests.support.served import Served, served

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
SECRET = "xSUBMITTEDx"
DOCUMENT = (Path(__file__).parents[2] / "docs/observability.md").read_text()


@dataclass(frozen=True, slots=True)
class Span:
    name: str
    id: str
    parent: str
    trace: str
    attributes: dict[str, Any]
    ms: float


def tree(spans: list[Span], parent: str = PARENT) -> list[tuple[int, Span]]:
    """Return the spans below this one, each with its depth, in the order in which they began."""
    return [
        found
        for span in spans
        if span.parent == parent
        for found in [(0, span), *((depth + 1, below) for depth, below in tree(spans, span.id))]
    ]


# In this process, with the SDK's exporter in memory


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """The global provider can be set once only, so it is replaced where it is asked for."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield exporter
    provider.shutdown()


def finished(exporter: InMemorySpanExporter) -> list[Span]:
    return [exported(span) for span in sorted(exporter.get_finished_spans(), key=lambda span: span.start_time or 0)]


def exported(span: ReadableSpan) -> Span:
    assert span.context
    return Span(
        name=span.name,
        id=trace.format_span_id(span.context.span_id),
        parent=trace.format_span_id(span.parent.span_id) if span.parent else "",
        trace=trace.format_trace_id(span.context.trace_id),
        attributes={**(span.attributes or {}), "status": span.status.status_code.name},
        ms=0,
    )


@asynccontextmanager
async def traced_client(
    database: Database, engine: str, clock: SetClock
) -> AsyncIterator[tuple[httpx2.AsyncClient, dict[str, str]]]:
    """A client of an app whose store was created while tracing was on, and the headers of a user with an item."""
    store = database.store if engine == "memory" else ENGINES[engine].adapter(database.settings)
    await store.open()
    container = container_on(database.settings, store, clock)
    user = a_user()
    async with store.begin() as uow:
        await uow.users.add(user)
        await uow.commit()
    token = container.tokens().issue(user.id, clock()).token
    async with client_of(app_of(container)) as http:
        yield http, {"Authorization": f"Bearer {token}"}
    if store is not database.store:
        await store.close()


async def test_a_change_has_spans_on_every_engine(
    database: Database, engine: str, clock: SetClock, exporter: InMemorySpanExporter
) -> None:
    async with traced_client(database, engine, clock) as (http, signed_in):
        exporter.clear()
        body = {"name": SECRET, "description": SECRET, "price": 1234567.89}
        answer = await http.post(f"/items?q={SECRET}", json=body, headers=signed_in | TRACEPARENT)
        assert answer.status_code == 201
        written = tree(finished(exporter))
        exporter.clear()
        read = await http.get(f"/items/{answer.json()['id']}", headers=signed_in | TRACEPARENT)
        assert read.status_code == 200
        (_, request), *statements = tree(finished(exporter))

    assert [(depth, span.name) for depth, span in written[:2]] == [(0, "POST /items"), (1, "unit of work")]
    assert {span.trace for _, span in written} == {TRACE}
    assert written[0][1].attributes["handover.request_id"] == answer.headers["x-request-id"]
    assert {span.attributes["status"] for _, span in written} == {"UNSET"}
    assert request.name == "GET /items/{item_id}"
    if engine != "memory":
        system = database.settings.scheme
        assert len(written) > 2
        assert {depth for depth, _ in written[2:]} == {2}
        assert {span.attributes["db.system.name"] for _, span in written[2:]} == {system}
        assert any("items" in span.name for _, span in written[2:])
        assert len(statements) == 1, "a read is one statement"
        assert "items" in statements[0][1].name
    everything = repr([written, request, statements])
    for submitted in (SECRET, "1234567", "123456789", answer.json()["id"], signed_in["Authorization"]):
        assert submitted not in everything


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError(SECRET), "ERROR"), (NotFound("item-not-found", SECRET), "UNSET")]
)
async def test_what_fails_is_marked_without_its_message(
    error: Exception, status: str, exporter: InMemorySpanExporter
) -> None:
    async def fail() -> None:
        async with traced_begin(MemoryStore().begin)():
            raise error

    with pytest.raises(type(error)):
        await fail()
    [span] = finished(exporter)
    assert (span.attributes["status"], span.attributes["error.type"]) == (status, type(error).__name__)
    assert SECRET not in exporter.get_finished_spans()[0].to_json()


async def test_probes_are_not_traced(
    database: Database, engine: str, clock: SetClock, exporter: InMemorySpanExporter
) -> None:
    async with traced_client(database, engine, clock) as (http, _):
        exporter.clear()
        for path in ("/health/live", "/health/ready", "/metrics"):
            assert (await http.get(path, headers=TRACEPARENT)).status_code == 200
    assert finished(exporter) == []


async def test_a_trace_that_its_caller_has_not_sampled_is_not_recorded(
    database: Database, engine: str, clock: SetClock, exporter: InMemorySpanExporter
) -> None:
    async with traced_client(database, engine, clock) as (http, signed_in):
        exporter.clear()
        not_sampled = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
        answer = await http.post("/items", json={"name": "Lamp", "price": 1}, headers=signed_in | not_sampled)
        assert answer.status_code == 201
    assert finished(exporter) == []


def test_nothing_is_wrapped_without_a_provider() -> None:
    store = MemoryStore()
    assert traced_begin(store.begin) == store.begin


@pytest.mark.parametrize(
    ("variables", "missing", "line"),
    [
        ({}, None, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}, None, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"}, None, None),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            None,
            "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf",
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            "opentelemetry.sdk.trace",
            "pip install",
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "",
                "OTEL_TRACES_EXPORTER": "",
            },
            "opentelemetry.sdk.trace",
            "pip install",
        ),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"},
            "opentelemetry.sdk.trace",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set: pip install 'handover[telemetry]'",
        ),
    ],
)
def test_why_there_are_no_traces(
    variables: dict[str, str], missing: str | None, line: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    said = Tracing().start()
    assert (said is None) == (line is None)
    assert (line or "") in (said or "")
    assert current_tracer() is None


async def test_a_collector_that_does_not_answer_delays_the_end_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracing, "SECONDS_TO_STOP", 0.05)
    hanging, started = threading.Event(), Tracing()

    def shut_down() -> None:
        hanging.wait()

    started._shut_down = shut_down
    before = {*threading.enumerate()}
    async with asyncio.timeout(60):
        await started.stop()
    [thread] = {*threading.enumerate()} - before
    assert thread.daemon, "the process would wait for it"
    hanging.set()
    thread.join(60)


@pytest.mark.parametrize(
    ("sql", "summary"),
    [
        ("SELECT a, b FROM items JOIN users ON true FOR UPDATE", "SELECT items"),
        ("INSERT INTO keys (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET a = 1 RETURNING a", "INSERT keys"),
        (
            "WITH a AS (UPDATE items SET x=$1 RETURNING 1), b AS (INSERT INTO transfers VALUES ($2)) SELECT 1",
            "UPDATE items INSERT transfers",
        ),
        ("DELETE FROM tasks WHERE id = ?", "DELETE tasks"),
        ("BEGIN ISOLATION LEVEL READ COMMITTED", "BEGIN"),
        ("COMMIT", "COMMIT"),
    ],
)
def test_statements_have_short_names(sql: str, summary: str) -> None:
    assert summarize(sql) == summary


# A server that sends its spans


class Collector:
    """Receives spans as OTLP over HTTP."""

    def __init__(self) -> None:
        self.received = received = Queue[Span]()
        self.services = services = set[str]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
                for resource in sent.resource_spans:
                    services.update(
                        a.value.string_value for a in resource.resource.attributes if a.key == "service.name"
                    )
                    for span in (span for scope in resource.scope_spans for span in scope.spans):
                        received.put(received_span(span))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=[0.05], daemon=True).start()

    def close(self) -> None:
        """Stop listening; do nothing if that was done."""
        self.server.shutdown()
        self.server.server_close()


def received_span(span: Any) -> Span:
    attributes = {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}
    ms = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
    return Span(span.name, span.span_id.hex(), span.parent_span_id.hex(), span.trace_id.hex(), attributes, ms)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    yield collector
    collector.close()


async def transferred(server: Served) -> None:
    """Hand an item over, in the trace TRACE."""
    async with server.client() as http:
        _, as_ada = await sign_up(http, "ada")
        bob, _ = await sign_up(http, "bob")
        item = await http.post("/items", json={"name": SECRET, "price": 1}, headers=as_ada)
        answer = await http.post(
            f"/items/{item.json()['id']}/transfer",
            json={"to_user_id": bob},
            headers=as_ada | TRACEPARENT | {"Idempotency-Key": SECRET},
        )
        assert answer.status_code == 200, answer.text


def drawn(spans: list[Span]) -> list[str]:
    """Return a trace as the documentation shows it."""
    return [f"{'  ' * depth + span.name:44}{span.ms:6.2f} ms" for depth, span in tree(spans)]


def without_times(lines: list[str]) -> list[str]:
    return [re.sub(r" +[\d.]+ ms$", "", line) for line in lines]


async def test_a_server_sends_the_trace_of_a_transfer(tmp_path: Path, collector: Collector) -> None:
    spans: list[Span] = []
    async with served(tmp_path, LOG_FORMAT="json") as server:
        await transferred(server)
        async with asyncio.timeout(60):
            while not any(span.parent == PARENT for span in spans):  # which ends, and so is sent, last
                spans.append(await asyncio.to_thread(collector.received.get))
        collector.close()
        async with server.client() as http:  # which is not disturbed by a collector that is down
            assert (await http.get("/users/me", headers=TRACEPARENT)).status_code == 401
        assert await server.stop() == 0
        lines = [json.loads(line) for line in server.said.splitlines() if line.startswith("{")]

    spans = [span for span in spans if span.trace == TRACE]
    trace_ids = {line["route"]: line["trace_id"] for line in lines if line["event"] == "request"}
    assert trace_ids["/items/{item_id}/transfer"] == TRACE
    assert trace_ids["/items"] != TRACE
    assert collector.services == {"handover"}
    assert SECRET not in repr(spans)
    [documented] = re.findall(r"```text\n(POST .*?)```", DOCUMENT, re.DOTALL)
    print("\n".join(drawn(spans)))  # to be seen with `pytest -s`, and copied into the document
    assert without_times(documented.splitlines()) == without_times(drawn(spans))
