"""Evidence of a simulated foundation in trouble: looked at by the remediator's own lookout, stored, read back."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from foundation.diagnosis import Restart, diagnose
from foundation.kube.client import KubeClient
from foundation.kube.paths import configmap_path
from foundation.observation import Observation
from foundation.probes.resolving import Resolver
from remediator.config import load_config
from remediator.evidence import EvidenceStore, observation_text, read_evidence
from remediator.evidence_text import as_text
from remediator.ledger import Run
from remediator.lookout import Lookout, Sight
from remediator.words import Mode
from tests.support.simulated import eventually, simulated

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("layout", ["cfee-2", "cfee-4", "kubecf"])
def test_a_simulated_incident_is_captured_and_stored(tmp_path: Path, layout: str) -> None:
    with simulated(layout) as cluster:
        config = load_config(cluster.write(tmp_path))
        foundation = config.foundations[0]
        with KubeClient.connect(str(foundation.kubeconfig)) as client:
            lookout = Lookout(
                foundation, config.probe, client=client, resolver=Resolver(), boot=time.monotonic, wall=time.time
            )
            lookout.start()
            try:
                cluster.start_incident("locked_out")

                def helping() -> list[Sight]:
                    found = lookout.fresh()
                    return [found] if found.look.diagnosis.restart in (Restart.YES, Restart.ASK) else []

                sight = eventually(helping, "a verdict for a restart", 40)[0]
            finally:
                lookout.stop()
            now = datetime.now(UTC)
            run = Run(
                name=f"{foundation.name}.restart-diego-api.1",
                foundation=foundation.name,
                playbook="restart-diego-api",
                mode=Mode.AUTO,
                at=now,
                started=now,
            )
            store = EvidenceStore(client, foundation.namespace, 200, time.time)
            name = store.save(run, sight, lambda: None)
            stored = client.get(configmap_path(foundation.namespace, name))
            assert store.save(run, sight, lambda: None) == name
    document = read_evidence(stored)
    assert diagnose(Observation.from_json(observation_text(document))) == sight.look.diagnosis
    logs = document["logs"]
    assert isinstance(logs, list)
    assert {log["pod"] for log in logs} == set(sight.look.diagnosis.pods_to_restart)
    assert any(log["lines"] for log in logs)
    shown = as_text(document)
    assert all(str(pod) in shown for pod in sight.look.diagnosis.pods_to_restart)
    assert stored["immutable"] is True
