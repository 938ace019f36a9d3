"""The checker of concurrent histories finds what cannot have happened, and accepts what can."""

from dataclasses import replace

import pytest

from interfaces.certification.concurrency.checking import ItemHistory, Operation, Row, contended, violations


def transfer(began: float, ended: float, giver: str, taker: str, version: int) -> Operation:
    return Operation("transfer", "done", began, ended, giver, taker, version, taker)


def read(began: float, ended: float, version: int, owner: str) -> Operation:
    return Operation("read", "done", began, ended, version=version, owner=owner)


def unanswered(began: float, ended: float, giver: str, taker: str) -> Operation:
    return Operation("transfer", "unknown", began, ended, giver, taker)


def refused(began: float, ended: float, giver: str, taker: str) -> Operation:
    return Operation("transfer", "refused", began, ended, giver, taker)


SOUND = ItemHistory(
    creator="ada",
    operations=[
        read(0, 1, 1, "ada"),
        transfer(1, 5, "ada", "bob", 2),
        refused(2, 6, "ada", "eve"),
        read(2, 3, 1, "ada"),
        read(3.5, 4, 2, "bob"),  # before its transfer is acknowledged
        unanswered(6, 7, "bob", "eve"),
        read(8, 9, 2, "bob"),
        read(10, 11, 3, "eve"),  # an unknown outcome took effect
        transfer(12, 13, "eve", "ada", 4),
        unanswered(14, 15, "ada", "bob"),  # and this one did not
    ],
    rows=[Row(1, 2, "ada", "bob"), Row(2, 3, "bob", "eve"), Row(3, 4, "eve", "ada")],
    version=4,
    owner="ada",
)


def test_a_history_that_can_have_happened_is_accepted() -> None:
    assert violations(SOUND) == []
    assert violations(ItemHistory("ada", [], [], 1, "ada")) == []


def with_operation(operation: Operation) -> ItemHistory:
    return replace(SOUND, operations=[*SOUND.operations, operation])


FORGED = {
    "a stale read": (with_operation(read(13.5, 13.6, 2, "bob")), "stale read"),
    "a read that goes back": (with_operation(read(11.5, 11.6, 2, "bob")), "stale read"),
    "a lost update": (with_operation(transfer(16, 17, "ada", "eve", 5)), "not in the history"),
    "one version for two": (with_operation(transfer(12, 13, "eve", "ada", 4)), "acknowledged twice"),
    "an answer with another owner": (with_operation(replace(SOUND.operations[1], owner="eve")), "lost update"),
    "a fork": (replace(SOUND, rows=[*SOUND.rows[:2], Row(3, 4, "bob", "ada")]), "a fork"),
    "a gap": (replace(SOUND, rows=[SOUND.rows[0], Row(3, 3, "bob", "eve"), Row(4, 4, "eve", "ada")]), "a gap"),
    "a version that does not grow": (
        replace(SOUND, rows=[*SOUND.rows, Row(4, 4, "ada", "bob")], owner="bob"),
        "after version 4",
    ),
    "a read of the future": (with_operation(read(0.5, 0.9, 2, "bob")), "read of the future"),
    "a read that nobody made true": (with_operation(read(8, 9, 3, "ada")), "does not have"),
    "a refused transfer with a row": (
        replace(SOUND, operations=[one for one in SOUND.operations if one.outcome != "unknown"]),
        "nobody can have made transfer 2",
    ),
    "an order that is turned around": (
        replace(
            SOUND,
            operations=[
                replace(one, began=1.5, ended=1.6) if one.version == 4 else one
                for one in SOUND.operations
                if one.kind == "transfer"
            ]
            + [transfer(2, 3, "ada", "bob", 2)],
        ),
        "after version 4",
    ),
    "an end that is somewhere else": (replace(SOUND, owner="eve"), "ends elsewhere"),
}


@pytest.mark.parametrize("forged", FORGED)
def test_what_cannot_have_happened_is_found(forged: str) -> None:
    history, expected = FORGED[forged]
    found = violations(history)
    assert any(expected in text for text in found), found


def test_the_share_of_contended_transfers() -> None:
    apart = [transfer(n, n + 0.5, "ada", "bob", n + 2) for n in range(4)]
    assert contended(apart) == 0
    assert contended([*apart, transfer(0.2, 1.2, "bob", "ada", 9)]) == pytest.approx(3 / 5)
    assert contended([read(0, 1, 1, "ada")]) == 0
