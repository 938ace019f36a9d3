"""Make a service of your own from this repository: `python scripts/rename.py NAME`.

It replaces the name `handover` by NAME in all files that git knows, in small letters, capitals, and with one capital
letter, and in the names of files and folders. So it renames the distribution, the command, the prefix of the settings,
the groups of entry points, the default database and the titles. It also removes itself, its test and the section of
docs/your-own-service.md that is about it. It needs the standard library and git alone, and commits nothing.
"""

import keyword
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLD = "handover"
KEPT = {"LICENSE"}
"""The licence requires that its copyright notice stays."""
OURS = "scripts/rename.py", "tests/docs/test_rename.py"
"""Files that only make sense before."""
PAGE = "docs/your-own-service.md"
SECTION = re.compile(r"^## Rename it\n.*?(?=^## )", re.MULTILINE | re.DOTALL)
"""The section of PAGE that only makes sense before."""
TAKEN = {*sys.stdlib_module_names, "domain", "application", "infrastructure", "interfaces", "tests", "bench"} | {
    *("memory", "sqlite", "postgresql", "mongodb", "sqlalchemy", "sqlmodel", "beanie", "lmdb", "python"),
    *("user", "users", "item", "items", "transfer", "transfers", "task", "tasks", "jwt"),
}
"""Names of packages and engines, and words that mean something else in the code. So are the names of dependencies."""
LOCK = "requirements-dev.lock"
NEXT = (
    "Look at it with `git add --all` and `git diff --staged`; then: make clean, make setup, make format,"
    f" make recording, make check. What remains for you: {PAGE}"
)
TESTS_OF_PAGES = "tests/docs/test_pages.py"
"""The line that names one of OURS is removed from it."""


def main(arguments: list[str]) -> None:
    """Rename everything, or exit with one line that says what is wrong, without a change."""
    if len(arguments) != 1 or not re.fullmatch(r"[a-z][a-z0-9]{1,11}", arguments[0]):
        sys.exit("Usage: python scripts/rename.py NAME, where NAME is 2 to 12 small letters and digits.")
    new = arguments[0]
    dependencies = re.findall(r"^[^=\s]+(?===)", (ROOT / LOCK).read_text(), re.MULTILINE)
    if new == OLD or new in TAKEN or new in dependencies or keyword.iskeyword(new):
        sys.exit(f"{new} is taken. Choose another name.")
    if git("status", "--porcelain"):
        sys.exit("There are changes that are not committed. Commit or stash them, so that you can undo this by git.")
    for name in filter(None, git("ls-files", "-z").split("\0")):
        rename(name, new)
    print(f"Renamed to {new}. {NEXT}")


def git(*arguments: str) -> str:
    """Return what git prints; exit with its error if it fails."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout


def rename(name: str, new: str) -> None:
    """Rename one file and what it contains, or remove it if it is one of OURS. A folder goes with its last file.

    What a file contains stays if it is not text in UTF-8, such as a picture.
    """
    file = ROOT / name
    if name in OURS:
        file.unlink()
    elif name not in KEPT:
        with suppress(UnicodeDecodeError):
            content = file.read_bytes().decode()
            if name == PAGE:
                content = SECTION.sub("", content)
            if name == TESTS_OF_PAGES:
                lines = content.splitlines(keepends=True)
                content = "".join(line for line in lines if not any(Path(ours).name in line for ours in OURS))
            file.write_bytes(renamed(content, new).encode())
        target = ROOT / renamed(name, new)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
    folder = file.parent
    while not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def renamed(text: str, new: str) -> str:
    """Return the text with the new name in place of the old one, each in the same case."""
    for old, put in (OLD, new), (OLD.capitalize(), new.capitalize()), (OLD.upper(), new.upper()):
        text = text.replace(old, put)
    return text


if __name__ == "__main__":
    main(sys.argv[1:])
