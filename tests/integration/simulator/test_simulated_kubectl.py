"""The real `kubectl`: what a person on call types works against the simulated cluster."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from simulator.api.custom import REMEDIATION_DEFINITION
from simulator.api.resources import EVENTS
from tests.support.simulated import eventually, simulated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from simulator.cluster import Cluster


@dataclass
class Kubectl:
    program: str
    kubeconfig: Path
    home: Path

    def command(self, *arguments: str) -> list[str]:
        return [self.program, "--kubeconfig", str(self.kubeconfig), "--cache-dir", str(self.home), *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=40, check=False)

    def __call__(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with simulated() as running:
        yield running


@pytest.fixture
def kubectl(cluster: Cluster, tmp_path: Path) -> Kubectl:
    program = shutil.which("kubectl")
    if program is None:
        pytest.fail("kubectl is not on PATH: these tests need the real one, see the README's section on development")
    return Kubectl(program, cluster.write(tmp_path / "state").with_name("kubeconfig"), tmp_path)


def table(text: str) -> dict[str, list[str]]:
    rows = [line.split() for line in text.splitlines()]
    return {row[0]: row[1:] for row in rows}


def test_get_pods_with_the_active_label(kubectl: Kubectl) -> None:
    rows = table(kubectl("get", "pods", "-n", "cf", "-L", "skiff-role-active"))
    assert rows["NAME"] == ["READY", "STATUS", "RESTARTS", "AGE", "SKIFF-ROLE-ACTIVE"]
    assert rows["diego-api-0"] == ["2/2", "Running", "0", "60m", "true"]
    assert rows["diego-api-1"] == ["2/2", "Running", "0", "60m", "false"]
    assert rows["api-0"][:2] == ["2/2", "Running"]


def test_get_by_name_jsonpath_selector_and_all_namespaces(kubectl: Kubectl) -> None:
    path = "jsonpath={.items[*].metadata.name}"
    assert kubectl("get", "pods", "-l", "skiff-role-active=true", "-o", path) == "diego-api-0"
    assert "diego-api-1" in kubectl("get", "po", "-A", "-o", "wide")
    assert "statefulset.apps/diego-api" in kubectl("get", "sts,svc,ep", "-n", "cf")
    missing = kubectl.run("get", "pod", "lunch", "-n", "cf")
    assert missing.returncode == 1
    assert missing.stderr == 'Error from server (NotFound): pods "lunch" not found\n'


def test_exec_as_in_the_runbook(kubectl: Kubectl, cluster: Cluster) -> None:
    look = (
        "exec",
        "-n",
        "cf",
        "api-0",
        "-c",
        "api",
        "--",
        "nc",
        "-zv",
        "-w",
        "5",
        "diego-api.cf.svc.cluster.local",
        "8889",
    )
    assert "succeeded!" in kubectl.run(*look).stderr
    cluster.start_incident("network_path")
    refused = kubectl.run(*look)
    assert refused.returncode == 1
    assert "failed: Connection refused" in refused.stderr
    assert kubectl.run("exec", "-n", "cf", "api-0", "--", "sh", "-c", "exit 3").returncode == 3
    assert kubectl("exec", "-n", "cf", "diego-api-1", "--", "hostname") == "diego-api-1\n"


def test_logs_follow(kubectl: Kubectl, cluster: Cluster) -> None:
    log = cluster.site().foundation.pods["api-0"].logs["api"]
    process = subprocess.Popen(
        kubectl.command("logs", "-f", "-n", "cf", "api-0", "-c", "api", "--tail", "1"),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "Starting api via monit\n"
        log.append("and on it goes")
        assert process.stdout.readline() == "and on it goes\n"
        log.close()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()


def test_delete_pod_waits_until_it_is_gone_and_another_comes(kubectl: Kubectl) -> None:
    uid = ("get", "pod", "diego-api-0", "-n", "cf", "-o", "jsonpath={.metadata.uid}")
    before = kubectl(*uid)
    assert kubectl("delete", "pod", "diego-api-0", "-n", "cf") == 'pod "diego-api-0" deleted\n'
    eventually(lambda: (found := kubectl.run(*uid)).returncode == 0 and found.stdout != before, "a new diego-api-0")
    kubectl("wait", "--for=condition=Ready", "pod/diego-api-0", "-n", "cf", "--timeout=20s")


def test_remediations_in_columns(kubectl: Kubectl, cluster: Cluster) -> None:
    from simulator.api.resources import REMEDIATIONS

    name = "demo.restart-diego-api.1"
    trigger = {"alertname": "DiegoRestartWouldHelp"}
    spec = {"foundation": "demo", "playbook": "restart-diego-api", "trigger": trigger}
    cluster.store.create(REMEDIATIONS, "cf", {"metadata": {"name": name}, "spec": spec})
    patch = '{"status": {"phase": "Running", "step": "look"}}'
    kubectl("patch", "rem", name, "-n", "cf", "--subresource=status", "--type=merge", "-p", patch)
    rows = table(kubectl("get", "remediations", "-n", "cf"))
    assert rows["NAME"] == ["PLAYBOOK", "FOUNDATION", "PHASE", "STEP", "TRIGGER", "AGE"]
    assert rows[name][:-1] == ["restart-diego-api", "demo", "Running", "look", "DiegoRestartWouldHelp"]
    assert "Phase:" in kubectl("describe", "rem", name, "-n", "cf")


def test_rollout_restart(kubectl: Kubectl, cluster: Cluster) -> None:
    before = {pod.uid for pod in cluster.site().foundation.of("bbs")}
    kubectl("rollout", "restart", "sts/diego-api", "-n", "cf")
    kubectl("rollout", "status", "sts/diego-api", "-n", "cf", "--timeout=30s")
    assert not before & {pod.uid for pod in cluster.site().foundation.of("bbs")}


def test_scale_and_force_delete(kubectl: Kubectl, cluster: Cluster) -> None:
    kubectl("scale", "statefulset/diego-api", "--replicas=1", "-n", "cf")
    eventually(lambda: len(cluster.site().foundation.of("bbs")) == 1, "one pod")
    kubectl("scale", "statefulset/diego-api", "--replicas=2", "-n", "cf")
    kubectl("rollout", "status", "statefulset/diego-api", "-n", "cf", "--timeout=30s")
    cluster.start_incident("terminating")
    kubectl("delete", "pod", "diego-api-0", "-n", "cf", "--force", "--grace-period=0")
    eventually(lambda: cluster.site().foundation.pods.get("diego-api-0"), "a new diego-api-0")


def test_a_definition_is_applied_and_explored(kubectl: Kubectl, cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "crd.json"
    file.write_text(json.dumps(REMEDIATION_DEFINITION))
    assert "deleted" in kubectl("delete", "crd", "remediations.stager-medic.dev")
    assert kubectl.run("get", "remediations", "-n", "cf").returncode == 1
    kubectl("create", "-f", str(file))
    kubectl("wait", "--for=condition=Established", "crd/remediations.stager-medic.dev", "--timeout=10s")
    assert "No resources found" in kubectl.run("get", "rem", "-n", "cf").stderr


def test_events_of_either_group_are_printed(kubectl: Kubectl, cluster: Cluster) -> None:
    uid = cluster.site().foundation.pods["diego-api-0"].uid
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "diego-api-0", "namespace": "cf", "uid": uid},
        "message": "restarted", "type": "Normal", "reason": "Restarted", "lastTimestamp": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    cluster.store.create(EVENTS, "cf", event)
    assert "pod/diego-api-0" in kubectl("get", "events", "-n", "cf")
    assert "restarted" in kubectl("get", "events.events.k8s.io", "-n", "cf")
    assert "Restarted" in kubectl("describe", "pod", "diego-api-0", "-n", "cf")
