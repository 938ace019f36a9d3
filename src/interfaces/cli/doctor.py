"""The command `handover doctor`, which checks a store while servers use it."""

import asyncio
import sys
from dataclasses import asdict

import typer

from application.errors import Unavailable
from application.store import Store
from application.use_cases.check_store import CheckStore, Diagnosis
from interfaces.cli.store import open_container
from interfaces.cli.terminal.interruption import interruptible
from interfaces.cli.terminal.output import AsJson, print_json
from interfaces.cli.terminal.progress import progress


def doctor(as_json: AsJson = False) -> None:
    """Check the store's rules and its engine's settings.

    Exit with 1 if a rule is broken or a setting is not safe. Nothing is changed, and servers may go on. Records with
    problems are checked a second time; only the problems that are still there are listed.
    """
    with interruptible("the store has not been checked"):
        diagnosis = asyncio.run(_check())
    if as_json:
        print_json(_as_json(diagnosis))
    else:
        _print(diagnosis)
    if diagnosis.count:
        print(f"handover: {_problems(diagnosis.count)}: see the list on stdout", file=sys.stderr)
        raise typer.Exit(1)


async def _check() -> Diagnosis:
    """Check the configured store, with progress on stderr; raise Unavailable if its schema is not current."""
    async with open_container() as (_, use_cases):
        store: Store = use_cases[Store]
        schema = await store.schema()
        if not schema.is_current:
            raise Unavailable(
                f"the schema is {schema.found or 'missing'}, and {schema.needed} is needed: {schema.remedy}"
            )
        check: CheckStore = use_cases[CheckStore]
        with progress() as report:
            return await check(report)


def _as_json(diagnosis: Diagnosis) -> dict[str, object]:
    """Return the diagnosis for JSON; `healthy` is true if there are no findings."""
    return {
        "healthy": not diagnosis.count,
        "checked": diagnosis.checked,
        "count": diagnosis.count,
        "findings": [asdict(finding) for finding in diagnosis.findings],
    }


def _print(diagnosis: Diagnosis) -> None:
    """Print how many records of each kind were checked, the findings, and how many more of them are not listed."""
    for name, count in diagnosis.checked.items():
        print(f"{name + ':':18} {count:>10,}")
    for finding in diagnosis.findings:
        print(finding)
    if (rest := diagnosis.count - len(diagnosis.findings)) > 0:
        print(f"and {rest:,} more")
    if not diagnosis.count:
        print("Checked; no problem was found.")


def _problems(count: int) -> str:
    """Return `1 problem was found` or, for example, `1,234 problems were found`."""
    return "1 problem was found" if count == 1 else f"{count:,} problems were found"
