"""Pictures of the remediator's page for the documentation: `python -m tests.support.remediation_screenshots FOLDER`.

A real remediator beside a simulated foundation: one run that succeeded, then one that waits for a person.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.campaign.world import TOKEN, Cluster, Replica, alert, eventually, write_config
from tests.support.chromium import Chromium
from tests.support.small_png import shrink

_RUN: Final = "demo.restart-diego-api.1"


def main() -> None:
    """Play it and take the pictures."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        cluster = Cluster(Path(scratch), layout="cfee-2", speed=40, grace=2)
        try:
            config = write_config(cluster, Path(scratch), playbook={"mode": "approval"}, approval_expires="1h")
            replica = Replica(config)
            try:
                _play(cluster, replica, folder, Path(scratch))
            finally:
                replica.process.end()
        finally:
            cluster.process.end()


def _play(cluster: Cluster, replica: Replica, folder: Path, scratch: Path) -> None:
    eventually(replica.port, "the remediator listens")
    time.sleep(3)
    cluster.incident("locket_hung")
    time.sleep(9)
    _notify(cluster, replica)
    with Chromium(scratch / "profile") as browser:
        browser.ask("Network.enable")
        browser.ask("Network.setExtraHTTPHeaders", headers={"Authorization": f"Bearer {TOKEN}"})
        url = f"http://127.0.0.1:{replica.port()}"
        _take(browser, f"{url}/", folder / "remediator-waiting-light.png", 1180, dark=False)
        approved = next(item for item in cluster.remediations() if item["metadata"]["name"] == _RUN)
        body = {"resourceVersion": approved["metadata"]["resourceVersion"]}
        status, said = replica.post(f"/api/v1/remediations/{_RUN}/approve", body)
        if status != 200:
            raise SystemExit(f"not approved: {status} {said}")
        eventually(lambda: (cluster.ledger()[1].get("last") or {}).get("phase") == "Succeeded", "Succeeded", 60)
        eventually(lambda: _phase(cluster) == "Succeeded", "its story is written")
        _take(browser, f"{url}/remediations/{_RUN}", folder / "remediation-dark.png", 1180, dark=True)
        _take(browser, f"{url}/remediations/{_RUN}", folder / "remediation-phone.png", 390, dark=False)


def _phase(cluster: Cluster) -> str:
    found = next(item for item in cluster.remediations() if item["metadata"]["name"] == _RUN)
    return str(found.get("status", {}).get("phase"))


def _notify(cluster: Cluster, replica: Replica) -> None:
    replica.post("/api/v1/alertmanager", alert())
    eventually(lambda: _phase(cluster) == "AwaitingApproval", "it waits for a person")


def _take(browser: Chromium, url: str, file: Path, width: int, *, dark: bool) -> None:
    browser.look(width, 900, dark=dark)
    browser.go(url)
    file.write_bytes(shrink(browser.screenshot()))
    print(f"{file.name} {file.stat().st_size // 1024} kB")


if __name__ == "__main__":
    main()
