"""What the Dockerfile says, for tests on machines that have no Docker."""

import json
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Image:
    """The instructions of the last stage, and what the first one copies from the checkout."""

    copied: list[str]
    environment: dict[str, str]
    user: str
    health_check: list[str]
    command: list[str]
    """ENTRYPOINT and CMD, both in the exec form, so that the command is process 1 and gets the signals."""
    stop_signal: str
    volume: str


def read_dockerfile() -> Image:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    build, final = ([line.partition(" ") for line in stage.splitlines()] for stage in _joined(text))
    last = {word: rest.strip() for word, _, rest in final}
    return Image(
        copied=[name for word, _, rest in build if word == "COPY" for name in rest.split()[:-1]],
        environment=dict(pair.split("=", 1) for pair in shlex.split(last["ENV"])),
        user=last["USER"],
        health_check=json.loads(last["HEALTHCHECK"].partition("CMD ")[2]),
        command=json.loads(last["ENTRYPOINT"]) + json.loads(last["CMD"]),
        stop_signal=last["STOPSIGNAL"],
        volume=last["VOLUME"],
    )


def _joined(text: str) -> list[str]:
    """Return the text of each stage, without the line of its FROM, and with continued lines joined."""
    return re.split(r"^FROM .*\n", text.replace("\\\n", " "), flags=re.MULTILINE)[1:]


def copy_context(copied: list[str], to: Path) -> None:
    """Copy from the checkout what the Dockerfile copies, without what .dockerignore leaves out."""
    context = (ROOT / ".dockerignore").read_text().split()
    for name in copied:
        assert f"!{name.removeprefix('./')}" in context, f"{name} is not in the context that .dockerignore leaves"
        source, target = ROOT / name, to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
