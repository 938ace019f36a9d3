"""What commands print on stdout: tables on a terminal, plain lines in a pipe, and JSON for scripts."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, for scripts.")]


def print_json(document: Any) -> None:
    """Print the document as JSON, with an escape for each character that is not ASCII."""
    print(json.dumps(document, indent=2))


def print_rows(columns: Mapping[str, int], rows: Iterable[Sequence[str]]) -> None:
    """Print a table with headings if stdout is a terminal, else a plain line per row.

    `columns` are the headings, each with the least number of characters that a plain line has for it. On a terminal,
    a cell that is too long for its column goes on in the next line; nothing is cut off.
    """
    if not sys.stdout.isatty():
        for row in rows:
            cells = (f"{cell:{width}}" for cell, width in zip(row, columns.values(), strict=True))
            print("  ".join(cells).rstrip())
        return

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="")
    for heading in columns:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(markup=False, emoji=False, highlight=False).print(table)
