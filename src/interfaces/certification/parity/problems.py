"""Checking responses that are problems (RFC 9457)."""

from urllib.parse import unquote

from httpx2 import Response


def assert_problem(response: Response, status: int, slug: str) -> None:
    """Assert that the response is this problem, with all fields and headers that a problem needs.

    `slug` is the last part of its type. It must have `errors` if and only if the status is 422, `WWW-Authenticate` if
    it is 401, and `Retry-After` if it is 429 or 503 or the problem is `request-in-progress`. `WWW-Authenticate` must
    say whether an access token was sent.
    """
    request = response.request
    answer = f"{request.method} {request.url.raw_path.decode()} is answered {response.status_code} {response.text}"
    assert response.status_code == status, f"{answer}, and not {status} {slug}"
    assert response.headers.get("content-type") == "application/problem+json", f"{answer}, and not the problem {slug}"
    problem = response.json()
    assert problem.keys() - {"errors"} == {"type", "title", "status", "detail", "instance", "request_id"}
    assert problem["type"] == f"/problems/{slug}", response.text
    assert problem["status"] == status
    assert unquote(problem["instance"]) == unquote(response.request.url.raw_path.partition(b"?")[0])
    assert problem["request_id"] == response.headers["x-request-id"]
    assert ("errors" in problem) == (status == 422)
    assert ("retry-after" in response.headers) == (status in {429, 503} or slug == "request-in-progress")
    was_sent = slug in {"invalid-token", "account-inactive"}
    challenge = 'Bearer error="invalid_token"' if was_sent else "Bearer"
    assert response.headers.get("www-authenticate") == (challenge if status == 401 else None)
