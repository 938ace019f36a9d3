"""The measurements' servers do what is asked of them: a figure for answers that failed would say nothing.

How fast they are is measured by `make bench`, and by no test.
"""

from contextlib import ExitStack
from pathlib import Path

import pytest

from bench import stores
from bench.cases import TITLES
from bench.compare import fill, peers, starts
from bench.measure import ask_one_by_one, contender
from bench.stock import stock
from tests.support import engines

FEW = 3


@pytest.fixture(params=[name for name in stores.ENGINES if name in engines.selected()])
def engine_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_every_case_succeeds_on_every_server(engine_name: str, tmp_path: Path) -> None:
    filled = stock(items=4100, users=100)
    with ExitStack() as ends:
        engine = ends.enter_context(stores.ENGINES[engine_name](tmp_path))
        await fill(engine, filled)
        asks, refused = peers(filled), {}
        for name, start in starts(engine_name):
            one = ends.enter_context(contender(name, start, engine.url(name), tmp_path))
            for case in TITLES:
                statuses = ask_one_by_one(one.server.port, getattr(asks[name], case)(), FEW)
                if case != "hot" and max(statuses) >= 400:  # who has a hot item nobody can know
                    refused[name, case] = statuses
    assert refused == {}
