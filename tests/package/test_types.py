"""Other projects see the types of all four packages: each has the marker py.typed (PEP 561)."""

import subprocess
import sys
from pathlib import Path

from tests.support.wheels import ROOT, install_wheels, variables

CONSUMER = """\
from application.store import Schema
from domain.item import Item
from infrastructure.persistence.memory import open_store
from interfaces.testing.builders import a_user, an_item

item: Item = an_item(a_user())
schema: str = Schema(found=None, needed=None)
version: str = item.version
store: int = open_store
built: int = a_user()
"""


def test_a_project_of_somebody_else_is_checked_against_our_types(tmp_path: Path) -> None:
    python = install_wheels(tmp_path / "installed", ROOT)
    consumer = tmp_path / "consumer.py"
    consumer.write_text(CONSUMER)
    options = ["--strict", "--no-incremental", "--cache-dir", "/dev/null", "--python-executable", str(python)]
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", *options, consumer],
        cwd=tmp_path,
        env=variables(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    lines = [line for line in checked.stdout.splitlines() if "error:" in line]
    assert [line.partition(": error: ")[0] for line in lines] == [f"consumer.py:{number}" for number in range(7, 11)]
    assert all("[assignment]" in line for line in lines), checked.stdout
