"""The demo played to its end by real daemons, a real Prometheus and Alertmanager, and many foundations watched by one
exporter: as processes, as a user would. Prometheus and Alertmanager must be on the PATH, or be fetched by apt-get.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from simulator.clock import Timing
from simulator.cluster import Cluster, Options
from simulator.monitoring import find_programs
from simulator.play import Exporter, StoppedError, play
from tests.support.simulated import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = [sys.executable, "-W", "error", "-c", "from simulator.cli import main; main()"]
MANY = 6


@pytest.mark.timeout(170)
def test_once_json_tells_what_was_seen_and_when() -> None:
    arguments = ["--once", "--json", "--speed", "30", "--grace", "2"]
    done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=160, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    summary = json.loads(done.stdout)
    assert (summary["recovered"], summary["incident"]) == (True, "locket_hung")
    events = summary["events"]
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    verdicts = [(event["verdict"], event["restart"]) for event in events if event["what"] == "verdict"]
    wanted = [
        ("healthy", "no"), ("electing", "wait"), ("locket_hung", "yes"), ("healthy", "no"),
        ("locket_hung", "yes"), ("healthy", "no"), ("database_down", "no"), ("healthy", "no"),
    ]  # fmt: skip
    rest = iter(verdicts)
    assert all(step in rest for step in wanted), verdicts
    assert verdicts[-1] == ("healthy", "no")
    assert next(event["count"] for event in events if event["what"] == "pushes_refused") > 0

    mended = summary["remediation"]
    assert (mended["name"], mended["phase"]) == ("demo.restart-diego-api.1", "Succeeded")
    assert (mended["verdict"], mended["pods"]) == ("locket_hung", ["diego-api-0", "diego-api-1"])
    steps = ["confirm", "evidence", "record", "delete", "replace", "active", "verify"]
    assert [step["step"] for step in mended["steps"]] == steps
    told = [event["step"] for event in events if event["what"] == "step" and event["remediation"] == mended["name"]]
    assert told == steps, "each step is told as it happens"
    assert mended["evidence"]

    assert summary["refused"]["outcome"] == "refused"
    assert summary["refused"]["reason"].startswith("cooldown: the last run ended")
    declined = summary["declined"]
    assert (declined["phase"], declined["verdict"], declined["pods"]) == ("WouldNotHelp", "database_down", [])
    monitoring = summary["monitoring"]
    assert (monitoring["stand_in"], monitoring["why"]) == (False, "")
    for name in ("prometheus", "alertmanager"):
        assert monitoring[name]["url"].startswith("http://127.0.0.1:")
        assert monitoring[name]["version"]
    first = next(alert for alert in summary["alerts"] if alert["alert"] == "DiegoRestartWouldHelp")
    assert first["labels"]["remediate"] == "restart-diego-api"
    created = next(event["at"] for event in events if event.get("outcome") == "created")
    assert 0 < first["fired"] <= created < first["resolved"] < events[-1]["at"]
    fired = {alert["alert"] for alert in summary["alerts"]}
    assert {"DiegoBBSUnreachable", "StagerRemediationRefused", "DiegoDatabaseDown"} <= fired
    assert any("BBS does not answer" in event["title"] for event in events if event["what"] == "page")

    answers = [(event["sent"], event["outcome"]) for event in events if event["what"] == "notification"]
    assert [answer for answer in answers if answer != ("firing", "duplicate")] == [
        ("firing", "created"), ("resolved", "ignored"), ("firing", "refused"), ("resolved", "ignored"),
    ]  # fmt: skip


def processes_of(folder: Path) -> list[str]:
    """The command lines that name the folder, but for the demo's own."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if any(str(folder) in word for word in words) and "--state-dir" not in words:
                found.append(" ".join(words))
    return found


@contextlib.contextmanager
def playing(folder: Path, *arguments: str, path: str | None = None) -> Iterator[subprocess.Popen[str]]:
    """The demo under way, its files in `folder`."""
    command = [*PROGRAM, "--play", "--state-dir", str(folder), *arguments]
    environ = {**os.environ, "PYTHONUNBUFFERED": "1", **({} if path is None else {"PATH": path})}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], text: str) -> list[str]:
    """The lines up to the one that has the text."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if text in line:
            return lines
    raise AssertionError(f"{text!r} was not said: {lines}")


@pytest.mark.parametrize("moment", ["", "prometheus  ", "from now on every Locket", "DiegoRestartWouldHelp fires"])
def test_ctrl_c_ends_all_of_it(moment: str, tmp_path: Path) -> None:
    with playing(tmp_path, "--speed", "30") as process:
        if moment:
            read_until(process, moment)
            assert len(processes_of(tmp_path)) >= 4
        else:
            eventually(lambda: processes_of(tmp_path), "the first daemon was begun")
        begun = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        code = process.wait(20)
        assert time.monotonic() - begun < 15
        assert process.stderr is not None
        assert (code, process.stderr.read()) == (130, "")
        assert processes_of(tmp_path) == []


def test_where_neither_can_be_had_a_stand_in_says_that_it_is_one(tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    arguments = ["--speed", "30", "--tools", str(tmp_path / "tools")]
    with playing(tmp_path / "files", *arguments, path=str(empty)) as process:
        lines = read_until(process, "created demo.restart-diego-api.1")
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(20) == 130
    said = "\n".join(lines)
    assert "A STAND-IN plays Prometheus and Alertmanager" in said
    assert (
        "Why: Prometheus and Alertmanager are not on the PATH, and Debian's packages cannot be had: apt-get: " in said
    )
    assert "the stand-in: DiegoRestartWouldHelp fires" in said
    assert "the stand-in -> remediator, firing: 200 created" in lines[-1]
    assert "prometheus  http" not in said


@pytest.mark.parametrize("broken", ["prometheus", "alertmanager"])
def test_a_program_that_dies_at_its_start_is_one_line_with_its_log(broken: str, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    found = find_programs()
    for name, real in (("prometheus", found.prometheus), ("alertmanager", found.alertmanager)):
        if name == broken:
            (programs / name).write_text("#!/bin/sh\necho no such flag; exit 1\n")
            (programs / name).chmod(0o755)
        else:
            (programs / name).symlink_to(real)
    with playing(tmp_path / "files", path=f"{programs}:/usr/bin:/bin") as process:
        _, complaint = process.communicate(timeout=40)
        assert process.returncode == 1
    log = tmp_path / "files" / "monitoring" / ("prometheus.log" if broken == "prometheus" else "alertmanager-0.log")
    assert complaint.startswith("stager-demo: ")
    assert complaint.endswith(f"ended: no such flag; its log: {log}\n")
    assert (complaint.count("\n"), log.read_text()) == (1, "no such flag\n")
    assert processes_of(tmp_path) == []


def test_a_program_that_dies_in_the_middle_is_one_line_with_its_log(tmp_path: Path) -> None:
    with playing(tmp_path, "--speed", "30") as process:
        read_until(process, "from now on every Locket")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        names = {Path(f"/proc/{child}/comm").read_text().strip(): int(child) for child in children}
        os.kill(names["prometheus"], signal.SIGKILL)
        _, complaint = process.communicate(timeout=40)
    assert process.returncode == 1
    assert complaint.startswith("stager-demo: Prometheus ended: ")
    assert complaint.endswith(f"its log: {tmp_path / 'monitoring' / 'prometheus.log'}\n")
    assert processes_of(tmp_path) == []


def test_a_play_that_is_stopped_leaves_nothing_running(tmp_path: Path) -> None:
    stop = threading.Event()

    def say(line: str) -> None:
        if "healthy" in line:
            stop.set()

    with Cluster(Options(timing=Timing(grace=1.0).scaled(30))) as cluster, pytest.raises(StoppedError):
        play(cluster, cluster.write(tmp_path), say, stop)


def test_addresses_as_json() -> None:
    command = [*PROGRAM, "--json", "--no-traffic", "--no-crd", "--foundations", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            assert said["kubernetes"].startswith("http://127.0.0.1:")
            assert {name: found["namespace"] for name, found in said["foundations"].items()} == {
                "demo-1": "cf-1", "demo-2": "cf-2",
            }  # fmt: skip
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()


@pytest.mark.timeout(90)
def test_one_exporter_watches_many_foundations(tmp_path: Path) -> None:
    with Cluster(Options(foundations=MANY)) as cluster:
        config = cluster.write(tmp_path)
        settings = yaml.safe_load(config.read_text())
        assert settings["probe"] == {"interval": "5s", "timeout": "3s"}, "many are not probed every second"
        settings["exporter"]["web"]["listen"] = "127.0.0.1:0"
        # The test need not wait for what people may.
        settings["probe"] = {"interval": "2s", "timeout": "2s"}
        config.write_text(yaml.safe_dump(settings))
        exporter = Exporter(config)

        def verdicts() -> dict[str, str]:
            text = exporter.get("/view.json")
            return {found["name"]: found["verdict"] for found in json.loads(text)["foundations"]} if text else {}

        try:
            well = {f"demo-{number}": "healthy" for number in range(1, MANY + 1)}
            eventually(lambda: verdicts() == well, "all are healthy", 40)
            cluster.start_incident("network_path", "demo-3")
            eventually(lambda: verdicts() == {**well, "demo-3": "network_path"}, "one is not, and it alone", 40)
            lines = exporter.get("/metrics").splitlines()
            assert sum(line.startswith("diego_bbs_up{") and line.endswith(" 1.0") for line in lines) == MANY - 1
        finally:
            exporter.stop()
