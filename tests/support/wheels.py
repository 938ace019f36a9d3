"""An environment that has our wheels, and no checkout."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "handover-lmdb"


def install_wheels(folder: Path, *projects: Path) -> Path:
    """Build the projects' wheels and install them in a new environment; return its Python.

    Other packages are those of the environment in which the tests run, but not what is installed there as editable.
    """
    for project in projects:
        command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
        subprocess.run(command, cwd=project, check=True, capture_output=True)
    environment = folder / "environment"
    venv.create(environment, symlinks=True)
    [site_packages] = environment.glob("lib/*/site-packages")
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as files:
            files.extractall(site_packages)
    (site_packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    return environment / "bin" / "python"


def variables(**more: str) -> dict[str, str]:
    """Return the environment's variables without those that would lead to the checkout or to other settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HANDOVER_", "PYTHONPATH"))}
    return kept | more
