"""The SQL of each migration for PostgreSQL is safe to run while others use the tables, as squawk sees it."""

import io
import json
import subprocess
import sysconfig
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from infrastructure.persistence.sqlalchemy.schema import migrations

SQUAWK = Path(sysconfig.get_path("scripts"), "squawk")
OF_NO_CONCERN = [
    "prefer-bigint-over-int",  # versions and numbers of transfers of one item
    "prefer-robust-stmts",  # a revision is one transaction, but for the indexes, which say IF NOT EXISTS
    "prefer-text-field",  # Alembic's own table
    "require-statement-timeout",  # building an index takes as long as it takes
]
SCRIPTS = ScriptDirectory(str(migrations()))
REVISIONS = [(script.down_revision or "base", script.revision) for script in SCRIPTS.walk_revisions()][::-1]


@pytest.fixture(autouse=True)
def for_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDOVER_DATABASE_URL", "postgresql://host/database")


def offline_sql(before: str, after: str) -> str:
    """Return the SQL of the upgrade between two revisions."""
    written = io.StringIO()
    config = Config(output_buffer=written)
    config.set_main_option("script_location", str(migrations()))
    command.upgrade(config, f"{before}:{after}", sql=True)
    return written.getvalue()


def objections(sql: str) -> set[str]:
    """Return the names of the rules that the SQL breaks."""
    run = subprocess.run(
        [SQUAWK, "--reporter", "json", "--pg-version", "14", "--exclude", ",".join(OF_NO_CONCERN)],
        input=sql,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return {found["rule_name"] for found in json.loads(run.stdout)}


@pytest.mark.parametrize(("before", "after"), REVISIONS)
def test_an_upgrade_is_safe_while_others_use_the_tables(before: str, after: str) -> None:
    sql = offline_sql(before, after)
    assert "CREATE" in sql
    assert objections(sql) == set()


LOCK_TIMEOUT = "SET lock_timeout = '1s';"


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        (LOCK_TIMEOUT + "CREATE INDEX x ON items (name);", "require-concurrent-index-creation"),
        (LOCK_TIMEOUT + "DROP INDEX ix_items_price_id;", "require-concurrent-index-deletion"),
        (LOCK_TIMEOUT + "ALTER TABLE items ADD COLUMN colour text NOT NULL;", "adding-required-field"),
        (LOCK_TIMEOUT + "ALTER TABLE items ADD CONSTRAINT x CHECK (price > 1);", "constraint-missing-not-valid"),
        (LOCK_TIMEOUT + "ALTER TABLE items ALTER COLUMN name TYPE varchar(9);", "changing-column-type"),
        (LOCK_TIMEOUT + "ALTER TABLE items ALTER COLUMN description SET NOT NULL;", "adding-not-nullable-field"),
        (LOCK_TIMEOUT + "ALTER TABLE items RENAME COLUMN name TO title;", "renaming-column"),
        (LOCK_TIMEOUT + "ALTER TABLE items DROP COLUMN description;", "ban-drop-column"),
        ("ALTER TABLE items ADD COLUMN colour text;", "require-lock-timeout"),
    ],
)
def test_what_would_make_others_wait_or_fail_is_noticed(sql: str, rule: str) -> None:
    assert rule in objections(sql)
