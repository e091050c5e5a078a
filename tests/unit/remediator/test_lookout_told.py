"""What the lookout says when it cannot see: once as it begins, and again when it is another thing."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from foundation.kube.client import KubeClient
from foundation.probes.resolving import Resolver
from remediator.config import load_config
from remediator.lookout import Lookout
from tests.support.remediator_files import write_config
from tests.support.simulated import eventually, simulated

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_missing_right_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "remediator.lookout")
    with simulated() as cluster:
        config = load_config(write_config(cluster, tmp_path))
        foundation = config.foundations[0]
        with KubeClient.connect(str(foundation.kubeconfig)) as client:
            lookout = Lookout(
                foundation, config.probe, client=client, resolver=Resolver(), boot=time.monotonic, wall=time.time
            )
            lookout.start()
            try:
                eventually(lambda: lookout.newest is not None and not lookout.newest.look.problems, "all is seen")
                caplog.clear()
                rule = {"verb": "watch", "resource": "pods", "status": 403}
                cluster.api.faults.change({"rules": [rule]})
                cluster.api.change_faults({"drop_streams": True})

                def said() -> list[str]:
                    return [one.getMessage() for one in caplog.records if "403 Forbidden" in one.getMessage()]

                eventually(said, "it is said")
                before = lookout.newest
                eventually(lambda: lookout.newest is not before, "another look")
                third = lookout.newest
                eventually(lambda: lookout.newest is not third, "and another")
            finally:
                lookout.stop()
    assert len([one for one in said() if "403" in one]) == 1, said()
    assert "not listed yet" not in caplog.text
    assert 'cannot watch resource "pods" in API group ""' in said()[0]
