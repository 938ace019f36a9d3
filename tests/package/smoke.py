"""Install Handover in an empty environment with no checkout near, serve from there and hand an item over.

Without arguments, as `make smoke` runs it, this builds the wheel and installs it with its locked dependencies. With
arguments, as `make dist` runs it, these are distributions: each is installed as a user would, with what the package
index has today, and certifies its adapters, too. Needs the standard library alone, and hatchling to build the wheel.

The empty environment has the same Python as the one that this runs in.
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
    commands, pip = new_environment(folder)
    run(*pip, "install", "--require-hashes", "--requirement", ROOT / "requirements.lock", cwd=folder)
    run(*pip, "install", "--no-deps", wheel, cwd=folder)
    run(*pip, "check", cwd=folder)  # what the wheel says that it needs is there
    return commands


def install_distribution(distribution: Path, folder: Path) -> Path:
    """Install a wheel or a source distribution and what it needs; return the environment's folder of commands."""
    commands, pip = new_environment(folder)
    run(*pip, "install", f"{distribution}[certify,mongodb,sqlmodel]", cwd=folder)
    run(*pip, "check", cwd=folder)
    return commands


def new_environment(folder: Path) -> tuple[Path, list[str | Path]]:
    """Make an empty environment; return its folder of commands, and the beginning of a command line of its pip."""
    venv.create(folder / "environment", with_pip=True)
    commands = folder / "environment" / "bin"
    return commands, [commands / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]


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


def serve_and_stop(commands: Path, folder: Path) -> None:
    """Serve, hand an item over, and stop; exit if the server does not end as it should."""
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


def main(distributions: list[str]) -> None:
    python = sys.version.split()[0]
    for name in distributions:
        with TemporaryDirectory(prefix="handover-smoke-") as temporary:
            folder = Path(temporary)
            commands = install_distribution(Path(name).absolute(), folder)
            serve_and_stop(commands, folder)
            for url in "memory://", "sqlite:///empty.db":
                run(commands / "handover", "certify", "--url", url, cwd=folder)
        print(f"{Path(name).name}, installed alone on Python {python}, served a transfer and certified two adapters")
    if not distributions:
        with TemporaryDirectory(prefix="handover-smoke-") as temporary:
            folder = Path(temporary)
            serve_and_stop(install_wheel(folder), folder)
        print(f"The wheel, installed alone on Python {python}, served a transfer and stopped")


if __name__ == "__main__":
    main(sys.argv[1:])
