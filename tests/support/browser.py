"""A headless Chromium, driven by its DevTools protocol: JSON over two pipes, so that nothing else has to be installed.

See chromedevtools.github.io/devtools-protocol. With `--remote-debugging-pipe`, the browser reads commands from file
descriptor 3 and answers on 4, with a NUL after each message. A click is sent to a place of the page, as by a mouse.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SECONDS = 120
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = "none, so the docs page is not tried in one (Debian: apt install chromium)"
SWITCHES = [
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--window-size=1000,800",
]
CENTER = """
const found = document.evaluate(%s, document, null, XPathResult.ORDERED_NODE_SNAPSHOT_TYPE);
for (let i = 0; i < found.snapshotLength; i++) {
  const element = found.snapshotItem(i);
  element.scrollIntoView({block: 'center', behavior: 'instant'});
  const box = element.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
  const top = document.elementFromPoint(x, y);
  if (top && (element.contains(top) || top.contains(element)) && !element.disabled) return [x, y];
}
"""
"""Returns the center of the first element of an XPath that can be clicked; it is scrolled to."""


class Browser:
    """One page. Its methods wait until what they look for is there; elements are found by an XPath."""

    def __init__(self, sending: int, receiving: int) -> None:
        self._sending, self._receiving = sending, receiving
        self._buffer = b""
        self._number = 0
        self._session: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **self._session}
        os.write(self._sending, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert select.select([self._receiving], [], [], SECONDS)[0], "the browser does not answer"
            chunk = os.read(self._receiving, 1 << 20)
            assert chunk, "the browser has ended"
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        received: dict[str, Any] = json.loads(message)
        return received

    def evaluate(self, script: str) -> Any:
        """Return what a function with this body returns on the page."""
        evaluated = self.call("Runtime.evaluate", expression=f"(() => {{{script}}})()", returnByValue=True)
        assert "exceptionDetails" not in evaluated, evaluated
        return evaluated["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """Wait until a function with this body returns something true; return that."""
        until = time.monotonic() + SECONDS
        while not (value := self.evaluate(script)):
            assert time.monotonic() < until, f"the page does not come to fulfil {script}"
            time.sleep(0.1)
        return value

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def click(self, xpath: str) -> None:
        x, y = self.wait_for(CENTER % json.dumps(xpath))
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def fill(self, xpath: str, text: str) -> None:
        """Replace what is in a field."""
        self.click(xpath)
        self.call("Input.dispatchKeyEvent", type="keyDown", commands=["selectAll"])
        self.call("Input.insertText", text=text)

    def text(self, xpath: str) -> str:
        """The text of an element, or what is in a field."""
        found = f"document.evaluate({json.dumps(xpath)}, document, null, XPathResult.FIRST_ORDERED_NODE_TYPE)"
        return str(
            self.wait_for(f"const found = {found}.singleNodeValue; return found && (found.value || found.innerText)")
        )

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def errors(self) -> list[str]:
        """The errors and warnings that the console has shown, with exceptions that nobody has caught."""
        shown = []
        for event in self.events:
            match event:
                case (
                    {"method": "Runtime.exceptionThrown"}
                    | {"method": "Runtime.consoleAPICalled", "params": {"type": "error" | "warning" | "assert"}}
                    | {"method": "Log.entryAdded", "params": {"entry": {"level": "error" | "warning"}}}
                ):
                    shown.append(json.dumps(event["params"]))
        return shown

    def requested(self) -> list[str]:
        """The addresses of all requests of the page."""
        return [
            event["params"]["request"]["url"] for event in self.events if event["method"] == "Network.requestWillBeSent"
        ]


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with a new profile in this folder, which writes into `net.json` what its network does."""
    assert CHROMIUM
    switches = [*SWITCHES, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={folder / 'net.json'}"]
    (commands, sending), (receiving, answers) = os.pipe(), os.pipe()
    with (
        (folder / "browser.log").open("w") as log,
        subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{commands} 4>&{answers}', "bash", CHROMIUM, *switches],
            pass_fds=[commands, answers],
            stdout=log,
            stderr=log,
        ) as process,
    ):
        os.close(commands)
        os.close(answers)
        try:
            page = Browser(sending, receiving)
            yield page
            page.call("Browser.close")
            process.wait(SECONDS)
        finally:
            process.kill()
            os.close(sending)
            os.close(receiving)


def hosts_of(folder: Path) -> set[str]:
    """The hosts to which a browser that has ended has opened connections or sent packets."""
    log = json.loads((folder / "net.json").read_text())
    names = {number: name for name, number in log["constants"]["logEventTypes"].items()}
    found, of_socket = set(), {}
    for event in log["events"]:
        source = event["source"]["id"]
        match names[event["type"]], event.get("params"):
            case "TCP_CONNECT_ATTEMPT", {"address": str(address)}:
                found.add(address.rpartition(":")[0])
            case "UDP_CONNECT", {"address": str(address)}:
                of_socket[source] = address.rpartition(":")[0]
            case "UDP_BYTES_SENT", _:  # unlike connecting, which only looks for a route
                found.add(of_socket.get(source, "somewhere"))
    return found
