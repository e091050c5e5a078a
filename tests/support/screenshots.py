"""Makes the pictures in `docs/images`: `python -m tests.support.screenshots DIRECTORY` (`make screenshots`).

They show the real page of a real exporter beside a simulated foundation, well and in its incident. Needs `chromium` on
the PATH. Times and addresses differ from run to run, so the pictures do too.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import yaml

from simulator.cluster import Cluster, Options
from simulator.play import Exporter
from tests.support.small_png import shrink

_PATIENCE = 60.0
_NARROWEST = 500
"""A headless window is never narrower, in pixels."""
_WELL_FOR = 25.0
"""Seconds of good probes before the incident: the page then has something to compare with."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture."""

    name: str
    width: int
    height: int
    dark: bool = False


WELL = (Shot("healthy-dark", 1180, 850, dark=True),)
BROKEN = (Shot("locket-hung-light", 1180, 970), Shot("locket-hung-phone", 390, 1420, dark=True))


def main() -> None:
    """Play the incident and take the pictures."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    browser = shutil.which("chromium")
    if browser is None:
        sys.exit("screenshots: chromium is not on the PATH")
    with tempfile.TemporaryDirectory() as scratch, Cluster(Options()) as cluster:
        config = cluster.write(Path(scratch))
        settings = yaml.safe_load(config.read_text(encoding="utf-8"))
        settings["exporter"]["web"]["listen"] = "127.0.0.1:0"
        config.write_text(yaml.safe_dump(settings), encoding="utf-8")
        exporter = Exporter(config)
        try:
            _await(exporter, "healthy", "no")
            time.sleep(_WELL_FOR)
            for shot in WELL:
                _take(browser, exporter.url, folder, shot)
            cluster.start_incident("locket_hung")
            _await(exporter, "locket_hung", "yes")
            for shot in BROKEN:
                _take(browser, exporter.url, folder, shot)
        finally:
            exporter.stop()


def _await(exporter: Exporter, verdict: str, restart: str) -> None:
    ends = time.monotonic() + _PATIENCE
    while (seen := exporter.foundation()).get("verdict") != verdict or seen.get("restart") != restart:
        if time.monotonic() > ends:
            sys.exit(f"screenshots: waited {_PATIENCE:.0f} s for {verdict}, it is {seen.get('verdict')}")
        time.sleep(0.2)


def _take(browser: str, url: str, folder: Path, shot: Shot) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        raw = Path(scratch) / "raw.png"
        options = [
            "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=3000",
            f"--user-data-dir={scratch}/profile", f"--window-size={shot.width},{shot.height}", f"--screenshot={raw}",
            f"--blink-settings=preferredColorScheme={0 if shot.dark else 1}",
        ]  # fmt: skip
        address = f"{url}/" if shot.width >= _NARROWEST else _framed(url, Path(scratch), shot)
        subprocess.run([browser, *options, address], check=True, capture_output=True, timeout=60)
        small = shrink(raw.read_bytes())
    (folder / f"{shot.name}.png").write_bytes(small)
    print(f"{shot.name}.png {len(small) // 1024} kB")


def _framed(url: str, scratch: Path, shot: Shot) -> str:
    """Give a page with a frame of the wanted width; it shows a copy, as the page itself allows no frame around it."""
    page = re.sub(
        r'<link[^>]*rel="stylesheet"[^>]*href="([^"]+)"[^>]*>',
        lambda link: f"<style>{_read(urljoin(url, link[1]))}</style>",
        _read(f"{url}/"),
    )
    (scratch / "page.html").write_text(page, encoding="utf-8")
    style = f"border:0;width:{shot.width}px;height:{shot.height}px"
    frame = scratch / "frame.html"
    frame.write_text(f'<body style="margin:0"><iframe src="page.html" style="{style}"></iframe>')
    return frame.as_uri()


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


if __name__ == "__main__":
    main()
