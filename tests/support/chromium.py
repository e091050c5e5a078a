"""A headless Chromium, driven over its own debugging protocol: nothing is installed for it but the browser itself.

A missing browser is an error, not a skip: a test that silently does not run is believed.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import time
import urllib.request
from typing import TYPE_CHECKING, Self

from websocket import WebSocket

if TYPE_CHECKING:
    from pathlib import Path

START_SECONDS = 30.0


class Chromium:
    """One browser with one page. Use as a context manager."""

    def __init__(self, profile: Path) -> None:
        found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if found is None:
            raise AssertionError("no Chromium is installed: these tests need it (Debian: apt-get install chromium)")
        self._profile = profile
        self._command = [
            found,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            "--hide-scrollbars",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "about:blank",
        ]
        self._ids = itertools.count(1)

    def __enter__(self) -> Self:
        environ = {**os.environ, "HOME": str(self._profile)}
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ
        )
        try:
            self._page = WebSocket()
            self._page.settimeout(START_SECONDS)
            self._page.connect(self._address(), suppress_origin=True)  # type: ignore[no-untyped-call]
            self.ask("Page.enable")
            self.ask("Runtime.enable")
            self.ask("Log.enable")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._page.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _address(self) -> str:
        told = self._profile / "DevToolsActivePort"
        deadline = time.monotonic() + START_SECONDS
        while not (told.exists() and told.read_text().count("\n") >= 1):
            assert time.monotonic() < deadline, "Chromium did not start"
            assert self._process.poll() is None, "Chromium ended at once"
            time.sleep(0.05)
        port = told.read_text().splitlines()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
            pages = [page for page in json.load(answer) if page["type"] == "page"]
        return str(pages[0]["webSocketDebuggerUrl"])

    def ask(self, method: str, **parameters: object) -> dict[str, object]:
        """One command of the protocol, and its answer."""
        number = next(self._ids)
        self._page.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            said = json.loads(self._page.recv())
            if said.get("id") == number:
                assert "error" not in said, said
                result: dict[str, object] = said["result"]
                return result

    def evaluate(self, expression: str) -> object:
        """The value of an expression in the page."""
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        found = result["result"]
        assert isinstance(found, dict)
        return found.get("value")

    def until(self, expression: str, within: float = 20.0) -> None:
        """Wait until an expression is true in whatever page is then shown."""
        deadline = time.monotonic() + within
        while self.evaluate(f"document.readyState == 'complete' && !!({expression})") is not True:
            assert time.monotonic() < deadline, f"not so: {expression}; the page says: {self.text()[:500]}"
            time.sleep(0.05)

    def go(self, url: str) -> None:
        """Open a page and wait until it is there."""
        self.evaluate("window.left = true")
        self.ask("Page.navigate", url=url)
        self.until("!window.left && location.href != 'about:blank'")

    def text(self) -> str:
        """What the page says."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def look(self, width: int, height: int, *, dark: bool = False) -> None:
        """Take a screen of this size, and a colour scheme."""
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self) -> bytes:
        """A PNG of the whole page."""
        taken = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(str(taken["data"]))
