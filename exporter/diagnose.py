"""`stager-exporter diagnose`: look, look again where the rules ask for it, and tell a person.

A command that has only just begun to watch cannot know how long things have been so. Instead of waiting two minutes it
says what the verdict would be if what it sees has lasted, and for how long that would have to be.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from foundation.cluster import ListedCluster
from foundation.diagnosis import Diagnosis, Restart, Verdict, diagnose
from foundation.durations import format_duration
from foundation.history import History
from foundation.kube.client import KubeClient
from foundation.observer import Observer
from foundation.probes.resolving import Resolver
from foundation.tools import ProbeTools

if TYPE_CHECKING:
    from foundation.config import FoundationConfig, ProbeConfig
    from foundation.observer import Look


@dataclass(frozen=True, slots=True)
class Finding:
    """What a command's looks found."""

    look: Look
    if_lasting: Diagnosis | None
    """The verdict if what was seen has lasted for `settle`; None where that changes nothing."""

    @property
    def blind(self) -> bool:
        """Whether nothing could be looked at."""
        return self.look.layout is None or not self.look.observation.signals.observation_fresh


def look_twice(config: FoundationConfig, timing: ProbeConfig) -> Finding:
    """Look at a foundation, and a second time one interval later unless the first look is plain.

    Raises ConfigurationProblem where there is no way to the Kubernetes API.
    """
    kubeconfig = None if config.kubeconfig is None else str(config.kubeconfig)
    with KubeClient.connect(kubeconfig, config.context) as client, ThreadPoolExecutor(16) as executor:
        cluster = ListedCluster(client, config.namespace, monotonic=time.monotonic, wall=time.time)
        tools = ProbeTools(config, timing, client=client, resolver=Resolver(), monotonic=time.monotonic, wall=time.time)
        observer = Observer(
            config,
            timing,
            cluster=cluster,
            tools=tools,
            executor=executor,
            history=History(settle=config.settle, interval=timing.interval, begun=time.monotonic()),
            monotonic=time.monotonic,
            wall=time.time,
        )
        cluster.refresh()
        look = observer.look()
        if look.layout is not None and look.diagnosis.verdict is not Verdict.HEALTHY:
            time.sleep(timing.interval)
            cluster.refresh()
            look = observer.look()
    return Finding(look, if_lasting(look))


def if_lasting(look: Look) -> Diagnosis | None:
    """The verdict on the same observation, had it lasted for `settle`."""
    if look.diagnosis.restart is not Restart.WAIT or look.observation.signals.settled:
        return None
    signals = replace(look.observation.signals, settled=True, quiet=True)
    settled = diagnose(replace(look.observation, signals=signals))
    return None if settled.verdict is look.diagnosis.verdict else settled


def lasting_text(found: Diagnosis, settle: float) -> str:
    """One paragraph on what follows if it lasts."""
    names = f" ({', '.join(map(str, found.pods_to_restart))})" if found.pods_to_restart else ""
    return (
        f"If this has lasted for {format_duration(settle)} already (this command cannot know), the verdict is "
        f"{found.verdict}, restart {found.restart}{names}: {found.evidence[0]}"
    )
