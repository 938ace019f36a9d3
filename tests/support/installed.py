"""Modules that look like installed adapters."""

from pathlib import Path


def install(folder: Path, name: str, module: str) -> None:
    """Write a module and the metadata of a package whose adapter it is; the folder must be on the path."""
    (folder / f"{name}.py").write_text(module)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[handover.persistence]\n{name} = {name}:open_store\n")
