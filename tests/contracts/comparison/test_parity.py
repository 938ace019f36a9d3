"""The same requests get the same bytes in the answer as from the in-memory engine, including cursors and problems."""

import pytest

from interfaces.certification.database import Database
from interfaces.certification.parity.story import Story, exchanges_in_memory


async def test_the_same_bytes_as_in_memory(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    here = await Story(database.settings, database.store, monkeypatch).run()
    for mine, other in zip(here, await exchanges_in_memory(), strict=True):
        assert mine == other
