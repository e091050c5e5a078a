"""Each preset as rendered, run against a simulated foundation of its platform under exactly the rights of its Roles.

The programs see the foundation, and a remediation in dry-run comes to its end; what they asked of the API server is
compared with what they may.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.foundation_values import PLATFORMS, layout_of, secrets, values
from tests.support.helm import render, the
from tests.support.installed import Program, pod_of
from tests.support.rbac import Right, as_faults, rights
from tests.support.remediator_files import alert
from tests.support.simulated import eventually, simulated

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from simulator.cluster import Cluster

Json = dict[str, Any]
pytestmark = pytest.mark.timeout(150)
PATIENCE = 60.0


def start(manifests: Sequence[Json], component: str, cluster: Cluster, folder: Path, platform: str) -> Program:
    kubeconfig = folder / f"{component}.kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(cluster.kubeconfig(component)))
    given = secrets(platform, cluster, folder)
    return Program(manifests, pod_of(manifests, component), folder, kubeconfig=kubeconfig, secrets=given)


def token(manifests: Sequence[Json], key: str) -> str:
    return base64.b64decode(the(manifests, "Secret", "credentials")["data"][key]).decode()


def asked(cluster: Cluster, identity: str) -> set[tuple[str, str]]:
    """What the API server was asked, in RBAC's words."""
    return {
        (one.verb, f"{one.resource}/{one.subresource}" if one.subresource else one.resource)
        for one in cluster.api.journal.entries(everything=True)
        if one.identity == identity and one.verb
    }


def granted(given: Sequence[Right]) -> set[tuple[str, str]]:
    return {(one.verb, one.resource) for one in given}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_programs_see_the_foundation_and_a_dry_run_reaches_its_end(platform: str, tmp_path: Path) -> None:
    with simulated(layout_of(platform), traffic=True) as cluster:
        namespace = cluster.site().foundation.namespace
        manifests = render(platform, values=values(platform, cluster), namespace=namespace)
        roles = {name: rights(the(manifests, "Role", name)) for name in ("exporter", "remediator")}
        cluster.api.faults.change({"rules": [rule for name, given in roles.items() for rule in as_faults(name, given)]})
        programs = [start(manifests, name, cluster, tmp_path, platform) for name in roles]
        exporter, remediator = programs
        try:
            foundation = exporter.config["foundations"][0]["name"]
            healthy = f'diego_verdict{{foundation="{foundation}",verdict="healthy"}}'
            eventually(lambda: exporter.series().get(healthy) == 1, "the exporter sees a healthy foundation", PATIENCE)
            seen = exporter.series()
            assert seen[f'diego_bbs_up{{foundation="{foundation}"}}'] == 1
            assert seen[f'diego_pods{{foundation="{foundation}",role="bbs"}}'] == 2
            assert not [
                name for name, up in seen.items() if name.startswith("stager_exporter_collector_success") and not up
            ]
            eventually(lambda: remediator.ask("/readyz")[0] == 200, "the remediator is ready", PATIENCE)

            before = {pod.name: pod.uid for pod in cluster.site().foundation.pods.values()}
            cluster.start_incident("locket_hung")
            yes = f'diego_verdict_restart{{foundation="{foundation}",restart="yes"}}'
            eventually(lambda: exporter.series().get(yes) == 1, "the exporter says that a restart would help", PATIENCE)
            body = {"version": "4", "status": "firing", "truncatedAlerts": 0, "alerts": [
                alert(foundation=foundation, remediate="restart-diego-api")]}  # fmt: skip
            status, answer = remediator.ask("/api/v1/alertmanager", body, token(manifests, "alertmanager.token"))
            assert status == 200, answer
            assert json.loads(answer)["alerts"][0]["outcome"] == "created"

            def ended() -> Json | None:
                _, text = remediator.ask("/api/v1/remediations", token=token(manifests, "operator.token"))
                (only,) = json.loads(text)["remediations"]
                return only if only["status"].get("finished") else None

            found = eventually(ended, "the remediation ends", PATIENCE)
            assert found is not None
            assert found["status"]["phase"] == "Succeeded", found
            assert "dry run: would have deleted" in found["status"]["message"]
            assert {pod.name: pod.uid for pod in cluster.site().foundation.pods.values()} == before
            for name, given in roles.items():
                assert asked(cluster, name) <= granted(given), f"{name} asked for what its Role does not give"
        finally:
            for program in programs:
                program.end()
