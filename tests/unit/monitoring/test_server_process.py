"""A server's life: ready, stopped, killed, back on its port; and what is said of one that does not come up."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from simulator.monitoring import Monitoring, MonitoringError, Programs, Targets, free_port
from simulator.monitoring.process import Server

if TYPE_CHECKING:
    from pathlib import Path


def server(folder: Path, *, ready: bool = True) -> Server:
    """Python's own server, which answers as a ready Prometheus does."""
    if ready:
        (folder / "-").mkdir()
        (folder / "-/ready").write_text("ready")
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(folder)]
    return Server("Played", command, f"http://127.0.0.1:{port}", folder / "played.log")


def test_it_comes_back_on_its_port_after_a_stop_and_a_kill(tmp_path: Path) -> None:
    found = server(tmp_path)
    try:
        found.start()
        found.wait()
        first = found.pid
        found.start()
        assert found.pid == first, "a running one stays"
        for end in (found.stop, found.kill):
            end()
            assert found.pid == 0
            end()
            found.start()
            found.wait()
            assert found.pid not in (0, first)
    finally:
        found.stop()
    assert '"GET /-/ready' in found.log.read_text()


def test_one_that_is_never_ready_is_told(tmp_path: Path) -> None:
    found = server(tmp_path, ready=False)
    try:
        found.start()
        with pytest.raises(MonitoringError, match=r"Played is not ready after 0 s: .*its log: .*played\.log"):
            found.wait(limit=0.3)
    finally:
        found.stop()


def test_one_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such flag')"]
    found = Server("Played", command, f"http://127.0.0.1:{free_port()}", tmp_path / "played.log")
    found.start()
    with pytest.raises(MonitoringError, match="Played ended: no such flag; its log"):
        found.wait()
    found.stop()


def test_one_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    found = Server("Played", [str(tmp_path / "nothing")], "http://127.0.0.1:1", tmp_path / "played.log")
    with pytest.raises(MonitoringError, match="nothing: No such file or directory"):
        found.start()
    assert found.last_words() == "it said nothing"
    found.stop()


def test_a_monitoring_whose_programs_do_not_run_leaves_nothing_behind(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    targets = Targets(
        exporters=("127.0.0.1:1",),
        remediators=("127.0.0.1:2",),
        webhook="http://127.0.0.1:2/",
        token_file=tmp_path / "token",
        receivers="http://127.0.0.1:3",
    )
    monitoring = Monitoring(Programs(nothing, nothing), tmp_path / "files", targets, factor=10)
    with pytest.raises(MonitoringError, match="nothing: No such file"):
        monitoring.start()
    assert {path.name for path in (tmp_path / "files").iterdir() if path.suffix == ".yml"} == {
        "rules.yml",
        "alertmanager.yml",
    }
    monitoring.stop()


@pytest.mark.parametrize("number", [0, 3])
def test_more_than_two_alertmanagers_are_refused(tmp_path: Path, number: int) -> None:
    nothing = tmp_path / "nothing"
    targets = Targets((), (), "", nothing, "")
    with pytest.raises(ValueError, match="1 or 2"):
        Monitoring(Programs(nothing, nothing), tmp_path, targets, alertmanagers=number)
