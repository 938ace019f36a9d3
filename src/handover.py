"""The entry point of the command `handover`, for the installed script and for `python -m handover`.

It is a module beside the four packages, so that it can say what is wrong when another package hides one of them.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = "domain", "application", "infrastructure", "interfaces"
REMEDY = "let every user read the environment, as `chmod -R a+rX` does, or install it again"


def hidden_package() -> str | None:
    """Return a sentence about the first of our packages that Python does not find beside this file.

    That is one which this user may not read, which is missing, or which another package hides. Return None if it finds
    all of them. Their names are common, and the first package of a name on Python's path is the one that is imported.
    """
    folder = Path(__file__).resolve().parent
    for name in PACKAGES:
        if (folder / name).exists() and not os.access(folder / name / "__init__.py", os.R_OK):
            return f"this user may not read {folder / name}: {REMEDY}"
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
    """Run the command line; if a package is hidden or cannot be read, print one line to stderr and exit with 1."""
    fault = hidden_package()
    if not fault:
        try:
            from interfaces.cli import main  # noqa: PLC0415 - only after the check

            main.run()
        except ModuleNotFoundError as error:
            fault = f"{error} in {sys.prefix} that this user may read: {REMEDY}"
        except PermissionError as error:
            if not str(error.filename).endswith((".py", ".so")):
                raise
            fault = f"this user may not read {error.filename}: {REMEDY}"
    if fault:
        print(f"handover: {fault}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    run()
