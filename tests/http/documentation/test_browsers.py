"""What browsers and caches ask for: HEAD, and calls from pages of other origins (CORS)."""

import pytest
from dependency_injector import providers
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient, Response

from infrastructure.container import Container, Settings
from interfaces.http.app import attach_container, create_app
from interfaces.http.routing.auth import PUBLIC
from tests.http.support.client import Person

PAGE = "https://shop.example"


async def test_head_is_get_without_the_body(http: AsyncClient, ada: Person) -> None:
    item = await ada.registers()
    own = {"x-request-id", "content-length"}
    for path in (f"/items/{item['id']}", "/items", "/users/me", "/health/live", "/openapi.json", "/docs", "/nope"):
        got, headed = [await ada.call(method, path) for method in ("GET", "HEAD")]
        assert headed.content == b""
        assert headed.status_code == got.status_code
        for response in (got, headed):
            assert "x-request-id" in response.headers
        assert [(k, v) for k, v in headed.headers.items() if k not in own] == [
            (k, v) for k, v in got.headers.items() if k not in own
        ]
    known = await ada.call("HEAD", f"/items/{item['id']}", headers={"If-None-Match": '"1"'})
    assert (known.status_code, known.headers["etag"]) == (304, '"1"')
    assert (await http.request("HEAD", "/items")).status_code == 401
    refused = await ada.call("HEAD", f"/items/{item['id']}/transfer")
    assert (refused.status_code, refused.headers["allow"], refused.content) == (405, "POST", b"")


def app_for(container: Container, *origins: str) -> FastAPI:
    settings: Settings = container.settings()
    container.settings.override(providers.Object(settings.model_copy(update={"cors_origins": origins})))
    app = create_app(container)
    attach_container(app, container)
    return app


def client(app: FastAPI) -> AsyncClient:
    return AsyncClient(transport=ASGITransport(app), base_url="http://handover.test")


async def preflight(http: AsyncClient, origin: str, method: str = "PATCH", header: str = "authorization") -> Response:
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": header}
    return await http.request("OPTIONS", "/items/x", headers={"Origin": origin, **asked})


def permitted(response: Response) -> str | None:
    """The origin whose pages may see the answer; and never with the browser's own credentials."""
    assert "access-control-allow-credentials" not in response.headers
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "x-request-id" in response.headers
    return response.headers.get("access-control-allow-origin")


async def test_no_origin_is_let_in_unless_it_is_set(http: AsyncClient, ada: Person) -> None:
    assert permitted(await preflight(http, PAGE)) is None
    assert (await preflight(http, PAGE)).status_code == 405
    assert permitted(await ada.get("/items", headers={"Origin": PAGE})) is None


async def test_the_origins_that_are_set(container: Container, ada: Person) -> None:
    async with client(app_for(container, PAGE, "https://other.example")) as http:
        allowed = await preflight(http, PAGE)
        assert (allowed.status_code, allowed.content, permitted(allowed)) == (204, b"", PAGE)
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
            assert method in allowed.headers["access-control-allow-methods"]
        sent = allowed.headers["access-control-allow-headers"].lower()
        for header in ("authorization", "content-type", "idempotency-key", "if-match", "if-none-match", "x-request-id"):
            assert header in sent
        for origin in ("https://evil.example", "null", f"{PAGE}.evil.example", PAGE.replace("https", "http"), "*"):
            refused = await preflight(http, origin)
            assert (refused.status_code, permitted(refused)) == (204, None)

        seen = await http.get("/users/me", headers={"Origin": PAGE, "Authorization": f"Bearer {ada.token}"})
        assert (seen.status_code, permitted(seen)) == (200, PAGE)
        shown = seen.headers["access-control-expose-headers"]
        for header in ("ETag", "Link", "Location", "Retry-After", "Idempotency-Replayed", "X-Request-ID"):
            assert header in shown
        assert "Origin" in seen.headers["vary"]
        assert permitted(await http.get("/users/me", headers={"Origin": "https://evil.example"})) is None
        assert "access-control-allow-origin" not in (await http.get("/users/me")).headers


async def test_a_page_sees_refusals_and_failures_too(container: Container) -> None:
    app = app_for(container, PAGE)

    @app.get("/fails", openapi_extra=PUBLIC)
    async def fails() -> None:
        raise RuntimeError

    async with client(app) as http:
        for path, status in (("/users/me", 401), ("/nope", 404), ("/fails", 500)):
            response = await http.get(path, headers={"Origin": PAGE})
            assert (response.status_code, permitted(response)) == (status, PAGE)


async def test_every_origin_in_development(container: Container) -> None:
    async with client(app_for(container, "*")) as http:
        for response in (await preflight(http, PAGE), await http.get("/health/live", headers={"Origin": PAGE})):
            assert permitted(response) == "*"


@pytest.mark.parametrize("header", ["cookie", "x-evil"])
async def test_headers_that_no_page_sends(container: Container, header: str) -> None:
    async with client(app_for(container, PAGE)) as http:
        assert header not in (await preflight(http, PAGE, header=header)).headers["access-control-allow-headers"]
