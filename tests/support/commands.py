"""All commands of the command line, as Typer knows them."""

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from interfaces.cli.commands import app


def _below(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, inner in getattr(command, "commands", {}).items():
        yield from _below(inner, (*words, name))
    if words and not hasattr(command, "commands"):
        yield " ".join(words), command


COMMANDS: dict[str, Any] = dict(_below(get_command(app)))
"""Each command by its words, such as `users list`; groups such as `users` are none."""

GROUPS = sorted({command.rpartition(" ")[0] for command in COMMANDS})
"""`users` and the like, and the empty text for the command line itself."""
