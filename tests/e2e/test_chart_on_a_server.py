"""The chart as a cautious operator takes it: dry-run, approval, auto, and away again, on a real API server.

helm installs; the programs run as rendered, under the tokens of their own accounts, and see a simulated foundation
whose pods stand in that server. There is no kubelet: what only it does (mounts, probes, logs, exec) is not here.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, cast

import pytest
import yaml

from foundation.kube.errors import KubeError, NotFound
from foundation.kube.paths import core_path, events_path, group_path
from remediator.words import GROUP, PLURAL, VERSION
from tests.support.api_server import account_kubeconfig
from tests.support.foundation_values import layout_of, secrets, values
from tests.support.helm import CHART, helm, of_kind, the, values_arguments
from tests.support.installed import Program, pod_of
from tests.support.mirrored import Mirror
from tests.support.remediator_files import alert
from tests.support.simulated import eventually, simulated

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from foundation.kube.client import KubeClient
    from simulator.cluster import Cluster
    from tests.e2e.conftest import Server

Json = dict[str, Any]
RELEASE = "medic"
PATIENCE = 90.0
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/remediations.stager-medic.dev"


class Release:
    """The chart in a namespace, and its programs as processes."""

    def __init__(self, server: Server, admin: KubeClient, namespace: str, folder: Path, cluster: Cluster) -> None:
        self.namespace, self.folder, self._server, self._admin = namespace, folder, server, admin
        self._cluster = cluster
        self._turns = 0
        self.manifests: list[Json] = []
        self.hooks: list[Json] = []

    def put(self, command: str, mode: str) -> None:
        """helm install or upgrade."""
        given = values(
            "cfee2",
            self._cluster,
            # What a real foundation lives for an hour, this one lives for a minute.
            remediator={"mode": mode, "cooldown": "1s", "backoff": "1s", "limits": [{"runs": 9, "per": "1h"}]},
        )
        arguments = values_arguments(("cfee2", "plain-prometheus"), given, self.folder)
        self.run(command, RELEASE, str(CHART), *arguments)
        for name in ("manifest", "hooks"):
            text = self.run("get", name, RELEASE)
            setattr(self, name if name == "hooks" else "manifests", [one for one in yaml.safe_load_all(text) if one])

    def run(self, *arguments: str) -> str:
        return helm(*arguments, "--namespace", self.namespace, kubeconfig=self._server.kubeconfig, timeout=120)

    def program(self, pod: Json) -> Program:
        """A container of it, with its own account's token."""
        self._turns += 1
        folder = self.folder / str(self._turns)
        folder.mkdir()
        account = pod["serviceAccountName"]
        file = folder / "kubeconfig"
        account_kubeconfig(file, self._server.kubeconfig, self._admin, self.namespace, account)
        given = secrets("cfee2", self._cluster, folder)
        return Program(self.manifests, pod, folder, kubeconfig=file, secrets=given)

    def tokens(self) -> Json:
        found: Json = the(self.manifests, "Secret", "credentials")["data"]
        return found


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with simulated(layout_of("cfee2")) as running:
        yield running


@pytest.fixture
def release(server: Server, admin: KubeClient, namespace: str, tmp_path: Path, cluster: Cluster) -> Release:
    """Not installed yet, in a cluster that has never heard of it."""
    with contextlib.suppress(NotFound):  # the other tests' own
        admin.delete(CRD)
    eventually(lambda: _gone(admin, CRD), "the definition is gone")
    return Release(server, admin, namespace, tmp_path, cluster)


def _gone(admin: KubeClient, path: str) -> bool:
    try:
        admin.get(path)
    except NotFound:
        return True
    return False


class Hand:
    """What Alertmanager and a person do."""

    def __init__(self, release: Release, remediator: Program) -> None:
        self.remediator = remediator
        import base64

        tokens = release.tokens()
        self._webhook = base64.b64decode(tokens["alertmanager.token"]).decode()
        self._operator = base64.b64decode(tokens["operator.token"]).decode()
        self.foundation = remediator.config["foundations"][0]["name"]

    def notify(self) -> str:
        """Until it is taken: right after a start nothing is known yet, and Alertmanager repeats too."""
        body = {"version": "4", "status": "firing", "truncatedAlerts": 0, "alerts": [
            alert(foundation=self.foundation, remediate="restart-diego-api")]}  # fmt: skip

        def taken() -> str:
            status, text = self.remediator.ask("/api/v1/alertmanager", body, self._webhook)
            if status != 200:
                return ""
            (answer,) = json.loads(text)["alerts"]
            return answer["remediation"] if answer["outcome"] in ("created", "duplicate") else ""

        return eventually(taken, "the alert is taken", PATIENCE)

    def until(self, name: str, *phases: str) -> Json:
        def found() -> Json | None:
            status, text = self.remediator.ask(f"/api/v1/remediations/{name}", token=self._operator)
            one: Json = json.loads(text) if status == 200 else {}
            return one if one.get("status", {}).get("phase") in phases else None

        one = eventually(found, f"{name} is {' or '.join(phases)}", PATIENCE)
        assert one is not None
        return one

    def approve(self, name: str) -> tuple[int, str]:
        body = {"resourceVersion": self.until(name, "AwaitingApproval")["resourceVersion"]}
        return self.remediator.ask(f"/api/v1/remediations/{name}/approve", body, self._operator)


def events(admin: KubeClient, namespace: str) -> set[tuple[str, str]]:
    items = cast("list[Json]", admin.list_all(events_path(namespace))[0])
    return {(one["involvedObject"]["kind"], one["reason"]) for one in items}


@pytest.mark.timeout(600)
def test_dry_run_then_approval_then_auto_then_away(
    release: Release, server: Server, admin: KubeClient, cluster: Cluster
) -> None:
    started: list[Program] = []

    def start(pod: Json) -> Program:
        started.append(release.program(pod))
        return started[-1]

    release.put("install", "dry-run")
    first = release.tokens()
    try:
        with Mirror(cluster, admin, release.namespace, bound=server.own is not None) as mirror:
            exporter = start(pod_of(release.manifests, "exporter"))
            foundation = exporter.config["foundations"][0]["name"]

            def verdict(words: str) -> None:
                series = f'{words.partition("=")[0]}{{foundation="{foundation}",{words.partition("=")[2]}}}'
                eventually(lambda: exporter.series().get(series) == 1, series, PATIENCE)

            verdict('diego_verdict=verdict="healthy"')
            preflight = start(the(release.hooks, "Pod", "preflight")["spec"])
            eventually(lambda: not preflight.process.alive, "the preflight ends", PATIENCE)
            assert preflight.process.child.returncode == 0, preflight.process.out.get_nowait()

            hand = Hand(release, start(pod_of(release.manifests, "remediator")))
            eventually(lambda: hand.remediator.ask("/readyz")[0] == 200, "it is ready", PATIENCE)
            before = mirror.pods()
            cluster.start_incident("locket_hung")
            verdict('diego_verdict_restart=restart="yes"')
            found = hand.until(hand.notify(), "Succeeded", "Failed", "WouldNotHelp")
            assert "dry run: would have deleted" in found["status"]["message"], found
            assert mirror.pods() == before
            hand.remediator.end()

            release.put("upgrade", "approval")
            assert release.tokens() == first, "tokens are kept over upgrades"
            hand = Hand(release, start(pod_of(release.manifests, "remediator")))
            name = hand.notify()
            status, text = hand.approve(name)
            assert status == 200, text
            found = hand.until(name, "Succeeded", "Failed", "WouldNotHelp")
            assert found["status"]["phase"] == "Succeeded", found["status"]["message"]
            deleted = {pod["name"] for pod in found["status"]["pods"]}
            assert {pod for pod, uid in mirror.pods().items() if before[pod] != uid} == deleted
            assert {("Remediation", "DeletedPod"), ("Remediation", "Succeeded")} <= events(admin, release.namespace)
            assert ("StatefulSet", "RemediationDeletedPod") in events(admin, release.namespace)
            verdict('diego_verdict=verdict="healthy"')
            hand.remediator.end()

            release.put("upgrade", "auto")
            hand = Hand(release, start(pod_of(release.manifests, "remediator")))
            before = mirror.pods()
            # Another failure than before: the same one again within the hour would be a restart that does not hold.
            cluster.start_incident("hung")
            verdict('diego_verdict_restart=restart="yes"')
            found = hand.until(hand.notify(), "Succeeded", "Failed", "WouldNotHelp")
            assert found["status"]["phase"] == "Succeeded", found["status"]["message"]
            assert mirror.pods() != before
    finally:
        for program in started:
            program.end()

    made = [*release.manifests]
    release.run("uninstall", RELEASE)
    left = eventually(lambda: _left_alone(admin, made), "only what is kept is left")
    assert left is not None
    assert [one["kind"] for one in left] == ["CustomResourceDefinition"]
    history = group_path(GROUP, VERSION, release.namespace, PLURAL)
    names = [cast("Json", one)["metadata"]["name"] for one in admin.list_all(history)[0]]
    assert len(names) == 3, names
    kept = admin.list_all(core_path(release.namespace, "configmaps"))[0]
    assert "stager-medic-diego-api" in [cast("Json", one)["metadata"]["name"] for one in kept]
    assert "Succeeded" in json.dumps(admin.get(f"{history}/{names[-1]}")["status"])
    assert of_kind(made, "CustomResourceDefinition")


def _left_alone(admin: KubeClient, made: Sequence[Json]) -> list[Json] | None:
    """What is still there of the manifests, once it is no more than one."""
    left = [one for one in made if not _gone(admin, _path(one))]
    return left if len(left) <= 1 else None


def _path(one: Json) -> str:
    group, _, version = one["apiVersion"].rpartition("/")
    plural = one["kind"].lower() + "s"
    plural = {"networkpolicys": "networkpolicies"}.get(plural, plural)
    namespace = None if one["kind"] == "CustomResourceDefinition" else one["metadata"]["namespace"]
    name = one["metadata"]["name"]
    return group_path(group, version, namespace, plural, name) if group else core_path(namespace, plural, name)


@pytest.mark.parametrize("mode", ["dry-run", "auto"])
def test_the_api_server_takes_every_manifest_as_it_is(
    admin: KubeClient, namespace: str, mode: str, definition: Json
) -> None:
    """With fieldValidation=Strict, under a dry run: defaults, quantities and names are judged by the real thing."""
    del definition
    from tests.support.cases import CASES

    refused = []
    for case in CASES:
        if mode == "auto" and case.values.get("remediator", {}).get("enabled") is False:
            continue
        for one in case.render(namespace=namespace, apis=()):
            if one["apiVersion"].startswith("monitoring.coreos.com") or one["kind"] == "CustomResourceDefinition":
                continue
            if one["metadata"]["namespace"] != namespace:
                continue
            path = _path(one).rpartition("/")[0]
            try:
                admin._json(
                    "POST",
                    _target(path),
                    path,
                    query={"dryRun": "All", "fieldValidation": "Strict"},
                    body=one,
                )
            except KubeError as error:
                refused.append(f"{case}: {error}")
    assert refused == []


def _target(path: str) -> Any:
    from foundation.kube.errors import Target

    return Target.of("create", path)
