"""One story, told in the same bytes on every engine; and it leaves out no operation and no problem of the document."""

import pytest

from application.store import Store
from infrastructure.persistence import memory
from tests.http.support.document import declared_problems, operations
from tests.http.support.recorder import Told
from tests.http.support.story import Story
from tests.support.engines import Database, settings_for

IN_MEMORY = settings_for("memory://")


async def told_in_memory() -> list[Told]:
    with pytest.MonkeyPatch.context() as patch:
        return await Story(IN_MEMORY, memory.open_store(IN_MEMORY), patch).tell()


async def test_the_same_bytes_on_every_engine(
    database: Database, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await Story(database.settings, store, monkeypatch).tell()
    there = await told_in_memory()
    for mine, other in zip(here, there, strict=True):
        assert mine == other


async def test_every_operation_succeeds_in_it() -> None:
    succeeded = {told.operation for told in await told_in_memory() if told.status < 300}
    assert succeeded - {None} == operations().keys()


async def test_every_problem_that_is_declared_is_given_and_no_other() -> None:
    given = {(told.operation, told.problem) for told in await told_in_memory() if told.operation and told.problem}
    before_routing = {(name, "bad-request") for name in ("start", "live", "ready")}  # the story has a request of each
    assert given | before_routing == declared_problems()
