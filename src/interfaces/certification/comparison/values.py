"""Hypothesis strategies for arguments of operations.

There are few values of each kind, so that operations often concern the same record, and many are at a limit or are
texts that engines may sort or compare differently.
"""

from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import Bundle

from application.paging import Sort
from domain.item import ItemChanges
from domain.task import TaskChanges, TaskStatus

T = TypeVar("T")
U = TypeVar("U")


def mostly(usual: st.SearchStrategy[T], unusual: st.SearchStrategy[U]) -> st.SearchStrategy[T | U]:
    """Return a strategy that draws from the first one five times out of six, else from the second one."""
    return st.sampled_from([usual] * 5 + [unusual]).flatmap(lambda chosen: chosen)


def maybe(bundle: "Bundle[T]", *, rarely: bool = False) -> st.SearchStrategy[T | None]:
    """Return a strategy that draws a value of the bundle five times out of six, else None.

    With `rarely`, it draws a value once out of six times. It always draws None while the bundle is empty.
    """
    chosen = mostly(st.none(), bundle) if rarely else mostly(bundle, st.none())
    return st.runner().flatmap(lambda machine: chosen if machine.bundle(bundle.name) else st.none())


UNUSUAL_TEXTS = (
    *(
        "a",
        "A",
        "b",
        "B",
        "Z",
        "_",
        "~",
        "aa",
        "a ",
        " a",
        "a\t",
        "a\n",
        "\x01",
        "\x7f",
        "%",
        "'",
        '"',
        "\\",
        "$a",
        "a.b",
    ),
    *(
        "ß",
        "ss",
        "é",
        "e\u0301",
        "É",
        "İ",
        "ı",  # noqa: RUF001
        "\ufb01",
        "\u200b",
        "\ufeff",
        "\uffee",
        "\uffff",
        "中",
        "💡",
        "\U0010ffff",
    ),
)
"""Texts that are sorted differently by code point and by UTF-16, or that some engines take for equal."""

unusual_texts = st.sampled_from(UNUSUAL_TEXTS)
texts = unusual_texts | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=3
)
names = texts.filter(str.strip)
given_names = mostly(names, st.sampled_from(["", " ", "a\0", "\ud800", "x" * 201, "💡" * 200]))
descriptions = st.none() | st.just("") | texts

prices = st.sampled_from(["0", "0.01", "0.1", "0.10", "10.00", "9999999999.99"]).map(Decimal)
given_prices = mostly(prices, st.sampled_from(["-0.00", "-0.01", "0.001", "1.230", "10000000000", "NaN"]).map(Decimal))

emails = st.sampled_from(
    [
        "ada@example.org",
        "ADA@example.org",
        "zoë@example.org",
        "ZOE\u0308@EXAMPLE.ORG",
        "straße@example.org",
        "grace@b.c",
    ]
)
given_emails = mostly(emails, st.sampled_from(["strasse@example.org", "nobody", "a b@example.org", "a\0@example.org"]))
usernames = st.sampled_from(["ada", "grace", "a_b", "a.b", "a-b", "aab"])
given_usernames = mostly(usernames, st.sampled_from(["Ada", "GRACE", "A_B", "ad", "a b c", "zoë"]))
passwords = mostly(st.just("correct horse"), st.just("battery staple"))
given_passwords = mostly(passwords, st.just("short"))
addresses = st.sampled_from(["192.0.2.1", "::1"])

statuses = st.sampled_from(TaskStatus)
keys = st.sampled_from(["a key", "~"])
fingerprints = st.sampled_from([b"one request", b"another\0"])
subjects = st.sampled_from([b"\x00", b"\x7f", b"\xff" * 32])

moments = st.sampled_from(
    [
        timedelta(milliseconds=1),
        timedelta(milliseconds=999),
        timedelta(seconds=15),
        timedelta(minutes=15) - timedelta(milliseconds=1),
        timedelta(hours=24) - timedelta(milliseconds=1),
        timedelta(hours=24),
        timedelta(days=30),
    ]
)

version_offsets = mostly(
    st.none() | st.sets(st.integers(-1, 1), max_size=2).map(lambda chosen: (0, *chosen)), st.sampled_from([(), (-1,)])
)
"""The versions in If-Match, relative to the one that was seen; None for no If-Match, () for one that never matches."""

limits = st.integers(1, 4)
skips = st.integers(0, 4)
ITEM_SORTS: list[Sort[Any]] = [
    Sort(by, down) for by, down in product(["id", "created_at", "price", "name"], [False, True])
]
TASK_SORTS: list[Sort[Any]] = [Sort(by, down) for by, down in product(["id", "created_at", "title"], [False, True])]
item_sorts, task_sorts = st.sampled_from(ITEM_SORTS), st.sampled_from(TASK_SORTS)

item_changes = st.fixed_dictionaries(
    {}, optional={"name": given_names, "description": descriptions, "price": given_prices}
).map(lambda chosen: ItemChanges(**chosen))  # type: ignore[typeddict-item]
task_changes = st.fixed_dictionaries(
    {}, optional={"title": given_names, "description": descriptions, "status": statuses}
).map(lambda chosen: TaskChanges(**chosen))  # type: ignore[typeddict-item]
