"""What readiness says: what is the matter, what to look at, and whether the server becomes ready by itself."""

import asyncio
from dataclasses import dataclass

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient

from application.errors import Busy, Unavailable
from application.store import Schema, Store
from interfaces.certification.parity.problems import assert_problem
from interfaces.http.responses.problems import REPEAT
from interfaces.http.routes import health

PLACE = "PostgreSQL at 10.0.0.7:5432 cannot be reached"
BY_ITSELF = "becomes ready by itself"


@dataclass
class StoreThat:
    """A store of which readiness only asks the schema."""

    finds: Schema | Exception | None
    """The answer, the error that is raised, or None if it never answers."""

    async def schema(self) -> Schema:
        if self.finds is None:
            await asyncio.sleep(60)
        if isinstance(self.finds, Schema):
            return self.finds
        raise self.finds or AssertionError


@pytest.mark.parametrize(
    ("finds", "slug", "told"),
    [
        (Unavailable(PLACE), "store-unavailable", ["cannot be used", "the log says why"]),
        (Busy(PLACE), "busy", ["is busy", "HANDOVER_POOL_SIZE"]),
        (None, "store-unavailable", ["has not answered for 0.05 seconds", "network"]),
        (Schema(None, "0002"), "store-unavailable", ["is missing and not 0002", "handover migrate up"]),
        (Schema("0001", "0002"), "store-unavailable", ["is 0001 and not 0002", "handover migrate up"]),
    ],
    ids=["dead", "busy", "hanging", "without a schema", "with an older schema"],
)
async def test_not_ready(
    app: FastAPI,
    http: AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    finds: Schema | Exception | None,
    slug: str,
    told: list[str],
) -> None:
    monkeypatch.setattr(health, "STORE_SECONDS", 0.05)
    app.state.use_cases_and_ports = {**app.state.use_cases_and_ports, Store: StoreThat(finds)}
    answer = await http.get("/health/ready")
    assert_problem(answer, 503, slug)
    detail = answer.json()["detail"]
    for words in ["the store", BY_ITSELF, *told]:
        assert words in detail
    assert PLACE not in detail
    assert REPEAT not in detail


async def test_ready_with_a_newer_schema(app: FastAPI, http: AsyncClient) -> None:
    app.state.use_cases_and_ports = {**app.state.use_cases_and_ports, Store: StoreThat(Schema("0003", "0002"))}
    assert (await http.get("/health/ready")).status_code == 200


async def test_a_server_that_stops_does_not_become_ready_again(app: FastAPI, http: AsyncClient) -> None:
    app.state.draining = True
    answer = await http.get("/health/ready")
    assert_problem(answer, 503, "store-unavailable")
    assert "about to stop" in answer.json()["detail"]
    assert BY_ITSELF not in answer.json()["detail"]
