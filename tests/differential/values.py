"""What the operations are given: little to choose from, so that they collide, and awkward wherever it may be."""

from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import Bundle

from application.paging import Sort
from domain.item import ItemChanges
from domain.task import TaskChanges, TaskStatus

T = TypeVar("T")

AWKWARD = (
    *("a", "A", "b", "B", "Z", "_", "~", "aa", "a ", " a", "a\t", "a\n", "\x01", "\x7f", "%", "'", '"', "\\", "$a", "a.b"),
    *("ß", "ss", "é", "e\u0301", "É", "İ", "ı", "\ufb01", "\u200b", "\ufeff", "\uffee", "\uffff", "中", "💡", "\U0010ffff"),
)
"""By code point the one past the basic plane are the last, by UTF-16 they are not."""

awkward = st.sampled_from(AWKWARD)
texts = awkward | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=3)
names = texts.filter(str.strip)
given_names = st.sampled_from(["", " ", "a\0", "\ud800", "x" * 201, "💡" * 200]) | names | names | names
descriptions = st.none() | st.just("") | texts

prices = st.sampled_from(["0", "0.00", "0.01", "0.1", "0.10", "9.99", "10.00", "100", "9999999999.99"]).map(Decimal)
given_prices = prices | prices | st.sampled_from(["-0.00", "-0.01", "0.001", "1.230", "10000000000", "NaN"]).map(Decimal)

emails = st.sampled_from(
    ["ada@example.org", "ADA@example.org", "zoë@example.org", "ZOE\u0308@EXAMPLE.ORG", "straße@example.org", "grace@b.c"]
)
given_emails = emails | emails | st.sampled_from(["strasse@example.org", "nobody", "a b@example.org", "a\0@example.org"])
usernames = st.sampled_from(["ada", "grace", "a_b", "a.b", "a-b", "aab"])
given_usernames = usernames | usernames | st.sampled_from(["Ada", "GRACE", "A_B", "ad", "a b c", "zoë"])
passwords = st.sampled_from(["correct horse", "battery staple"])
given_passwords = passwords | passwords | st.just("short")
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

version_offsets = st.none() | st.just(()) | st.sets(st.integers(-1, 1), max_size=2).map(lambda chosen: (0, *chosen))
"""What is expected, counted from the version that was seen: nothing, no version at all, or some of them."""

limits = st.integers(1, 4)
skips = st.integers(0, 4)
item_sorts: st.SearchStrategy[Sort[Any]] = st.builds(
    Sort, st.sampled_from(["id", "created_at", "price", "name"]), st.booleans()
)
task_sorts: st.SearchStrategy[Sort[Any]] = st.builds(Sort, st.sampled_from(["id", "created_at", "title"]), st.booleans())

item_changes = st.fixed_dictionaries(
    {}, optional={"name": given_names, "description": descriptions, "price": given_prices}
).map(lambda chosen: ItemChanges(**chosen))  # type: ignore[typeddict-item]
task_changes = st.fixed_dictionaries(
    {}, optional={"title": given_names, "description": descriptions, "status": statuses}
).map(lambda chosen: TaskChanges(**chosen))  # type: ignore[typeddict-item]


def maybe(bundle: "Bundle[T]") -> st.SearchStrategy[T | None]:
    """One of the bundle or none; none as long as it is empty."""
    return st.runner().flatmap(lambda machine: st.none() | bundle if machine.bundle(bundle.name) else st.none())
