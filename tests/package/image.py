"""Build the image and run it as docs/deployment.md says: read-only, until SIGTERM.

Run by `make test-image`. Needs docker or podman, or the variable DOCKER with the command to use.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.package.smoke import hand_over
from tests.support.servers import free_port

ROOT = Path(__file__).parents[2]
SECONDS_TO_START = 120
NAME = f"handover-test-{secrets.token_hex(4)}"
CONFINED = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]


def engine() -> str:
    """Return a container engine that answers; exit with one line if there is none."""
    names = [os.environ["DOCKER"]] if os.environ.get("DOCKER") else ["docker", "podman"]
    for name in names:
        if shutil.which(name) and not subprocess.run([name, "images"], capture_output=True, check=False).returncode:
            return name
    sys.exit(f"make test-image needs a container engine that runs; tried: {', '.join(names)}. Set DOCKER to another.")


def run(*command: str, may_fail: bool = False) -> str:
    """Run a command and return what it wrote to stdout; exit with its output if it fails and must not."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode and not may_fail:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return "" if done.returncode else done.stdout or "done"


def wait_until_healthy(docker: str) -> None:
    """Run the command of HEALTHCHECK in the container until it succeeds."""
    shown = run(docker, "inspect", "--format", "{{json .Config.Healthcheck.Test}}", NAME)
    kind, *check = json.loads(shown)
    assert kind == "CMD", shown
    deadline = time.monotonic() + SECONDS_TO_START
    while not run(docker, "exec", NAME, *check, may_fail=True):
        if time.monotonic() > deadline:
            sys.exit(f"The container is not healthy:\n{run(docker, 'logs', NAME)}")
        time.sleep(0.5)


def main() -> None:
    docker = engine()
    run(docker, "build", "--tag", NAME, ".")
    port = free_port()
    given = {"HANDOVER_SECRET_KEY": secrets.token_hex(32), "HANDOVER_PORT": str(port), "HANDOVER_WORKERS": "2"}
    options = [*CONFINED, "--volume", f"{NAME}:/data"]
    for name, value in given.items():
        options += ["--env", f"{name}={value}"]
    try:
        run(docker, "run", "--rm", *options, NAME, "migrate", "up")
        run(docker, "run", "--detach", "--name", NAME, "--publish", f"127.0.0.1:{port}:{port}", *options, NAME)
        wait_until_healthy(docker)
        hand_over(f"http://127.0.0.1:{port}")
        user = run(docker, "exec", NAME, "python", "-c", "import os; print(os.getuid())").strip()
        assert user == "10001", user
        missing = run(docker, "exec", NAME, "python", "-c", "import hatchling", may_fail=True)
        assert not missing, "the build backend is in the image"
        run(docker, "stop", "-t", "35", NAME)
        code = run(docker, "inspect", "--format", "{{.State.ExitCode}}", NAME).strip()
        assert code == "0", f"the server ended with {code}"
    finally:
        run(docker, "rm", "--force", NAME, may_fail=True)
        run(docker, "volume", "rm", "--force", NAME, may_fail=True)
        run(docker, "rmi", "--force", NAME, may_fail=True)
    print("The image was built, served a transfer, and stopped")


if __name__ == "__main__":
    main()
