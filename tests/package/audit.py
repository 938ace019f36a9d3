"""Ask the package index for known vulnerabilities of every package in the lock files.

Run by `make audit` with the path of pip-audit. The exit code is 1 if there are any, and 2 if the index cannot be asked.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNREACHABLE = "ConnectionError", "ServiceError", "ConnectTimeout", "could not be reached", "HTTPSConnectionPool"


def main(pip_audit: str) -> int:
    """Audit each lock file, print what pip-audit says, and return the exit code."""
    code = 0
    for lock in sorted(ROOT.glob("requirements*.lock")):
        command = [pip_audit, "--progress-spinner", "off", "--disable-pip", "--require-hashes", "-r", str(lock)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode and any(word in done.stderr for word in UNREACHABLE):
            print("make audit: the list of known vulnerabilities cannot be reached: try again online", file=sys.stderr)
            return 2
        print(f"{lock.name}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'done'}")
        print(done.stdout, end="")
        code = code or done.returncode
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
