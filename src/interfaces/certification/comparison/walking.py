"""Noticing that reading a list page by page would never end, in contract tests."""

from collections.abc import Iterable

import pytest


def check_new(ids: Iterable[object], seen: Iterable[object], where: object, *, more: bool) -> None:
    """Fail if a page has a row that an earlier page has had, or has none although more are said to follow.

    `ids` are those of the page's rows, `seen` those of the earlier ones, and `where` is the position behind which the
    page begins, None for the first page. The test would run for ever otherwise.
    """
    page, earlier = list(ids), set(seen)
    name = "the first page" if where is None else f"the page behind {where}"
    for id in page:
        if id in earlier:
            pytest.fail(
                f"{name} gives row {id} again: what `page` sorts by is not what a Position holds, or is not the order"
                " of the list",
                pytrace=False,
            )
    if more and not page:
        pytest.fail(f"{name} has no rows, but says that there are more", pytrace=False)
