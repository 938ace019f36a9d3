"""The docs page in a real browser, as a newcomer uses it: its forms are filled in and sent by mouse and keyboard."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import CHROMIUM, MISSING, Browser, browser, hosts_of
from tests.support.served import served

pytestmark = pytest.mark.skipif(not CHROMIUM, reason=f"Chromium: {MISSING}")

SCREENSHOTS = os.environ.get("SCREENSHOTS")
"""A folder in which the page is kept at each step, to look at it."""


class DocsPage:
    """The forms of Swagger UI."""

    def __init__(self, page: Browser) -> None:
        self.page = page
        self.steps = 0
        self.toggle = ""
        """What closes the operation that is open, if there is one; a page with many open ones is slow."""

    def keep(self, name: str) -> None:
        self.steps += 1
        if SCREENSHOTS:
            self.page.screenshot(Path(SCREENSHOTS, f"{self.steps:02}-{name}.png"))

    def authorize(self, username: str, password: str) -> None:
        self.page.click("//button[contains(@class, 'authorize') and contains(., 'Authorize')]")
        form = "//div[contains(@class, 'auth-container')][.//input[@id='oauth_username']]"
        self.page.fill("//input[@id='oauth_username']", username)
        self.page.fill("//input[@id='oauth_password']", password)
        self.keep("authorize")
        self.page.click(f"{form}//button[contains(., 'Authorize')]")
        self.page.wait_for("return document.querySelector('.auth-container').innerText.includes('Logout')")
        self.keep("authorized")
        self.page.click("//button[contains(@class, 'close-modal')]")

    def execute(self, operation: str, change: Callable[[Any], Any] | None = None, **parameters: str) -> Any:
        """Open an operation, fill in its form, and send it; return the answered JSON. It must be a success.

        The example of the body is sent as it stands, or what `change` makes of it.
        """
        tag, _, name = operation.partition(".")
        block = f"//div[@id='operations-{tag}-{name}']"
        toggle = f"{block}//button[contains(@class, 'opblock-summary-control')]"
        if toggle == self.toggle:
            self.page.click(f"{block}//button[contains(@class, 'btn-clear')]")
        else:
            if self.toggle:
                self.page.click(self.toggle)
            self.page.click(toggle)
            self.page.click(f"{block}//button[contains(@class, 'try-out__btn')]")
            self.toggle = toggle
        for parameter, value in parameters.items():
            self.page.fill(f"{block}//tr[@data-param-name='{parameter}']//input", value)
        if change:
            body = f"{block}//textarea[contains(@class, 'body-param__text')]"
            self.page.fill(body, json.dumps(change(json.loads(self.page.text(body)))))
        self.page.click(f"{block}//button[contains(@class, 'execute')]")
        answer = f"{block}//table[contains(@class, 'live-responses-table')]/tbody"
        status = self.page.text(f"{answer}//td[contains(@class, 'response-col_status')]")
        content = self.page.text(f"{answer}//td[contains(@class, 'response-col_description')]//code")
        self.keep(name)
        assert re.match(r"2\d\d\b", status), content
        return json.loads(content)


async def test_a_newcomer_hands_an_item_over(tmp_path: Path) -> None:
    async with served(tmp_path, LOG_LEVEL="warning") as server:
        with browser(tmp_path) as page:
            page.open(f"{server.url}/docs")
            docs = DocsPage(page)
            ada = docs.execute("users.create_user")
            assert ada["username"] == "ada"
            grace = docs.execute("users.create_user", lambda ada: ada | {"username": "grace", "email": "g@example.org"})
            docs.authorize("ada", "analytical engine")
            item = docs.execute("items.create_item")
            assert (item["name"], item["owner"]["username"]) == ("Bicycle", "ada")
            handed = docs.execute("items.transfer_item", lambda _: {"to_user_id": grace["id"]}, item_id=item["id"])
            assert handed["owner_id"] == grace["id"]
            history = docs.execute("items.list_transfers", item_id=item["id"])
            [transfer] = history["items"]
            assert (transfer["from_user_id"], transfer["to_user_id"]) == (ada["id"], grace["id"])
            assert page.errors() == []
            requested = [url for url in page.requested() if not url.startswith("data:")]
            assert len(requested) > 10
            assert [url for url in requested if not url.startswith(f"{server.url}/")] == []
    assert hosts_of(tmp_path) == {"127.0.0.1"}
