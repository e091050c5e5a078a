"""The exporter as a process while what it looks at hangs: scrapes, signals, two foundations of which one fails."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from simulator.clock import Timing
from simulator.cluster import Cluster, Options
from simulator.play import Exporter
from tests.support.simulated import eventually, quick

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(Options(timing=Timing().scaled(20), foundations=2)) as running:
        yield running


def configured(cluster: Cluster, folder: Path, how: Callable[[dict[str, Any]], Any] = lambda _: None) -> Path:
    path = cluster.write(folder)
    settings = yaml.safe_load(path.read_text())
    settings["exporter"]["web"]["listen"] = "127.0.0.1:0"
    settings["probe"] = {"interval": "500ms", "timeout": "1s"}
    how(settings)
    path.write_text(yaml.safe_dump(settings))
    return path


def series(exporter: Exporter) -> dict[str, float]:
    lines = [line for line in exporter.get("/metrics").splitlines() if line and not line.startswith("#")]
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


def verdict(exporter: Exporter, foundation: str) -> str:
    found = series(exporter)
    start = f'diego_verdict{{foundation="{foundation}",verdict="'
    return next((name[len(start) : -2] for name, one in found.items() if name.startswith(start) and one == 1), "")


def names(settings: dict[str, Any]) -> list[str]:
    return [foundation["name"] for foundation in settings["foundations"]]


def test_one_foundation_that_fails_leaves_the_other(cluster: Cluster, tmp_path: Path) -> None:
    def second_elsewhere(settings: dict[str, Any]) -> None:
        settings["foundations"][1]["namespace"] = "no-such-namespace"
        settings["foundations"][1]["layout"] = "auto"

    path = configured(cluster, tmp_path, second_elsewhere)
    first, second = names(yaml.safe_load(path.read_text()))
    exporter = Exporter(path)
    try:
        eventually(lambda: verdict(exporter, first) == "healthy", "healthy")
        eventually(lambda: verdict(exporter, second) == "unknown", "unknown")
        found = series(exporter)
        success = "stager_exporter_collector_success"
        assert found[f'{success}{{collector="layout",foundation="{second}"}}'] == 0
        assert found[f'{success}{{collector="layout",foundation="{first}"}}'] == 1
        assert found[f'diego_bbs_up{{foundation="{first}"}}'] == 1
        assert f'diego_bbs_up{{foundation="{second}"}}' not in found
        page = exporter.get(f"/foundations/{second}")
        assert "there are no pods in the namespace no-such-namespace" in page
    finally:
        exporter.stop()


def freeze(cluster: Cluster) -> None:
    """Nothing answers any more: the API server accepts and is silent, and so does every BBS."""
    cluster.api.change_faults({"mode": "frozen"})
    for name in [site.foundation.name for site in cluster._sites.values()]:
        cluster.start_incident("hung", name)


def test_scrapes_and_the_end_while_everything_hangs(cluster: Cluster, tmp_path: Path) -> None:
    path = configured(cluster, tmp_path, lambda settings: settings.update(probe={"interval": "1s", "timeout": "20s"}))
    first = names(yaml.safe_load(path.read_text()))[0]
    exporter = Exporter(path)
    try:
        eventually(lambda: verdict(exporter, first) == "healthy", "healthy")
        freeze(cluster)
        times = []
        ends = time.monotonic() + 4
        while time.monotonic() < ends:
            began = time.monotonic()
            assert exporter.get("/metrics")
            assert exporter.get("/livez")
            times.append(time.monotonic() - began)
        # Each measure is two requests with a connection of their own, beside whatever else this machine does.
        assert sorted(times)[len(times) // 2] < 0.25
        began = time.monotonic()
        os.kill(exporter._process.pid, signal.SIGTERM)
        assert exporter._process.wait(timeout=10) == 0
        assert time.monotonic() - began < 5
    finally:
        exporter.stop()


def test_sighup_with_a_bad_file_is_told_and_with_a_good_one_taken(cluster: Cluster, tmp_path: Path) -> None:
    path = configured(cluster, tmp_path)
    first = names(yaml.safe_load(path.read_text()))[0]
    exporter = Exporter(path)
    worked = "stager_exporter_config_last_reload_successful"
    try:
        eventually(lambda: verdict(exporter, first) == "healthy", "healthy")
        good = path.read_text()
        path.write_text(good + "typo: 1\n")
        for _ in range(50):
            os.kill(exporter._process.pid, signal.SIGHUP)
        eventually(lambda: series(exporter)[worked] == 0, "the metric says so")
        assert verdict(exporter, first) == "healthy"
        assert "typo: there is no such setting" in exporter.get("/")
        path.write_text(good)
        os.kill(exporter._process.pid, signal.SIGHUP)
        eventually(lambda: series(exporter)[worked] == 1, "the good one is taken")
    finally:
        exporter.stop()


class _Started:
    """`stager-exporter serve` with its standard error, for starts that fail."""

    def __init__(self, path: Path) -> None:
        command = [str(Path(sys.executable).with_name("stager-exporter")), "serve", "--config", str(path)]
        self.done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.lines = self.done.stderr.splitlines()


def test_a_start_that_cannot_be_is_told_without_a_traceback(cluster: Cluster, tmp_path: Path) -> None:
    path = configured(
        cluster, tmp_path, lambda settings: settings["foundations"][1].update(kubeconfig=str(tmp_path / "none"))
    )
    started = _Started(path)
    assert started.done.returncode == 3
    assert "Traceback" not in started.done.stderr
    told = [json.loads(line)["message"] for line in started.lines]
    assert any("it cannot start: foundation" in line and "none" in line for line in told), told


def test_a_broken_web_yml_is_told_with_its_place(cluster: Cluster, tmp_path: Path) -> None:
    path = configured(cluster, tmp_path, lambda settings: settings["exporter"]["web"].update(config_file="web.yml"))
    (tmp_path / "web.yml").write_text("basic_auth_users:\n  anna: secret\ntls: {}\n")
    started = _Started(path)
    assert started.done.returncode == 2
    hash_wanted = "expected a bcrypt hash, as `htpasswd -nBC 10 USER` prints after the colon"
    assert sorted(started.lines) == [
        f"{tmp_path}/web.yml:2:9: basic_auth_users.anna: {hash_wanted}",
        f"{tmp_path}/web.yml:3:1: tls: unknown or not supported; known here: basic_auth_users, tls_server_config",
    ]


def test_syslog_moves_with_a_reload_of_the_same_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def syslog(settings: dict[str, Any]) -> None:
        settings["logs"] = [{"source": "syslog", "listen": f"127.0.0.1:{port}"}]

    def lines(exporter: Exporter) -> float:
        return sum(value for name, value in series(exporter).items() if name.startswith("stager_log_lines_total{"))

    def send() -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sender:
            sender.sendall(b"<14>1 2026-01-01T00:00:00Z api-0 vcap.cloud_controller_ng - - - {}\n")

    with Cluster(Options(timing=quick(), traffic=False)) as cluster:
        path = configured(cluster, tmp_path, syslog)
        exporter = Exporter(path)
        try:
            eventually(lambda: verdict(exporter, "demo") == "healthy", "healthy")
            send()
            eventually(lambda: lines(exporter) == 1, "the line is counted")
            settings = yaml.safe_load(path.read_text())
            settings["probe"]["interval"] = "400ms"
            path.write_text(yaml.safe_dump(settings))
            os.kill(exporter._process.pid, signal.SIGHUP)
            eventually(lambda: lines(exporter) == 0, "the new foundation counts from nothing")

            def heard() -> bool:
                send()
                return lines(exporter) >= 1

            eventually(heard, "lines are heard on the same port")
        finally:
            exporter.stop()
