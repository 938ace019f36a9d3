"""Build the wheel, install it in an empty environment with no checkout near, serve from there and hand an item over.

Run by `make smoke`, with the interpreter of the environment of development; the empty one has the same Python. Needs
the standard library alone, and hatchling to build.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

ROOT = Path(__file__).parents[2]
SECONDS_TO_START = 120
PASSWORD = "correct horse battery"


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command without anything of ours in its environment, and return what it printed; exit if it fails."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HANDOVER_"))}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=kept, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def install_wheel(folder: Path) -> Path:
    """Build the wheel and install it with its locked dependencies; return the environment's folder of commands."""
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder, cwd=ROOT)
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "environment", with_pip=True)
    commands = folder / "environment" / "bin"
    pip: list[str | Path] = [commands / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "install", "--require-hashes", "--requirement", ROOT / "requirements.lock", cwd=folder)
    run(*pip, "install", "--no-deps", wheel, cwd=folder)
    run(*pip, "check", cwd=folder)  # what the wheel says that it needs is there
    return commands


def address_of(server: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until the server says where it is."""
    deadline = time.monotonic() + SECONDS_TO_START
    while not (found := re.search(r"Handover is at +(\S+)\n", log.read_text())):
        if server.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"handover serve did not start:\n{log.read_text()}")
        time.sleep(0.05)
    return found[1]


def ask(url: str, body: object = None, token: str = "", form: bool = False) -> Any:
    """POST a body, if there is one, or else GET; return the answer, or raise HTTPError."""
    data = urlencode(body).encode() if form else json.dumps(body).encode()  # type: ignore[arg-type]
    headers = {"Content-Type": "application/x-www-form-urlencoded" if form else "application/json"}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    with urlopen(Request(url, None if body is None else data, headers), timeout=30) as answer:
        return json.load(answer)


def hand_over(url: str) -> None:
    """Register an item as one user, transfer it to another, and see that the history says so."""
    ada, bob = (
        ask(f"{url}/users", {"email": f"{name}@example.org", "username": name, "password": PASSWORD})["id"]
        for name in ("ada", "bob")
    )
    token = ask(f"{url}/auth/token", {"username": "ada", "password": PASSWORD}, form=True)["access_token"]
    item = ask(f"{url}/items", {"name": "Lamp", "price": 19.99}, token)["id"]
    given = ask(f"{url}/items/{item}/transfer", {"to_user_id": bob}, token)
    assert (given["owner_id"], given["version"]) == (bob, 2), given
    [transfer] = ask(f"{url}/items/{item}/transfers", token=token)["items"]
    assert (transfer["from_user_id"], transfer["to_user_id"]) == (ada, bob), transfer


def main() -> None:
    with TemporaryDirectory(prefix="handover-smoke-") as name:
        folder = Path(name)
        commands = install_wheel(folder)
        log = folder / "log"
        environment = {"PATH": os.environ["PATH"], "HANDOVER_PORT": "0"}
        with log.open("wb") as file:
            server = subprocess.Popen([commands / "handover", "serve"], cwd=folder, env=environment, stderr=file)
        try:
            hand_over(address_of(server, log))
            server.send_signal(signal.SIGTERM)
            code = server.wait(60)
        finally:
            server.kill()
        if code:
            sys.exit(f"handover serve ended with {code}:\n{log.read_text()}")
    print(f"The wheel, installed alone on Python {sys.version.split()[0]}, served a transfer and stopped")


if __name__ == "__main__":
    main()
