"""Pages that explain the API: a start page, the docs page, which works offline, and a text for each problem type."""

import re
from html import escape
from importlib.resources import files
from typing import Annotated, Literal

from fastapi import FastAPI, HTTPException, Path, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from interfaces.http.openapi.annotations import problem_responses
from interfaces.http.responses.answers import json_answer
from interfaces.http.responses.problems import PROBLEMS, explanation, explanations
from interfaces.http.routing.auth import PUBLIC
from interfaces.http.routing.route import new_router

ASSETS = "/docs/assets"
SUMMARY = "Handover keeps track of who owns what, and hands ownership over safely."
LINKS = {
    "docs": ("/docs", "The API, and a page to try it on"),
    "openapi": ("/openapi.json", "The same as an OpenAPI document"),
    "live": ("/health/live", "Whether the process answers"),
    "ready": ("/health/ready", "Whether it can serve requests"),
}
_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Handover</title>
<style>
  body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 4rem auto; max-width: 40rem; padding: 0 1rem }}
  dt {{ margin-top: 1rem }} dd {{ margin: 0; opacity: 0.75 }}
</style>
<h1>Handover</h1>
<p>{summary}</p>
<dl>
{links}
</dl>
"""

router = new_router("documentation")


class ExplanationOut(BaseModel):
    """What a type of problem means, and what a caller can do about it."""

    type: str
    title: str
    status: int
    explanation: str


@router.get(
    "/problems/{slug}",
    openapi_extra=PUBLIC,
    response_model=ExplanationOut,
    responses=problem_responses("not-found"),
    summary="What a problem type means",
)
async def explain_problem(slug: Annotated[str, Path(examples=["version-mismatch", "invalid-request"])]) -> Response:
    """Return the explanation of a type of problem. The field `type` of every error is the path of its explanation."""
    if slug not in PROBLEMS:
        raise HTTPException(404)
    return json_answer(explanation(slug)).response()


class ExplanationsOut(BaseModel):
    """All types of problems."""

    items: list[ExplanationOut]


@router.get("/problems", openapi_extra=PUBLIC, response_model=ExplanationsOut, summary="What the problem types mean")
async def list_problems() -> Response:
    """Return the explanations of all types of problems, ordered by status, then by type."""
    return json_answer({"items": explanations()}).response()


class LinksOut(BaseModel):
    """Paths of the API's own pages."""

    docs: str
    openapi: str
    live: str
    ready: str


class StartOut(BaseModel):
    """What the API is, and where its documentation and health checks are."""

    name: Literal["Handover"]
    summary: str
    links: LinksOut


@router.get(
    "/",
    openapi_extra=PUBLIC,
    response_model=StartOut,
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}, **problem_responses("bad-request")},
    summary="Where to start; a page for browsers",
)
async def start(request: Request) -> Response:
    """Return links to the documentation and to the health checks, as an HTML page or as JSON.

    It is the page if the header `Accept` prefers HTML to JSON, as that of browsers does.
    """
    addresses = {name: _root(request) + path for name, (path, _) in LINKS.items()}
    accept = request.headers.get("accept", "*/*")
    if accepted_quality(accept, "text/html") > accepted_quality(accept, "application/json"):
        links = (
            f'<dt><a href="{escape(addresses[name])}">{path}</a><dd>{text}' for name, (path, text) in LINKS.items()
        )
        response: Response = HTMLResponse(_PAGE.format(summary=SUMMARY, links="\n".join(links)))
    else:
        response = json_answer({"name": "Handover", "summary": SUMMARY, "links": addresses}).response()
    response.headers["Vary"] = "Accept"
    return response


def accepted_quality(accept: str, media_type: str) -> float:
    """Return the weight, from 0 to 1, that an Accept header gives a media type (RFC 9110, section 12.5.1).

    Of several ranges that include the type, the most specific one counts. The weight is 0 if no range includes it, or
    if the weight is malformed.
    """
    weights = {}
    for media_range in accept.lower().split(","):
        name, *parameters = (part.strip() for part in media_range.split(";"))
        weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        weights[name] = float(weight) if re.fullmatch(r"0(\.\d{0,3})?|1(\.0{0,3})?", weight, re.ASCII) else 0.0
    names = media_type, f"{media_type.partition('/')[0]}/*", "*/*"  # the most specific range counts
    return next((weights[name] for name in names if name in weights), 0.0)


def _root(request: Request) -> str:
    """Return the path under which the application is mounted, without a slash at its end; `""` if it is not mounted."""
    root: str = request.scope.get("root_path", "")
    return root.rstrip("/")


def add_docs_page(app: FastAPI) -> None:
    """Add the docs page (Swagger UI) at `/docs`, and its assets, which come from an installed package.

    Both need no sign-in, and are not in the OpenAPI document.
    """

    async def page(request: Request) -> Response:
        """Return the docs page, with addresses below the application's root path."""
        root = _root(request)
        return get_swagger_ui_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=app.title,
            swagger_js_url=f"{root}{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{root}{ASSETS}/favicon-32x32.png",
        )

    app.add_route("/docs", page, include_in_schema=False)
    app.mount(ASSETS, StaticFiles(directory=str(files("fastapi_swagger") / "resources")))
