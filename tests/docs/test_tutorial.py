"""What docs/tutorial.md says is done to a copy of this repository, step by step, and works."""

import shutil
from pathlib import Path

import pytest

from tests.docs.blocks import blocks, comparable
from tests.docs.copies import ROOT, copy_of_the_checkout, run
from tests.support.served import served

BLOCKS = blocks((ROOT / "docs" / "tutorial.md").read_text())
TRIED, ANSWERED = BLOCKS[-2:]
"""The requests, and what they print."""
NOT_YET = "sqlmodel-sqlite mongodb"
"""The engines of the last command, which names none; the commands before it have named the others."""


@pytest.fixture(scope="module")
def lending(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The copy after all steps but the last, which needs a server."""
    root = copy_of_the_checkout(tmp_path_factory.mktemp("lending"))
    for block in BLOCKS[:-2]:
        if block.language == "sh":
            assert "passed" in run(block.text, root, ENGINES=NOT_YET)
        else:
            block.apply(root)
    return root


def test_every_step_works(lending: Path) -> None:
    assert '"/items/{item_id}/loan"' in (lending / "openapi.json").read_text()


def test_the_code_passes_the_checks(lending: Path) -> None:
    run(".venv/bin/ruff format --check && .venv/bin/ruff check", lending)
    run(".venv/bin/lint-imports", lending)


def test_only_the_example_outside_lacks_loans(lending: Path) -> None:
    if (ROOT / ".mypy_cache").exists():  # which makes it four times as fast
        shutil.copytree(ROOT / ".mypy_cache", lending / ".mypy_cache")
    errors = [line for line in run(".venv/bin/mypy", lending, exit_code=1).splitlines() if ": error:" in line]
    assert {line.partition(":")[0] for line in errors} == {"examples/handover-lmdb/src/handover_lmdb/__init__.py"}


async def test_an_item_is_lent_over_http(lending: Path, tmp_path: Path) -> None:
    async with served(tmp_path, wrapper=f"env PYTHONPATH={lending / 'src'}") as server:
        printed = run(TRIED.text, lending, HANDOVER=server.url)
    assert comparable(printed) == comparable(ANSWERED.text)
