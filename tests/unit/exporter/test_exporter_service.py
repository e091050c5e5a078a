"""The exporter's life with nothing to talk to: reloads, readiness, its end. The API server's port refuses or hangs."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client import generate_latest

from exporter import service
from exporter.config import load_config
from exporter.service import Exporter
from foundation.kube.errors import ConfigurationProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from exporter.monitor import Monitor


@pytest.fixture
def refusing() -> Iterator[str]:
    """An address that is taken and does not listen."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def kubeconfig(path: Path, server: str) -> Path:
    cluster = {"name": "c", "cluster": {"server": server}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    user: dict[str, Any] = {"name": "u", "user": {}}
    document = {"clusters": [cluster], "contexts": [context], "users": [user], "current-context": "c"}
    path.write_text(yaml.safe_dump(document))
    return path


class Home:
    """A configuration file that tests change."""

    def __init__(self, folder: Path, server: str) -> None:
        self.folder = folder
        self.file = folder / "exporter.yml"
        self.kubeconfig = kubeconfig(folder / "kubeconfig", server)
        self.settings: dict[str, Any] = {
            "foundations": [self.foundation("a"), self.foundation("b")],
            "probe": {"interval": "100ms", "timeout": "100ms"},
        }
        self.write()

    def foundation(self, name: str) -> dict[str, Any]:
        return {"name": name, "namespace": name, "kubeconfig": str(self.kubeconfig)}

    def write(self) -> None:
        self.file.write_text(yaml.safe_dump(self.settings))


@pytest.fixture
def home(tmp_path: Path, refusing: str) -> Home:
    return Home(tmp_path, refusing)


@pytest.fixture
def exporter(home: Home) -> Iterator[Exporter]:
    running = Exporter(home.file, load_config(home.file))
    yield running
    running.stop()


def value(exporter: Exporter, series: str) -> float:
    lines = generate_latest(exporter.registry).decode().splitlines()
    return next(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{series} "))


def reload_worked(exporter: Exporter) -> float:
    return value(exporter, "stager_exporter_config_last_reload_successful")


def monitors(exporter: Exporter) -> dict[str, Monitor]:
    return dict(exporter._monitors)


def test_nothing_to_look_at_is_ready_and_unknown(exporter: Exporter, until: Callable[..., None]) -> None:
    until(lambda: exporter.ready()[0])
    for foundation in exporter.view().foundations:
        assert foundation.verdict == "unknown"
        problems = {line.name: line.problem for line in foundation.collectors if not line.ok}
        assert "Connection refused" in problems["pods"]
        assert problems["layout"] == "it is told by the pods, and these are not known"
    assert value(exporter, 'stager_exporter_collector_success{collector="pods",foundation="b"}') == 0


def test_readiness_counts_and_names_nobody(exporter: Exporter) -> None:
    for monitor in monitors(exporter).values():
        monitor._states.clear()
        monitor._stop.set()
        monitor._thread.join(20)
        monitor._states.clear()
    assert exporter.ready() == (False, "2 of 2 foundations were not looked at yet")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda home: home.settings.update(typo=1), "typo: there is no such setting"),
        (lambda home: home.settings.update(foundations=[]), "at least one foundation"),
        (lambda home: home.settings.update(foundations=[home.foundation("a"), home.foundation("a")]), "named a"),
        (lambda home: home.settings["foundations"][0].update(kubeconfig="/nonexistent"), "foundation a: "),
        (
            lambda home: home.settings.update(logs=[{"source": "syslog", "foundation": "a", "listen": "x"}]),
            "expected HOST:PORT",
        ),
    ],
)
def test_a_file_that_cannot_be_used_changes_nothing_and_is_shown(
    exporter: Exporter, home: Home, change: Callable[[Home], None], problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = monitors(exporter)
    assert reload_worked(exporter) == 1
    taken_at = value(exporter, "stager_exporter_config_last_reload_success_timestamp_seconds")
    good = home.file.read_text()
    change(home)
    home.write()
    assert problem in exporter.reload()
    assert "the configuration was not taken, the old one stays" in caplog.text
    assert "Traceback" not in caplog.text
    assert reload_worked(exporter) == 0
    assert value(exporter, "stager_exporter_config_last_reload_success_timestamp_seconds") == taken_at
    assert problem in exporter.view().config_problem
    assert monitors(exporter) == before
    home.file.write_text(good)
    assert exporter.reload() == ""
    assert reload_worked(exporter) == 1
    assert exporter.view().config_problem == ""
    assert monitors(exporter) == before


def test_a_fault_of_ours_in_a_reload_keeps_the_old_too(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_path: object) -> None:
        raise RuntimeError("a fault")

    with monkeypatch.context() as patched:
        patched.setattr(service, "load_config", broken)
        assert exporter.reload() == "RuntimeError: a fault"
    assert "Traceback" in caplog.text
    assert reload_worked(exporter) == 0
    assert exporter.reload() == ""


def test_a_reload_starts_what_is_new_and_stops_what_is_gone(exporter: Exporter, home: Home) -> None:
    before = monitors(exporter)
    home.settings["foundations"] = [home.foundation("c"), home.foundation("b")]
    home.write()
    assert exporter.reload() == ""
    after = monitors(exporter)
    assert list(after) == ["c", "b"]
    assert after["b"] is before["b"]
    assert not before["a"]._thread.is_alive()
    assert not any('foundation="a"' in line for line in generate_latest(exporter.registry).decode().splitlines())


def test_a_changed_kubeconfig_is_taken_by_a_reload(exporter: Exporter, home: Home, refusing: str) -> None:
    before = monitors(exporter)
    assert before["a"].client is before["b"].client
    assert exporter.reload() == ""
    assert monitors(exporter) == before
    kubeconfig(home.kubeconfig, refusing + "/elsewhere")
    os.utime(home.kubeconfig, (1, 1))
    assert exporter.reload() == ""
    after = monitors(exporter)
    assert after["a"] is not before["a"]
    assert after["a"].client.host.endswith("/elsewhere")
    assert len(exporter._clients) == 1


def test_no_way_to_a_cluster_at_the_start_names_the_foundation(home: Home) -> None:
    home.settings["foundations"][1]["kubeconfig"] = str(home.folder / "none")
    home.write()
    with pytest.raises(ConfigurationProblem, match="foundation b: "):
        Exporter(home.file, load_config(home.file))


def test_many_that_hang_end_together_in_time(exporter: Exporter) -> None:
    release, stopped = threading.Event(), []

    class Hanging:
        name = "hanging"

        def stop(self) -> None:
            stopped.append(self)
            release.wait(20)

    hanging: Any = [Hanging() for _ in range(50)]
    began = time.monotonic()
    try:
        service._stop(hanging)
        assert time.monotonic() - began < 4
        assert len(stopped) == 50
    finally:
        release.set()


def test_a_probe_of_a_foundation_that_is_not_configured(exporter: Exporter) -> None:
    assert exporter.probe_now("nobody") is None
    assert b"probe_success 0.0" in (exporter.probe_now("a") or b"")


@pytest.fixture
def until() -> Callable[..., None]:
    def wait(look: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not look():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    return wait
