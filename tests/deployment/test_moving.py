"""The section "To another engine" of docs/deployment.md: its commands move a store from SQLite to PostgreSQL.

A script takes the place of systemd, which the machine of the tests may not have.
"""

import re
import signal
import sys
from pathlib import Path

from tests.deployment.guide import GUIDE, SECRET, check, commands, in_use, only_its_owner_may_read, shell
from tests.support import servers

EXAMPLE = Path(__file__).parents[2] / "deploy" / "handover.env.example"
PASSWORD = "dde1b0c5"

SYSTEMD_RUN = """\
#!/bin/bash
# Has the options of systemd-run that the guide uses. A command starts with nothing in its environment but what systemd
# sets for the user of a service, then Environment=, then what is in EnvironmentFile=, which takes precedence.
settings=(PATH="$PATH" HOME=/var/lib/handover)
for option in "$@"; do
  [[ $option == --* ]] || break
  shift
  value=${option#--property=*=}
  case $option in
    --property=WorkingDirectory=*) cd "$value" || exit ;;
    --property=EnvironmentFile=*) mapfile -t lines < <(grep '^[A-Z]' "$value") ;;
    --property=Environment=*) settings+=("$value") ;;
    --pipe | --wait | --quiet | --collect | --uid=handover) ;;
    *) echo "unexpected: $option" >&2; exit 2 ;;
  esac
done
exec env --ignore-environment "${settings[@]}" "${lines[@]}" "$@"
"""


class Machine:
    """A machine on which Handover was installed as a service by the guide: its folders lie below `root`."""

    def __init__(self, root: Path) -> None:
        self.data = root / "var/lib/handover"
        self.settings = root / "etc/handover/handover.env"
        self.programs = root / "programs"
        for folder in self.data, self.settings.parent, self.programs:
            folder.mkdir(parents=True)
        self.settings.write_text(EXAMPLE.read_text().replace("HANDOVER_SECRET_KEY=", f"HANDOVER_SECRET_KEY={SECRET}"))
        for name, script in ("systemd-run", SYSTEMD_RUN), ("systemctl", "#!/bin/sh\n"):
            (self.programs / name).write_text(self.here(script))
            (self.programs / name).chmod(0o755)

    def here(self, text: str) -> str:
        """Return a text with the places of this machine in place of those of the guide. There is no user `handover`."""
        for place, real in (
            ("/var/lib/handover", str(self.data)),
            ("/etc/handover/handover.env", str(self.settings)),
            ("/opt/handover/bin", str(Path(sys.executable).parent)),
            (" --owner handover --group handover", ""),
        ):
            text = text.replace(place, real)
        return text

    async def run(self, script: str) -> str:
        return await shell(self.here(script), self.data, self.programs)


async def test_a_store_is_moved_from_sqlite_to_postgresql(tmp_path: Path) -> None:
    make_password_file, stop, copy, check_it = commands("To another engine")
    machine = Machine(tmp_path)
    with servers.postgres("fsync=on") as server:  # which `handover doctor` wants
        await create_database_with_password(server, tmp_path)

        def here(text: str) -> str:
            return text.replace("localhost:5432", "localhost").replace("localhost", f"127.0.0.1:{server.port}")

        async with in_use(machine.data, "sqlite:///handover.db") as (answers, names):
            await machine.run(make_password_file)
        [password_line] = re.findall(r"`(localhost:5432:\S+:PASSWORD)`", GUIDE)
        password_file = machine.data / ".pgpass"
        password_file.write_text(here(password_line).replace("PASSWORD", PASSWORD))
        assert only_its_owner_may_read(password_file)

        assert stop == "systemctl stop handover\n"
        assert "Copied and verified." in await machine.run(here(copy))

        [setting] = re.findall(r"set `(HANDOVER_DATABASE_URL=postgresql://\S+)`", GUIDE)
        with machine.settings.open("a") as file:
            file.write(here(f"{setting}\n"))
        (machine.data / "handover.db").unlink()  # so that nothing is read from it any more
        assert "no problem was found" in await machine.run(here(check_it))
        with_password = f"postgresql://handover:{PASSWORD}@127.0.0.1:{server.port}/handover"
        await check(tmp_path, with_password, answers, names)


async def create_database_with_password(server: servers.Postgres, folder: Path) -> None:
    """Create the role `handover` and its database, which the role can then use with its password only."""
    script = f"""
        psql {server.url} --quiet --command="CREATE ROLE handover LOGIN PASSWORD '{PASSWORD}'"
        psql {server.url} --quiet --command='CREATE DATABASE handover OWNER handover'
    """
    await shell(script, folder, servers.Postgres(()).programs())
    server.kill(signal.SIGINT)
    rules = server.data / "pg_hba.conf"
    rules.write_text(f"host all handover 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
    server.start()
