"""The files and commands for Docker and systemd: their settings exist, their times fit, and they have no secrets."""

import os
import re
import shlex
import shutil
import stat
import subprocess
from configparser import ConfigParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from infrastructure.settings import Settings
from interfaces.cli.serving.server import DRAIN_LIMIT
from interfaces.cli.serving.worker import SECONDS_TO_STOP

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "deployment.md"
COMPOSE = ROOT / "compose.yaml"
UNIT = ROOT / "deploy" / "handover.service"
EXAMPLES = [ROOT / "deploy" / "compose.env.example", ROOT / "deploy" / "handover.env.example"]
SECONDS_TO_END = DRAIN_LIMIT + SECONDS_TO_STOP
"""After SIGTERM; see also test_stopping.py."""


def services() -> dict[str, Any]:
    found = yaml.safe_load(COMPOSE.read_text())["services"]
    assert isinstance(found, dict)
    return found


OURS = [name for name, service in services().items() if service["image"] == "handover"]


def unit() -> ConfigParser:
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text())
    return parser


@pytest.mark.parametrize("file", [ROOT / "Dockerfile", COMPOSE, UNIT, *EXAMPLES], ids=lambda file: file.name)
def test_every_setting_that_is_named_exists(file: Path) -> None:
    named = set(re.findall(r"\bHANDOVER_([A-Z_]+)", file.read_text()))
    assert named
    assert named <= {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.name)
def test_examples_have_no_secret(example: Path) -> None:
    lines = example.read_text().splitlines()
    assert [line for line in lines if re.match(r"\w*(SECRET|PASSWORD|TOKEN)\w*=.", line)] == []


def test_what_compose_needs_is_in_its_example() -> None:
    text = COMPOSE.read_text()
    needed = set(re.findall(r"\$\{(\w+):\?", text))
    optional = set(re.findall(r"\$\{(\w+):-", text))
    example = EXAMPLES[0].read_text()
    assert needed == set(re.findall(r"^(\w+)=$", example, re.MULTILINE))
    assert set(re.findall(r"^# (\w+)=", example, re.MULTILINE)) <= optional


def test_the_example_of_compose_names_all_settings_that_reach_the_server() -> None:
    settings = yaml.safe_load(COMPOSE.read_text())["x-settings"]
    named = set(re.findall(r"^(?:# )?(HANDOVER_\w+)=", EXAMPLES[0].read_text(), re.MULTILINE))
    assert named == set(settings)


def test_the_gateway_of_the_network_that_is_named_is_that_of_published_ports() -> None:
    compose = yaml.safe_load(COMPOSE.read_text())
    for text in GUIDE.read_text(), EXAMPLES[0].read_text():
        assert set(re.findall(r"docker network inspect (\w+_\w+) ", text)) == {f"{compose['name']}_front"}
    published = [service["networks"] for service in services().values() if "ports" in service]
    reachable = {name for name, network in compose["networks"].items() if not network.get("internal")}
    assert [set(networks) & reachable for networks in published] == [{"front"}, {"front"}]


def test_the_container_of_the_guide_starts_again_and_that_of_its_migration_is_removed() -> None:
    text = GUIDE.read_text().replace("\\\n", "")
    migration, server = (shlex.split(line) for line in re.findall(r"^docker run .*", text, re.MULTILINE))
    assert ("--rm" in migration, migration[-3:]) == (True, ["handover", "migrate", "up"])
    options = dict(pairwise(server))
    assert (options["--name"], options["--restart"], server[-1]) == ("handover", "unless-stopped", "handover")
    assert int(options["--stop-timeout"]) > SECONDS_TO_END
    assert options["--publish"].startswith("127.0.0.1:")
    assert {"--rm", "--restart"} & set(server) == {"--restart"}  # Docker refuses both at once


def test_the_token_of_prometheus_is_not_written_without_the_variable(tmp_path: Path) -> None:
    [command] = re.findall(r"^.*> metrics-token\)$", (ROOT / "docs" / "observability.md").read_text(), re.MULTILINE)
    file = tmp_path / "metrics-token"
    for token in "", "s3cret":
        given = {"PATH": os.defpath} | ({"HANDOVER_METRICS_TOKEN": token} if token else {})
        run = subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, env=given, capture_output=True, text=True, timeout=60, check=False
        )
        assert (run.returncode == 0) == bool(token)
        assert ("set it to the value in handover.env" in run.stderr) != bool(token)
        assert file.exists() == bool(token)
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("s3cret", 0o600)


def test_secrets_of_compose_come_from_outside() -> None:
    for service in services().values():
        for name, value in service.get("environment", {}).items():
            if re.search("SECRET|PASSWORD|TOKEN", name):
                assert re.fullmatch(r"\$\{\w+(:[?-].*)?\}", value), name
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("name", OURS)
def test_containers_may_write_nowhere_but_to_their_volume(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert (service["tmpfs"], service["cap_drop"]) == (["/tmp"], ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", [name for name in OURS if name.endswith("server")])
def test_servers_wait_for_migrations_and_have_time_to_end(name: str) -> None:
    service = services()[name]
    [(migration, wait)] = service["depends_on"].items()
    assert wait == {"condition": "service_completed_successfully"}
    assert services()[migration]["command"] == ["migrate", "up"]
    assert services()[migration]["environment"] == service["environment"]
    assert int(service["stop_grace_period"].removesuffix("s")) > SECONDS_TO_END


def test_mongodb_ends_the_transactions_of_killed_servers() -> None:
    assert "transactionLifetimeLimitSeconds=5" in services()["mongodb"]["command"]


def test_databases_are_not_published() -> None:
    assert [name for name, service in services().items() if "ports" in service] == ["server", "mongodb-server"]
    networks = yaml.safe_load(COMPOSE.read_text())["networks"]
    assert all(networks[name]["internal"] for name in ("postgresql", "mongodb"))


def test_the_unit_lets_the_server_drain() -> None:
    service = unit()["Service"]
    assert int(service["TimeoutStopSec"]) > SECONDS_TO_END
    assert (service["KillSignal"], service["KillMode"]) == ("SIGTERM", "mixed")
    assert service["ExecStart"].split()[1:] == ["serve"]
    assert service["ExecStartPre"].split()[1:] == ["migrate", "up"]


def test_the_unit_is_confined() -> None:
    service = unit()["Service"]
    assert {service[name] for name in ("NoNewPrivileges", "PrivateTmp", "ProtectHome", "PrivateDevices")} == {"yes"}
    assert (service["ProtectSystem"], service["CapabilityBoundingSet"]) == ("strict", "")
    assert service["WorkingDirectory"] == f"/var/lib/{service['StateDirectory']}"
    assert service["User"] != "root"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="only systemd can read its own files")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/handover/bin/handover", shutil.which("true") or ""))
    check = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=60, check=False)
    complaints = [line for line in check.stderr.splitlines() if UNIT.name in line]
    assert (check.returncode, complaints) == (0, []), check.stderr
