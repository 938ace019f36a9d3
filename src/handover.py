"""The entry point of the command `handover`, for the installed script and for `python -m handover`.

It is a module beside the four packages, so that it can say what is wrong when another package hides one of them.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = "domain", "application", "infrastructure", "interfaces"


def hidden_package() -> str | None:
    """Return a sentence about the first of our packages that Python does not find beside this file.

    Return None if it finds all of them. Their names are common, and the first package of a name on Python's path is the
    one that is imported.
    """
    folder = Path(__file__).resolve().parent
    for name in PACKAGES:
        spec = find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found is None:
            return f"the package {name} is missing in {folder}: install Handover again"
        if found != folder / name / "__init__.py":
            place = found.parent if found.name == "__init__.py" else found
            return (
                f"the package {name} in {place} hides that of Handover in {folder / name}:"
                " take it off PYTHONPATH, or install Handover in an environment of its own"
            )
    return None


def run() -> None:
    """Run the command line; if a package is hidden, print one line to stderr instead and exit with 1."""
    if hidden := hidden_package():
        print(f"handover: {hidden}", file=sys.stderr)
        sys.exit(1)
    from interfaces.cli import main  # noqa: PLC0415 - only after the check

    main.run()


if __name__ == "__main__":
    run()
