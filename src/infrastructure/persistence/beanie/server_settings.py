"""The settings of MongoDB on which our promises depend."""

from typing import Any

from pymongo.errors import OperationFailure

from infrastructure.persistence.beanie.connection import Connection

LIFETIME = "transactionLifetimeLimitSeconds"
LONGEST_LIFETIME = 60
"""Seconds after which the locks of a killed server are released at the latest; this is MongoDB's default."""


async def unsafe_settings(connection: Connection, request_deadline: float) -> dict[str, str]:
    """Return the server's settings with which our promises do not hold, each with what is wrong with it.

    Two are checked: `transactionLifetimeLimitSeconds`, which must be at most LONGEST_LIFETIME and more than
    `request_deadline` (seconds), and `writeConcernMajorityJournalDefault`, which must not be false. What this user may
    not read, or what a sharded cluster does not tell, is left out.
    """
    unsafe = {}
    lifetime = (await _ask(connection, {"getParameter": 1, LIFETIME: 1})).get(LIFETIME)
    if lifetime is not None and lifetime > LONGEST_LIFETIME:
        unsafe[LIFETIME] = (
            f"is {lifetime}: a killed server keeps its locks for so many seconds; {LONGEST_LIFETIME} are allowed"
        )
    if lifetime is not None and lifetime <= request_deadline:
        unsafe[LIFETIME] = (
            f"is {lifetime}: a transaction ends before its request does; set it to more than"
            f" HANDOVER_REQUEST_DEADLINE, which is {request_deadline:g}"
        )
    config = (await _ask(connection, {"replSetGetConfig": 1})).get("config", {})
    if config.get("writeConcernMajorityJournalDefault") is False:
        unsafe["writeConcernMajorityJournalDefault"] = (
            "is false: a confirmed change may be lost in a crash; set it to true"
        )
    return unsafe


async def _ask(connection: Connection, command: dict[str, Any]) -> dict[str, Any]:
    """Return the server's answer to an administrative command; an empty one if the server refuses the command.

    Raise Busy or Unavailable if the server cannot be asked.
    """

    async def ask() -> dict[str, Any]:
        """Send the command; return an empty answer if it is refused."""
        try:
            return await connection.client.admin.command(command)
        except OperationFailure:
            return {}

    return await connection.read(ask)
