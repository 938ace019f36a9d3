"""The app and its people, as the HTTP tests have them; nothing that is used here is in a log either."""

from tests.http.conftest import (
    ada,
    app,
    bob,
    container,
    deactivate,
    eve,
    http,
    new_person,
    password_hash,
    second_http,
    secrets,
)

__all__ = [
    "ada",
    "app",
    "bob",
    "container",
    "deactivate",
    "eve",
    "http",
    "new_person",
    "password_hash",
    "second_http",
    "secrets",
]
