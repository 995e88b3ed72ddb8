"""A page in Chromium, driven by the DevTools protocol over a websocket: what jupyterlab brings is enough for that."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import websocket

#: Names of the browser on Debian and elsewhere.
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
KEYS = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9}
PATIENCE = 240  # seconds, on a machine that does much else


class Page:
    """One page; everything that it logs as an error is in `errors`."""

    def __init__(self, address: str) -> None:
        self.socket = websocket.create_connection(address, PATIENCE, suppress_origin=True)
        self.number, self.errors = 0, []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            told = json.loads(self.socket.recv())
            if told.get("method") == "Runtime.exceptionThrown":
                self.errors.append(told["params"]["exceptionDetails"]["exception"]["description"])
            if told.get("method") == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                self.errors.append(told["params"]["entry"]["text"])
            if told.get("id") == self.number:
                assert "error" not in told, told["error"]
                return told["result"]

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript."""
        told = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def open(self, address: str) -> None:
        """Go to an address, and wait until its scripts have run."""
        self.call("Page.navigate", url="about:blank")
        self.wait_for("location.href === 'about:blank' && document.readyState === 'complete'")  # else the next may hang
        self.call("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def wait_for(self, script: str) -> None:
        """Wait until an expression is true."""
        until = time.monotonic() + PATIENCE
        while not self.run(script):
            assert time.monotonic() < until, f"not true after {PATIENCE} s: {script}"
            time.sleep(0.05)

    def type(self, text: str) -> None:
        """Put text where the cursor is, as from a keyboard or the clipboard."""
        self.call("Input.insertText", text=text)

    def press(self, *keys: str) -> None:
        """Press and release keys: a letter, or a name of `KEYS`."""
        for key in keys:
            code = {"windowsVirtualKeyCode": KEYS[key]} if key in KEYS else {}
            text = {"text": "\r" if key == "Enter" else key} if key == "Enter" or len(key) == 1 else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **code, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key, **code)

    def show_as(self, width: int, height: int = 900, scheme: str = "light") -> None:
        """Give the page a size in pixels and a colour scheme, ``light`` or ``dark``."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self) -> bytes:
        """All of the page as a PNG file."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])


@contextmanager
def chromium_page(folder: Path) -> Iterator[Page]:
    """A page of a headless Chromium that keeps its files in a folder, and ends with the block."""
    options = ("headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "hide-scrollbars", "no-first-run")
    command = [CHROMIUM, *(f"--{name}" for name in options), "--remote-debugging-port=0", f"--user-data-dir={folder}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port, until = folder / "DevToolsActivePort", time.monotonic() + PATIENCE
        while not (port.is_file() and port.read_text().count("\n")):
            assert process.poll() is None, "Chromium has ended"
            assert time.monotonic() < until, "Chromium has not started"
            time.sleep(0.1)
        address = f"http://127.0.0.1:{port.read_text().split()[0]}/json/new?about:blank"
        with urlopen(Request(address, method="PUT"), timeout=PATIENCE) as answer:
            page = Page(json.load(answer)["webSocketDebuggerUrl"])
        yield page
        page.socket.close()
    finally:
        process.terminate()
        process.wait(PATIENCE)
