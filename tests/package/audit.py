"""Ask the package index for known vulnerabilities of every package in the lock files.

Run by `make audit` with the path of pip-audit. The exit code is 1 if there are any, and 2 if the index cannot be asked.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main(pip_audit: str) -> int:
    """Audit each lock file, print one line for it and one for each vulnerability, and return the exit code."""
    code = 0
    for lock in sorted(ROOT.glob("requirements*.lock")):
        options = ["--progress-spinner", "off", "--format", "json", "--disable-pip", "--require-hashes"]
        done = subprocess.run([pip_audit, *options, "-r", lock], capture_output=True, text=True, check=False)
        packages = json.loads(done.stdout)["dependencies"] if done.stdout else []
        # pip-audit counts as a success that the index knows nothing about a package, as some mirrors do.
        if not packages or any("skip_reason" in package for package in packages):
            reason = next((package["skip_reason"] for package in packages if "skip_reason" in package), "no connection")
            print(f"make audit: the index does not tell known vulnerabilities here ({reason})", file=sys.stderr)
            return 2
        found = [(package, known) for package in packages for known in package["vulns"]]
        print(f"{lock.name}: {len(packages)} packages, {len(found)} known vulnerabilities")
        for package, known in found:
            print(f"  {package['name']} {package['version']}: {known['id']}, fixed in {known['fix_versions']}")
        code = code or bool(found)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
