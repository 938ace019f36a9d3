"""Generate clients from openapi.json as its users would, compile them, and let them tell the README's story.

Run by `make test-clients`. What it fetches from npm and PyPI goes into build/clients, and nothing else is changed. It
needs node and npm, and prints a line for each step; the first step that fails ends it.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FOLDER = ROOT / "build" / "clients"
PYTHON = FOLDER / "python" / "bin" / "python"
DOCUMENT = ROOT / "openapi.json"
OLDEST_NODE = 20
SECONDS_TO_START = 120


def step(title: str, *command: str | Path) -> None:
    """Run a command in the folder of the clients; exit with all that it printed if it fails or warns."""
    began = time.monotonic()
    commands = os.pathsep.join([str(PYTHON.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [*map(str, command)],
        cwd=FOLDER,
        env={**os.environ, "PATH": commands, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{title}: failed\n{done.stdout}")
    print(f"{title}: {time.monotonic() - began:.1f} s", flush=True)


def check_node() -> None:
    for program in ("node", "npm"):
        if not shutil.which(program):
            sys.exit(f"make test-clients needs {program}: install Node.js {OLDEST_NODE} or newer, with npm.")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").partition(".")[0]) < OLDEST_NODE:
        sys.exit(f"make test-clients needs Node.js {OLDEST_NODE} or newer, not {version.strip()}.")


def install() -> None:
    """Fetch the generators, and copy what they are used with."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "tsconfig.json", "story.ts", "story.py"):
        shutil.copy(HERE / name, FOLDER)
    step("npm packages", "npm", "install", "--no-package-lock", "--no-audit", "--no-fund")
    if not PYTHON.exists():
        step("environment for Python", sys.executable, "-m", "venv", "python")
    requirements = ROOT / "requirements-clients.lock"
    step("Python packages", PYTHON, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", requirements)


def generate() -> None:
    for name in ("handover_python", "hey", "compiled"):
        shutil.rmtree(FOLDER / name, ignore_errors=True)
    npx = ("npx", "--no-install")
    step("redocly lint, recommended rules", *npx, "redocly", "lint", DOCUMENT, "--config", HERE / "redocly.yaml")
    step(
        "openapi-python-client, without a warning",
        *("openapi-python-client", "generate", "--path", DOCUMENT, "--output-path", "handover_python"),
        *("--meta", "none", "--fail-on-warning"),
    )
    step("openapi-typescript", *npx, "openapi-typescript", DOCUMENT, "-o", "types.ts")
    step("@hey-api/openapi-ts", *npx, "openapi-ts", "-i", DOCUMENT, "-o", "hey", "-c", "@hey-api/client-fetch")
    step("tsc --strict of both", *npx, "tsc", "--project", "tsconfig.json")


@contextmanager
def served() -> Iterator[str]:
    """Run the server on a new SQLite file and a free port; yield its address."""
    with TemporaryDirectory(prefix="handover-clients-") as folder, Path(folder, "log").open("w+") as log:
        settings = {"HANDOVER_PORT": "0", "HANDOVER_DATABASE_URL": f"sqlite:///{folder}/store.db"}
        server = subprocess.Popen(
            [sys.executable, "-m", "interfaces.cli.main", "serve"],
            cwd=folder,
            env={key: value for key, value in os.environ.items() if not key.startswith("HANDOVER_")} | settings,
            stderr=log,
        )
        try:
            deadline = time.monotonic() + SECONDS_TO_START
            while not (found := re.search(r"Handover is at +(\S+)\n", Path(log.name).read_text())):
                if server.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"The server did not start:\n{Path(log.name).read_text()}")
                time.sleep(0.05)
            yield found[1]
        finally:
            server.terminate()
            server.wait(60)


def main() -> None:
    check_node()
    install()
    generate()
    with served() as url:
        step("the story, by openapi-python-client", PYTHON, "story.py", url)
        step("the story, by @hey-api/openapi-ts", "node", "compiled/story.js", url)


if __name__ == "__main__":
    main()
