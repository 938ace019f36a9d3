"""The start page: HTML for browsers, and the same links as JSON for everybody else."""

import re

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize("accept", [BROWSER, "text/html", "text/*", "application/json;q=0.5, text/html", "TEXT/HTML"])
async def test_a_browser_gets_a_page_whose_links_work(http: AsyncClient, accept: str) -> None:
    page = await http.get("/", headers={"Accept": accept})
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["vary"] == "Accept"
    links = re.findall('href="([^"]+)"', page.text)
    assert links == ["/docs", "/openapi.json", "/health/live", "/health/ready"]
    for link in links:
        assert (await http.get(link)).status_code == 200


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/json",
        "application/*",
        "",
        "text/html;q=0.5, application/json",
        "text/html;q=0, */*",
        "x;q=y",
    ],
)
async def test_everybody_else_gets_json(http: AsyncClient, accept: str) -> None:
    answer = await http.get("/", headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["vary"] == "Accept"
    assert answer.json()["links"] == {
        "docs": "/docs",
        "openapi": "/openapi.json",
        "live": "/health/live",
        "ready": "/health/ready",
    }


async def test_head_has_no_body(http: AsyncClient) -> None:
    answer = await http.head("/", headers={"Accept": BROWSER})
    assert (answer.status_code, answer.content) == (200, b"")


async def test_under_a_prefix_the_links_have_it(app: FastAPI) -> None:
    transport = ASGITransport(app, root_path="/<api>")
    async with AsyncClient(transport=transport, base_url="http://handover.test/<api>") as http:
        answer = await http.get("/")
        assert answer.json()["links"]["docs"] == "/<api>/docs"
        page = await http.get("/", headers={"Accept": BROWSER})
        assert 'href="/&lt;api&gt;/docs"' in page.text
