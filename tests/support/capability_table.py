"""The README's table of what engines can do, made from what their adapters state.

`python -m tests.support.capability_table` (with `src` on the path) writes it into the README.
"""

import re
from collections.abc import Callable
from pathlib import Path

from application.store import Capabilities
from infrastructure.container import open_store
from tests.support.engines import settings_for

README = Path(__file__).parents[2] / "README.md"
TABLE = re.compile(r"(?<=^The engines differ as follows:\n\n)(\|.*\n)+", re.M)

URLS = {
    "memory": "memory://",
    "SQLite": "sqlite:///file",
    "PostgreSQL": "postgresql://host/db",
    "MongoDB": "mongodb://host/db",
}


def release(capabilities: Capabilities) -> str:
    match capabilities.seconds_to_release_locks:
        case None:
            return "when its process ends"
        case 0:
            return "at once"
        case seconds:
            return f"after {seconds:g} s at most"


ROWS: dict[str, Callable[[Capabilities], str]] = {
    "Data outlive the process": lambda one: "yes" if one.durable else "no",
    "Processes that may share the data": lambda one: {
        "one": "one",
        "one-machine": "several, on one machine",
        "any": "any",
    }[one.processes],
    "Transactions that change data at the same time": lambda one: "one" if one.writers == "one" else "any number",
    "Two transactions that change one item": lambda one: (
        "the later one waits" if one.conflicts == "wait" else "the later one is run again"
    ),
    "Locks of a killed server are released": release,
}


def generated() -> str:
    capabilities = [open_store(settings_for(url)).capabilities for url in URLS.values()]
    rows = [["", *URLS], ["---"] * (len(URLS) + 1)]
    rows += [[name, *map(value, capabilities)] for name, value in ROWS.items()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    README.write_text(TABLE.sub(lambda _: generated(), README.read_text()))
