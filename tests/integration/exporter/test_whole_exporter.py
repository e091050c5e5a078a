"""The exporter as a process beside a simulated foundation: what an operator and a Prometheus see."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from simulator.clock import Timing
from simulator.cluster import Cluster, Options
from simulator.play import Exporter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BIN = Path(sys.executable).parent
pytestmark = pytest.mark.timeout(180)


def wait(condition: Callable[[], Any], what: str, limit: float = 60) -> Any:
    deadline = time.monotonic() + limit
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {limit} s for {what}"
        time.sleep(0.1)
    return value


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(Options(timing=Timing().scaled(20))) as running:
        yield running


@pytest.fixture
def config(cluster: Cluster, tmp_path: Path) -> Path:
    path = cluster.write(tmp_path)
    change(path, lambda settings: settings["exporter"]["web"].update(listen="127.0.0.1:0"))
    return path


def change(path: Path, how: Callable[[dict[str, Any]], Any]) -> None:
    settings = yaml.safe_load(path.read_text())
    how(settings)
    path.write_text(yaml.safe_dump(settings))


@pytest.fixture
def exporter(config: Path) -> Iterator[Exporter]:
    running = Exporter(config)
    yield running
    running.stop()


def metrics(exporter: Exporter) -> dict[str, float]:
    lines = [line for line in exporter.get("/metrics").splitlines() if line and not line.startswith("#")]
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


CONTRACT = [
    "diego_bbs_up",
    "diego_bbs_probe_success",
    "diego_bbs_probe_duration_seconds",
    "diego_bbs_probe_failures_total",
    "diego_bbs_last_probe_timestamp_seconds",
    "diego_bbs_serving_pods",
    "diego_certificate_not_after_timestamp_seconds",
    "diego_locket_up",
    "diego_pods",
    "diego_pods_ready",
    "diego_pods_expected",
    "diego_active_pods",
    "diego_pod_active",
    "diego_pod_ready",
    "diego_pod_restarts_total",
    "diego_verdict",
    "diego_verdict_restart",
    "diego_verdict_since_timestamp_seconds",
    "stager_exporter_foundation_info",
    "cf_cc_errors_total",
    "cf_cc_stager_unavailable_total",
    "cf_cc_stage_requests_total",
    "cf_cc_requests_completed_total",
    "cf_cc_diego_sync_failures_total",
    "stager_log_lines_total",
    "stager_log_bytes_total",
    "stager_log_reconnects_total",
    "stager_log_last_line_timestamp_seconds",
    "stager_log_source_up",
    "stager_exporter_collector_success",
    "stager_exporter_collector_duration_seconds",
    "stager_exporter_collector_last_success_timestamp_seconds",
    "stager_exporter_build_info",
]


def test_every_metric_of_the_contract_exists_before_its_first_event(exporter: Exporter) -> None:
    wait(lambda: exporter.foundation().get("verdict") == "healthy", "healthy")
    wait(lambda: metrics(exporter).get('stager_log_source_up{foundation="demo",pod="api-0",source="exec"}'), "the log")
    found = metrics(exporter)
    names = {name.partition("{")[0] for name in found}
    assert set(CONTRACT) <= names
    assert found['diego_verdict{foundation="demo",verdict="healthy"}'] == 1
    assert sum(value for name, value in found.items() if name.startswith("diego_verdict{")) == 1
    assert sum(value for name, value in found.items() if name.startswith("diego_verdict_restart{")) == 1
    assert found['diego_active_pods{foundation="demo",role="bbs"}'] == 1
    assert found['cf_cc_stager_unavailable_total{cause="timeout",foundation="demo",pod="api-0"}'] == 0
    assert not any("_created" in name for name in names)


def test_the_incident_is_seen_counted_and_gone_after_the_pods_are_deleted(cluster: Cluster, exporter: Exporter) -> None:
    wait(lambda: exporter.foundation().get("verdict") == "healthy", "healthy")
    cluster.start_incident("locket_hung")
    seen = wait(lambda: (found := exporter.foundation()) and found["restart"] == "yes" and found, "a verdict that acts")
    assert (seen["verdict"], seen["pods_to_restart"]) == ("locket_hung", ["diego-api-0", "diego-api-1"])
    wait(exporter.refused_pushes, "a refused push")
    found = metrics(exporter)
    assert found['diego_bbs_up{foundation="demo"}'] == 0
    assert found['diego_database_up{foundation="demo",target="database"}'] == 1
    for pod in seen["pods_to_restart"]:
        url = f"{cluster.url}/api/v1/namespaces/cf/pods/{pod}"
        urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=10).close()
    wait(lambda: exporter.foundation()["verdict"] == "healthy", "healthy again", 90)


def post(exporter: Exporter, path: str) -> tuple[int, str]:
    request = urllib.request.Request(exporter.url + path, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def test_reload_takes_a_good_file_and_keeps_the_old_one_for_a_bad(exporter: Exporter, config: Path) -> None:
    wait(lambda: exporter.foundation().get("verdict") == "healthy", "healthy")
    good = config.read_text()
    config.write_text(good + "typo: 1\n")
    status, text = post(exporter, "/-/reload")
    assert status >= 400
    assert re.search(r"exporter\.yml:\d+:1: typo: there is no such setting", text)
    assert metrics(exporter)["stager_exporter_config_last_reload_successful"] == 0
    assert exporter.foundation()["verdict"] == "healthy"
    config.write_text(good)
    lines = 'stager_log_lines_total{foundation="demo",pod="api-0",source="exec"}'
    before = wait(lambda: metrics(exporter).get(lines), "log lines")
    assert post(exporter, "/-/reload")[0] == 200
    after = metrics(exporter)
    assert after["stager_exporter_config_last_reload_successful"] == 1
    assert after[lines] >= before > 0
    change(config, lambda settings: settings["foundations"][0].update(name="renamed"))
    assert post(exporter, "/-/reload")[0] == 200
    wait(lambda: exporter.foundation().get("verdict") == "healthy", "healthy under its new name")
    assert exporter.foundation()["name"] == "renamed"
    assert not any('foundation="demo"' in name for name in metrics(exporter))


def test_an_api_server_that_goes_away_and_comes_back(cluster: Cluster, exporter: Exporter) -> None:
    wait(lambda: exporter.foundation().get("verdict") == "healthy", "healthy")
    cluster.api.change_faults({"mode": "down"})
    wait(lambda: exporter.foundation()["verdict"] == "unknown", "unknown", 30)
    failing = 'stager_exporter_collector_success{collector="pods",foundation="demo"}'
    # The verdict may be unknown for what another collector noticed first, such as that of the StatefulSets.
    wait(lambda: metrics(exporter)[failing] == 0, "the collector of pods fails", 30)
    assert exporter.get("/livez")
    assert metrics(exporter)['diego_bbs_up{foundation="demo"}'] == 1
    cluster.api.change_faults({"mode": "ok"})
    wait(lambda: exporter.foundation()["verdict"] == "healthy", "healthy again", 60)


def test_probe_and_readiness(exporter: Exporter) -> None:
    wait(lambda: exporter.foundation().get("verdict") == "healthy", "healthy")
    assert "probe_success 1.0" in exporter.get("/probe?foundation=demo")
    assert exporter.get("/probe?foundation=other") == ""
    assert exporter.get("/readyz")
    assert "diego-api-0 serves" in exporter.get("/")


def run(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "stager-exporter"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **more)


def test_diagnose_live(cluster: Cluster, config: Path, tmp_path: Path) -> None:
    saved = tmp_path / "seen.json"
    wait(lambda: run("diagnose", "--config", str(config)).returncode == 0, "healthy", 30)
    cluster.start_incident("locket_hung")
    found = wait(
        lambda: (
            (done := run("diagnose", "--config", str(config), "--json", "--save", str(saved))).returncode == 1 and done
        ),
        "not healthy",
    )
    told = json.loads(found.stdout)
    assert (told["verdict"], told["restart"]) == ("electing", "wait")
    wait(
        lambda: (
            (json.loads(run("diagnose", "--config", str(config), "--json").stdout)["if_lasting"] or {}).get("verdict")
            == "locket_hung"
        ),
        "what follows if it lasts",
    )
    again = run("diagnose", "--observation", str(saved), "--json")
    assert json.loads(again.stdout)["verdict"] == "electing"


def test_what_diagnose_saves_gives_the_same_answer_again(cluster: Cluster, config: Path, tmp_path: Path) -> None:
    change(config, lambda value: value.update(probe={"interval": "300ms", "timeout": "500ms"}))
    change(config, lambda value: value["foundations"][0].update(settle="100ms"))
    saved = tmp_path / "seen.json"
    live = ("diagnose", "--config", str(config), "--save", str(saved), "--json")
    wait(lambda: run("diagnose", "--config", str(config)).returncode == 0, "healthy", 30)
    cluster.start_incident("locket_hung")
    told = wait(
        lambda: (found := json.loads(run(*live).stdout))["restart"] == "yes" and found,
        "a verdict that acts",
    )
    assert (told["verdict"], told["pods_to_restart"]) == ("locket_hung", ["diego-api-0", "diego-api-1"])
    again = json.loads(run("diagnose", "--observation", str(saved), "--json").stdout)
    same = ("verdict", "restart", "rule", "pods_to_restart", "evidence", "if_lasting")
    assert {key: again[key] for key in same} == {key: told[key] for key in same}
    text = run("diagnose", "--config", str(config), "--save", "/nonexistent/seen.json")
    assert text.returncode == 1
    unwritable = "/nonexistent/seen.json: cannot be written: No such file or directory"
    assert text.stderr == f"{unwritable}; what was seen is not recorded\n"
    kubeconfig = yaml.safe_load(config.read_text())["foundations"][0]["kubeconfig"]
    command = f"kubectl --kubeconfig {kubeconfig} delete pod --namespace cf diego-api-0 diego-api-1"
    assert text.stdout.rstrip().endswith(command)


def test_diagnose_without_an_api_server_could_not_look(config: Path) -> None:
    kubeconfig = Path(yaml.safe_load(config.read_text())["foundations"][0]["kubeconfig"])
    change(kubeconfig, lambda value: value["clusters"][0]["cluster"].update(server="http://127.0.0.1:1"))
    change(config, lambda value: value.update(probe={"interval": "100ms", "timeout": "200ms"}))
    done = run("diagnose", "--config", str(config))
    assert done.returncode == 3
    assert re.match(r"demo: cannot look: .*127\.0\.0\.1:1", done.stderr), done.stderr
    assert done.stderr.count("\n") == 1


def test_sigterm_ends_within_five_seconds(config: Path) -> None:
    running = Exporter(config)
    wait(lambda: running.foundation().get("verdict") == "healthy", "healthy")
    began = time.monotonic()
    os.kill(running._process.pid, signal.SIGTERM)
    assert running._process.wait(timeout=10) == 0
    assert time.monotonic() - began < 5
    running.stop()
