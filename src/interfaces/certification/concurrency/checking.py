"""Checking a recorded history of one item: whether its transfers and reads can have happened one after another.

Each version of an item is made by one transfer, so the versions say in which order the transfers took effect. That
makes the check cheap: whether an arbitrary history is linearizable is hard to decide, whether this order fits is not.
See Herlihy and Wing, Linearizability, 1990.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

CREATED = 1
"""The version of an item that was never transferred."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A transfer or a read of one item by a client.

    `outcome` is "done" if it was answered with success, "refused" if with an error that says that nothing was changed,
    and "unknown" in any other case. `version` and `owner` are those of the answer, 0 and empty without one. `began` and
    `ended` are seconds on one clock; an unknown outcome may take effect at any time after `began`.
    """

    kind: Literal["transfer", "read"]
    outcome: Literal["done", "refused", "unknown"]
    began: float
    ended: float
    giver: str = ""
    taker: str = ""
    version: int = 0
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A transfer as the item's history lists it."""

    number: int
    version: int
    giver: str
    taker: str


@dataclass(frozen=True, slots=True)
class ItemHistory:
    """Everything that is known of one item: what clients did, and what the store says afterwards."""

    creator: str
    operations: Sequence[Operation]
    rows: Sequence[Row]
    """The item's transfers, in the order of the list."""
    version: int
    owner: str


def violations(history: ItemHistory) -> list[str]:
    """Return what cannot have happened if transfers and reads took effect one after another; empty if all can."""
    transfers = [operation for operation in history.operations if operation.kind == "transfer"]
    reads = [operation for operation in history.operations if operation.kind == "read" and operation.outcome == "done"]
    return [
        *_of_the_chain(history),
        *_of_acknowledged(transfers, history.rows),
        *_of_unacknowledged(transfers, history.rows),
        *_of_order([one for one in transfers if one.outcome == "done"]),
        *_of_reads(reads, transfers, history),
    ]


def contended(operations: Sequence[Operation]) -> float:
    """Return the share of transfers, from 0 to 1, that overlapped with another transfer; 0 if there are none."""
    transfers = sorted((one.began, one.ended) for one in operations if one.kind == "transfer")
    overlapping, latest = set[int](), -1
    for number, (began, ended) in enumerate(transfers):
        if latest >= 0 and began < transfers[latest][1]:
            overlapping |= {latest, number}
        if latest < 0 or ended > transfers[latest][1]:
            latest = number
    return len(overlapping) / len(transfers) if transfers else 0.0


def _of_the_chain(history: ItemHistory) -> Iterator[str]:
    """Yield a text for each gap or break in the rows, and if they do not end at the item's owner and version."""
    if [row.number for row in history.rows] != list(range(1, len(history.rows) + 1)):
        yield f"the numbers of the history are {[row.number for row in history.rows]}: a gap or a fork"
    start = Row(0, CREATED, "", history.creator)
    for earlier, later in pairwise([start, *history.rows]):
        if later.giver != earlier.taker:
            yield f"transfer {later.number} starts from {later.giver}, but {earlier.taker} was the owner: a fork"
        if later.version <= earlier.version:
            yield f"transfer {later.number} has version {later.version} after version {earlier.version}"
    last = history.rows[-1] if history.rows else start
    if (history.owner, history.version) != (last.taker, last.version):
        yield f"the item is at {history.owner}, version {history.version}, and its history ends elsewhere: {last}"


def _of_acknowledged(transfers: Sequence[Operation], rows: Sequence[Row]) -> Iterator[str]:
    """Yield a text for each acknowledged transfer that the history does not have, and for each version given twice."""
    by_version = {row.version: row for row in rows}
    seen = set[int]()
    for one in transfers:
        if one.outcome != "done":
            continue
        row = by_version.get(one.version)
        if row is None or (row.giver, row.taker) != (one.giver, one.taker) or one.owner != one.taker:
            yield f"an acknowledged transfer is not in the history: {one}: a lost update"
        if one.version in seen:
            yield f"version {one.version} was acknowledged twice: a lost update"
        seen.add(one.version)


def _of_unacknowledged(transfers: Sequence[Operation], rows: Sequence[Row]) -> Iterator[str]:
    """Yield a text for each row without an acknowledged transfer for which no transfer has an unknown outcome."""
    acknowledged = {one.version for one in transfers if one.outcome == "done"}
    unknown = [(one.giver, one.taker) for one in transfers if one.outcome == "unknown"]
    for row in rows:
        if row.version not in acknowledged:
            if (row.giver, row.taker) in unknown:
                unknown.remove((row.giver, row.taker))
            else:
                yield f"nobody can have made transfer {row.number}: {row}: it was refused, or never requested"


def _of_order(acknowledged: Sequence[Operation]) -> Iterator[str]:
    """Yield a text for each transfer with a lower version than one that had ended before it began."""
    by_end = sorted(acknowledged, key=lambda one: one.ended)
    ended, highest = 0, CREATED
    for one in sorted(acknowledged, key=lambda one: one.began):
        while ended < len(by_end) and by_end[ended].ended < one.began:
            highest = max(highest, by_end[ended].version)
            ended += 1
        if one.version <= highest:
            yield f"a transfer got version {one.version} after version {highest} had been acknowledged: {one}"


def _of_reads(reads: Sequence[Operation], transfers: Sequence[Operation], history: ItemHistory) -> Iterator[str]:
    """Yield a text for each read of a version that was outdated before it began, or that nobody had requested yet."""
    owners = {CREATED: history.creator} | {row.version: row.taker for row in history.rows}
    began = {one.version: one.began for one in transfers if one.outcome == "done"}
    unknown = [one for one in transfers if one.outcome == "unknown"]
    finished = sorted((one for one in (*reads, *transfers) if one.outcome == "done"), key=lambda one: one.ended)
    ended, highest = 0, CREATED
    for read in sorted(reads, key=lambda one: one.began):
        while ended < len(finished) and finished[ended].ended < read.began:
            highest = max(highest, finished[ended].version)
            ended += 1
        if owners.get(read.version) != read.owner:
            yield f"a read saw {read.owner} as the owner at version {read.version}, which the history does not have"
        elif read.version < highest:
            yield f"a read saw version {read.version} after version {highest} had been seen: a stale read"
        elif read.version != CREATED and not (
            began.get(read.version, read.ended) < read.ended
            or any(one.began < read.ended and one.taker == read.owner for one in unknown)
        ):
            yield f"a read saw version {read.version} before its transfer was requested: a read of the future"
