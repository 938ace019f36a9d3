"""What explains the API: a docs page with assets of its own, so that it needs no internet, and each problem type."""

from importlib.resources import files
from typing import Annotated

from fastapi import FastAPI, HTTPException, Path, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles

from interfaces.http.answers import answer
from interfaces.http.auth import OPEN
from interfaces.http.openapi import problems
from interfaces.http.problems import PROBLEMS
from interfaces.http.routing import new_router

ASSETS = "/docs/assets"

router = new_router("problems")


@router.get(
    "/problems/{slug}", openapi_extra=OPEN, responses=problems("not-found"), summary="What a problem type means"
)
async def explain_problem(slug: Annotated[str, Path(examples=["version-mismatch", "invalid-request"])]) -> Response:
    if slug not in PROBLEMS:
        raise HTTPException(404)
    status, title, explanation = PROBLEMS[slug]
    content = {"type": f"/problems/{slug}", "title": title, "status": status, "explanation": explanation}
    return answer(content).response()


def add_docs(app: FastAPI) -> None:
    async def page(request: Request) -> Response:
        root = request.scope.get("root_path", "").rstrip("/")
        return get_swagger_ui_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=app.title,
            swagger_js_url=f"{root}{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{root}{ASSETS}/favicon-32x32.png",
        )

    app.add_route("/docs", page, include_in_schema=False)
    app.mount(ASSETS, StaticFiles(directory=str(files("fastapi_swagger") / "resources")))
