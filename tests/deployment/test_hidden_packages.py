"""Other packages may be called like ours. The command then says which one hides ours, in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import handover
from interfaces.cli import main
from tests.support.wheels import variables


def run(command: list[str], folder: Path, path: Path) -> subprocess.CompletedProcess[str]:
    given = variables(PYTHONPATH=str(path))
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("name", handover.PACKAGES)
def test_a_package_that_hides_ours_is_named_in_one_line(name: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / name).mkdir(parents=True)
    (other / name / "__init__.py").write_text("raise SystemExit('it was imported')")
    script = Path(sys.executable).with_name("handover")
    for command in [str(script)], [sys.executable, "-m", "handover"]:
        ended = run([*command, "settings"], tmp_path, other)
        assert (ended.returncode, ended.stdout) == (1, "")
        ours = Path(handover.__file__).parent / name
        assert ended.stderr == (
            f"handover: the package {name} in {other / name} hides that of Handover in {ours}:"
            " take it off PYTHONPATH, or install Handover in an environment of its own\n"
        )


def test_a_module_that_hides_ours_is_named_as_well(tmp_path: Path) -> None:
    (tmp_path / "domain.py").write_text("")
    ended = run([sys.executable, "-m", "handover", "settings"], tmp_path, tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert f"the package domain in {tmp_path}/domain.py hides" in ended.stderr


def test_a_folder_without_init_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "domain").mkdir()
    ended = run([sys.executable, "-m", "handover", "settings"], tmp_path, tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_an_installation_of_which_a_part_is_missing_says_so(tmp_path: Path) -> None:
    alone = tmp_path / "handover.py"
    alone.write_bytes(Path(handover.__file__).read_bytes())
    ended = run([sys.executable, "-I", "-S", str(alone), "settings"], tmp_path, tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"handover: the package domain is missing in {tmp_path}: install Handover again\n"


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        handover.run()
    assert end.value.code == 1
    line = capsys.readouterr().err
    assert line.startswith("handover: ")
    assert line.count("\n") == 1
    assert "chmod -R a+rX" in line
    return line


def test_a_package_that_this_user_may_not_read_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after an installation by root with a strict umask. The tests may run as root, who may read everything."""
    with monkeypatch.context() as patched:
        patched.setattr(os, "access", lambda *_: False)
        assert f"may not read {Path(handover.__file__).parent / 'domain'}" in refused(capsys)

    def fail(error: Exception) -> None:
        def run() -> None:
            raise error

        monkeypatch.setattr(main, "run", run)

    fail(ModuleNotFoundError("No module named 'typer'", name="typer"))
    assert f"No module named 'typer' in {sys.prefix}" in refused(capsys)
    fail(PermissionError(13, "Permission denied", "/opt/lib/sqlalchemy/sql.py"))
    assert "not read /opt/lib/sqlalchemy/sql.py" in refused(capsys)
    fail(PermissionError(13, "Permission denied", "/var/lib/something"))
    with pytest.raises(PermissionError):
        handover.run()
