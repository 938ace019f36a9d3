"""That no log holds a credential is asked at the end of the run; here, that the question finds one that does."""

import structlog
from httpx2 import Request, Response

from tests.http.support.secrets import HASH, Secrets, watched

TOKENS = Response(200, json={"access_token": "aaaaaaaa.b.c", "refresh_token": "rrrrrrrr"})
FORM = Request("POST", "http://x/auth/token", data={"username": "ada", "password": "pppp pppp"})
BODY = Request(
    "PATCH", "http://x/users/1", json={"current_password": "cccccccc"}, headers={"Authorization": "Bearer hhhhhhhh"}
)


def test_whatever_was_used_is_looked_for() -> None:
    secrets = Secrets()
    secrets.note(FORM, TOKENS)
    secrets.note(BODY, Response(204))
    secrets.note(Request("POST", "http://x/", content=b"\xff{"), Response(200, content=b"[1]"))
    assert secrets.sent == {"aaaaaaaa.b.c", "rrrrrrrr", "pppp pppp", "cccccccc", "hhhhhhhh"}
    assert secrets.leaked() == []
    secrets.log.write("a line with hhhhhhhh in it, and pppp pppp")
    assert secrets.leaked() == ["hhhhhhhh", "pppp pppp"]


def test_a_line_of_the_log_is_found() -> None:
    before = structlog.get_config()
    try:
        with watched() as secrets:
            secrets.note(FORM, TOKENS)
            structlog.get_logger().debug("signed in", token="rrrrrrrr", hash=f"{HASH}id$v=19")
            assert secrets.leaked() == ["rrrrrrrr", HASH]
    finally:
        structlog.configure(**before)
