"""How many connections of clients the limit of open files leaves."""

import resource

import pytest

from infrastructure.settings import Settings
from interfaces.cli.serving.protocol import BoundedProtocol
from interfaces.cli.serving.server import max_connections


@pytest.mark.parametrize(
    ("hard", "url", "pool_size", "most"),
    [
        (1024, "postgresql://localhost/handover", 10, 950),
        (1024, "postgresql://localhost/handover", 300, 660),
        (1024, "postgresql://localhost/handover", 1000, 512),
        (1024, "mongodb://localhost/handover", 10, 950),
        (1024, "sqlite:///handover.db", 10, 920),
        (resource.RLIM_INFINITY, "memory://", 10, BoundedProtocol.max_connections),
    ],
)
def test_the_limit_of_files_decides(
    hard: int, url: str, pool_size: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    assert max_connections(Settings(database_url=url, pool_size=pool_size, _env_file=None)) == most
    assert limits == [(hard, hard)]
