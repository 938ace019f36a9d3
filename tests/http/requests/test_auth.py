"""A route is closed unless it says that it is open, and nobody gets in with a forged token."""

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from fastapi import APIRouter, FastAPI
from httpx2 import AsyncClient
from pydantic import SecretStr

from application.ports import Tokens
from domain.errors import Unauthenticated
from infrastructure.security.tokens import JwtTokens
from interfaces.certification.parity.problems import assert_problem
from interfaces.http.routing.route import add_routes
from interfaces.testing.clock_and_ids import SetClock
from tests.http.support.client import Person

PUBLIC = {
    ("GET", "/"),
    ("POST", "/users"),
    ("POST", "/auth/token"),
    ("POST", "/auth/refresh"),
    ("POST", "/auth/logout"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/problems/{slug}"),
    ("GET", "/problems"),
    ("GET", "/metrics"),
}
UNDOCUMENTED = {"/openapi.json", "/docs", "/docs/assets"}
SECRET = "a secret of at least sixty-four bytes, which is what HMAC-SHA-512 wants"


async def test_every_route_but_the_open_ones_needs_a_token(http: AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    operations = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert operations > PUBLIC
    for method, path in operations - PUBLIC:
        for headers in ({}, {"Content-Type": "text/plain", "If-Match": "?", "Idempotency-Key": "\t"}):
            response = await http.request(method, path, headers=headers, content=b"?")
            assert_problem(response, 401, "not-signed-in")
            forged = await http.request(method, path, headers={**headers, "Authorization": "Bearer x"}, content=b"?")
            assert_problem(forged, 401, "invalid-token")
        if method == "GET":
            assert (await http.request("HEAD", path)).status_code == 401
    for method, path in PUBLIC:
        assert (await http.request(method, path)).status_code not in {401, 403}
        assert document["paths"][path][method.lower()]["security"] == []


async def test_only_a_token_that_was_sent_is_called_invalid(
    http: AsyncClient, ada: Person, deactivate: Callable[[Person], Awaitable[None]]
) -> None:
    """RFC 6750, section 3.1."""
    without = [await http.get("/users/me"), await http.get("/users/me", headers={"Authorization": "Basic YTpi"})]
    without.append(await http.post("/auth/token", data={"username": "ada", "password": "x"}))
    without.append(await http.post("/auth/refresh", json={"refresh_token": "x"}))
    assert [response.headers["www-authenticate"] for response in without] == ["Bearer"] * 4
    refused = [await http.get("/users/me", headers={"Authorization": "Bearer x"})]
    await deactivate(ada)
    refused.append(await ada.get("/users/me"))
    assert [response.headers["www-authenticate"] for response in refused] == ['Bearer error="invalid_token"'] * 2
    assert_problem(refused[1], 401, "account-inactive")


async def test_no_route_is_left_out_of_the_document(app: FastAPI, http: AsyncClient) -> None:
    documented = (await http.get("/openapi.json")).json()["paths"].keys()
    assert {route.path for route in app.routes} == documented | UNDOCUMENTED  # type: ignore[attr-defined]


async def test_a_route_added_tomorrow_is_closed(app: FastAPI, http: AsyncClient, ada: Person) -> None:
    router = APIRouter()

    @router.post("/plain")
    async def plain(body: dict[str, str]) -> str:
        return "in"

    @app.post("/direct")
    async def direct(body: dict[str, str]) -> str:
        return "in"

    app.include_router(router)
    nested = APIRouter()
    nested.include_router(router)
    app.include_router(nested, prefix="/nested")
    for path in ("/plain", "/direct", "/nested/plain"):
        assert_problem(await http.post(path, json={}), 401, "not-signed-in")
        assert (await ada.post(path, json={})).json() == "in"


def test_a_route_that_would_be_open_by_accident_is_not_added(app: FastAPI) -> None:
    router = APIRouter()
    router.add_api_route("/plain", lambda: "in")
    with pytest.raises(TypeError, match="new_router"):
        add_routes(app, router)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "Token x", "\t"])
async def test_what_is_no_token(http: AsyncClient, header: str) -> None:
    assert_problem(await http.get("/users/me", headers={"Authorization": header}), 401, "not-signed-in")


async def test_the_scheme_has_no_case(http: AsyncClient, ada: Person) -> None:
    assert (await http.get("/users/me", headers={"Authorization": f"bEARER  {ada.token}"})).status_code == 200


async def test_bytes_that_are_no_text(http: AsyncClient) -> None:
    response = await http.get("/users/me", headers={b"Authorization": b"Bearer \xff\xfe.\xf0.\x80"})
    assert_problem(response, 401, "invalid-token")


async def test_a_token_ends_with_its_time(ada: Person, clock: SetClock) -> None:
    clock.move(minutes=15, seconds=29)
    assert (await ada.get("/users/me")).status_code == 200
    clock.move(seconds=1)
    assert_problem(await ada.get("/users/me"), 401, "invalid-token")


async def test_a_token_does_not_begin_before_its_time(ada: Person, clock: SetClock) -> None:
    clock.move(seconds=-30)
    assert (await ada.get("/users/me")).status_code == 200
    clock.move(seconds=-1)
    assert_problem(await ada.get("/users/me"), 401, "invalid-token")


def unsigned(token: str, algorithm: str) -> str:
    header = urlsafe_b64encode(json.dumps({**jwt.get_unverified_header(token), "alg": algorithm}).encode()).rstrip(b"=")
    return f"{header.decode()}.{token.split('.')[1]}."


def signed(header: dict[str, Any], claims: dict[str, Any], secret: str = SECRET, digest: str = "sha256") -> str:
    """With HMAC, whatever the header says."""
    parts = [urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    signature = hmac.digest(secret.encode(), b".".join(parts), digest)
    return b".".join([*parts, urlsafe_b64encode(signature).rstrip(b"=")]).decode()


Claims = dict[str, Any]
FORGERIES: dict[str, Callable[[str, Claims, dict[str, str]], str]] = {
    "no algorithm": lambda token, claims, header: unsigned(token, "none"),
    "no algorithm, spelt otherwise": lambda token, claims, header: unsigned(token, "NonE"),
    "no signature": lambda token, claims, header: token.rpartition(".")[0] + ".",
    "another signature": lambda token, claims, header: token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB"),
    "another payload": lambda token, claims, header: ".".join(
        [token.split(".")[0], jwt.encode(claims | {"sub": "x"}, SECRET).split(".")[1], token.split(".")[2]]
    ),
    "another key": lambda token, claims, header: jwt.encode(claims, "k" * 32, "HS256", header),
    "another algorithm": lambda token, claims, header: signed({**header, "alg": "HS512"}, claims, digest="sha512"),
    "an unknown key id": lambda token, claims, header: jwt.encode(claims, SECRET, "HS256", {"kid": "?"}),
    "no key id": lambda token, claims, header: jwt.encode(claims, SECRET, "HS256"),
    "another audience": lambda token, claims, header: jwt.encode(claims | {"aud": "x"}, SECRET, "HS256", header),
    "a list of audiences": lambda token, claims, header: jwt.encode(
        claims | {"aud": ["handover", "x"]}, SECRET, "HS256", header
    ),
    "another issuer": lambda token, claims, header: jwt.encode(claims | {"iss": "x"}, SECRET, "HS256", header),
    "another kind": lambda token, claims, header: jwt.encode(claims | {"typ": "refresh"}, SECRET, "HS256", header),
    "nobody": lambda token, claims, header: jwt.encode(claims | {"sub": "nobody"}, SECRET, "HS256", header),
    "no time": lambda token, claims, header: jwt.encode(claims | {"exp": "soon"}, SECRET, "HS256", header),
    **{
        f"without {claim}": lambda token, claims, header, claim=claim: jwt.encode(  # type: ignore[misc]
            {name: value for name, value in claims.items() if name != claim}, SECRET, "HS256", header
        )
        for claim in ("exp", "iat", "nbf", "sub", "aud", "iss", "jti", "typ")
    },
    "another algorithm in the header": lambda token, claims, header: signed({**header, "alg": "HS512"}, claims),
    "an asymmetric algorithm": lambda token, claims, header: signed({**header, "alg": "RS256"}, claims),
    "the name of a key as the key": lambda token, claims, header: signed(
        {**header, "alg": "HS256"}, claims, header["kid"]
    ),
    "a key of its own": lambda token, claims, header: signed(
        {**header, "alg": "HS256", "jwk": {"kty": "oct", "k": "YQ"}, "jku": "https://example.org/keys"}, claims, "a"
    ),
    "a key id that is a list": lambda token, claims, header: signed({"alg": "HS256", "kid": [header["kid"]]}, claims),
    "a key id that is a file": lambda token, claims, header: signed({"alg": "HS256", "kid": "/dev/null"}, claims, ""),
    "an extension that must be understood": lambda token, claims, header: signed(
        {**header, "alg": "HS256", "crit": ["x"], "x": 1}, claims
    ),
    "an empty key": lambda token, claims, header: signed({**header, "alg": "HS256"}, claims, ""),
    "expired": lambda token, claims, header: signed({**header, "alg": "HS256"}, claims | {"exp": claims["nbf"] - 31}),
    "not valid yet": lambda token, claims, header: signed(
        {**header, "alg": "HS256"}, claims | {"nbf": claims["nbf"] + 31}
    ),
    "issued tomorrow": lambda token, claims, header: signed(
        {**header, "alg": "HS256"}, claims | {"iat": claims["iat"] + 86400, "exp": claims["exp"] + 86400}
    ),
    "times that are no times": lambda token, claims, header: signed(
        {**header, "alg": "HS256"}, claims | {"exp": float("inf")}
    ),
    "garbage": lambda token, claims, header: "garbage",
    "dots": lambda token, claims, header: "..",
    "very long": lambda token, claims, header: token + "A" * 10_000,
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_forgeries(http: AsyncClient, app: FastAPI, ada: Person, clock: SetClock, forgery: str) -> None:
    tokens = JwtTokens(secret=SecretStr(SECRET), previous=None, minutes=15)
    app.state.use_cases_and_ports = {**app.state.use_cases_and_ports, Tokens: tokens}
    genuine = tokens.issue(ada.user.id, clock()).token
    assert (await http.get("/users/me", headers={"Authorization": f"Bearer {genuine}"})).status_code == 200
    claims = jwt.decode(genuine, options={"verify_signature": False})
    header = {"kid": jwt.get_unverified_header(genuine)["kid"]}
    again = jwt.encode(claims, SECRET, "HS256", header)
    assert tokens.verify(again, clock()) == ada.user.id  # so the one difference is what is refused
    assert tokens.verify(signed({**header, "alg": "HS256"}, claims), clock()) == ada.user.id

    forged = FORGERIES[forgery](genuine, claims, header)
    for _ in range(2):
        response = await http.get("/users/me", headers={"Authorization": f"Bearer {forged}"})
        assert_problem(response, 401, "invalid-token")


async def test_a_key_is_replaced_without_signing_anyone_out(ada: Person, clock: SetClock) -> None:
    old = JwtTokens(secret=SecretStr(SECRET), previous=None, minutes=15)
    new = JwtTokens(secret=SecretStr("n" * 32), previous=SecretStr(SECRET), minutes=15)
    token, later = old.issue(ada.user.id, clock()).token, new.issue(ada.user.id, clock()).token
    assert new.verify(token, clock() + timedelta(minutes=1)) == ada.user.id
    assert new.verify(later, clock()) == ada.user.id
    assert jwt.get_unverified_header(token)["kid"] != jwt.get_unverified_header(later)["kid"]
    without_the_old = JwtTokens(secret=SecretStr("n" * 32), previous=None, minutes=15)
    with pytest.raises(Unauthenticated):
        without_the_old.verify(token, clock())
