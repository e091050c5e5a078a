"""Makes the pictures of Prometheus' own page: `python -m tests.support.prometheus_screenshots DIRECTORY`.

The demo runs as it does for everybody; its lines say when to look. The page of alerts is taken once while BBS' alert
fires and once after it has resolved, down to the end of the first group of rules. Needs chromium on the PATH, and a
Prometheus whose page is the old one (Debian's) or the maker's of today. Part of `make screenshots`.
"""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.chromium import Chromium
from tests.support.small_png import shrink

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH, HEIGHT = 900, 550
ALERT = "DiegoBBSUnreachable"
MOMENTS = {f"{ALERT} (critical) fires": "prometheus-firing", f"{ALERT} (critical) has resolved": "prometheus-resolved"}


def main() -> None:
    """Play until both pictures are taken."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    demo = subprocess.Popen(
        [str(Path(sys.executable).with_name("stager-demo")), "--play"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        with tempfile.TemporaryDirectory() as profile, Chromium(Path(profile)) as browser:
            browser.look(WIDTH, HEIGHT)
            for name, png in _pictures(demo, browser):
                (folder / f"{name}.png").write_bytes(png)
                print(f"{name}.png {len(png) // 1024} kB")
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait()
        if demo.stdout is not None:
            demo.stdout.close()


def _pictures(demo: subprocess.Popen[str], browser: Chromium) -> Iterator[tuple[str, bytes]]:
    """Each picture, as the demo's lines come to it."""
    page, left = "", dict(MOMENTS)
    for line in demo.stdout or ():
        if line.startswith("prometheus "):
            page = line.split()[1]
        for words in [words for words in left if words in line]:
            browser.go(page)
            browser.until(f"document.body.innerText.includes('{ALERT}')")
            yield left.pop(words), _picture(browser)
        if not left:
            return
    sys.exit("prometheus_screenshots: the demo ended too early; without a real Prometheus there is no page")


def _picture(browser: Chromium) -> bytes:
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT, "scale": 1}
    taken = browser.ask("Page.captureScreenshot", format="png", clip=clip)
    return shrink(base64.b64decode(str(taken["data"])))


if __name__ == "__main__":
    main()
