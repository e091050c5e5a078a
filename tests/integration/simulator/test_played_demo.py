"""The demo played to its end by a real exporter, and many foundations watched by one: as processes, as a user would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
import yaml

from simulator.clock import Timing
from simulator.cluster import Cluster, Options
from simulator.play import Exporter, StoppedError, play
from tests.support.simulated import eventually

if TYPE_CHECKING:
    from pathlib import Path

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
    answers = [(event["sent"], event["outcome"]) for event in events if event["what"] == "notification"]
    assert [answer for answer in answers if answer != ("firing", "duplicate")] == [
        ("firing", "created"), ("resolved", "ignored"), ("firing", "refused"), ("resolved", "ignored"),
    ]  # fmt: skip


def test_ctrl_c_in_the_middle_ends_it_at_once() -> None:
    with subprocess.Popen([*PROGRAM, "--play"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if "from now on every Locket" in line:
                    break
            begun = time.monotonic()
            os.kill(process.pid, signal.SIGINT)
            code = process.wait(20)
            assert time.monotonic() - begun < 15
            assert process.stderr is not None
            assert (code, process.stderr.read()) == (130, "")
        finally:
            process.kill()


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
