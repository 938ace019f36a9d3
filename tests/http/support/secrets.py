"""What a suite sends and gets that no log may hold, and what the log holds."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl

import pytest
from httpx2 import AsyncClient, Request, Response

from infrastructure.container import Settings
from interfaces.logs import configure_logs

CREDENTIALS = {"password", "current_password", "access_token", "refresh_token", "client_secret"}
HASH = "$argon2"
SHORTEST = 8  # anything shorter may well stand in a log for another reason


class Secrets:
    def __init__(self) -> None:
        self.log = io.StringIO()
        self.sent: set[str] = set()

    def note(self, request: Request, response: Response) -> None:
        self.sent |= {value for value in _credentials(request, response) if len(value) >= SHORTEST}

    def leaked(self) -> list[str]:
        log = self.log.getvalue()
        return [secret for secret in (*sorted(self.sent), HASH) if secret in log]


def _credentials(request: Request, response: Response) -> Iterator[str]:
    yield request.headers.get("authorization", "").partition(" ")[2]
    with suppress(Exception):  # whatever is not text was sent to be refused
        yield from (value for name, value in parse_qsl(request.content.decode()) if name in CREDENTIALS)
    for message in (request, response):
        with suppress(Exception):
            yield from (str(value) for name, value in json.loads(message.content).items() if name in CREDENTIALS)


@contextmanager
def watched() -> Iterator[Secrets]:
    """Whatever any client sends meanwhile, and all that is logged, as much as can be set."""
    secrets, send = Secrets(), AsyncClient.send

    async def send_and_note(self: AsyncClient, request: Request, **rest: Any) -> Response:
        response = await send(self, request, **rest)
        secrets.note(request, response)
        return response

    configure_logs(Settings(log_level="debug", log_format="json", _env_file=None), secrets.log)
    logging.getLogger("httpx2").setLevel("WARNING")  # the client's own lines
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AsyncClient, "send", send_and_note)
        yield secrets
