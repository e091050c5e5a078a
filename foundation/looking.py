"""For commands that look once and end: look, and look again where the rules ask for it.

A command that has only just begun to watch cannot know how long things have been so. Instead of waiting two minutes it
says what the verdict would be if what it sees has lasted, and for how long that would have to be.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from foundation.cluster import ListedCluster
from foundation.diagnosis import Diagnosis, Restart, diagnose
from foundation.durations import format_duration
from foundation.history import History
from foundation.kube.client import KubeClient
from foundation.observer import Observer
from foundation.probes.resolving import Resolver
from foundation.tools import ProbeTools

if TYPE_CHECKING:
    from collections.abc import Callable

    from foundation.config import FoundationConfig, ProbeConfig
    from foundation.observation import Observation
    from foundation.observer import Look


MOST_LOOKS = 4
"""After so many that do not agree with each other, the last one stands, with a note that it was seen once."""


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

    @property
    def why_blind(self) -> str:
        """What stood in the way, one line."""
        return "; ".join(self.look.problems.values()) or self.look.observation.seen.get("observation_fresh", "")


def look_and_confirm(config: FoundationConfig, timing: ProbeConfig) -> Finding:
    """Look at a foundation, and again one interval later where the rules ask for it.

    Raises ConfigurationProblem where there is no way to the Kubernetes API.
    """
    kubeconfig = None if config.kubeconfig is None else str(config.kubeconfig)
    with KubeClient.connect(kubeconfig, config.context) as client:
        return look_with(client, config, timing)


def look_with(client: KubeClient, config: FoundationConfig, timing: ProbeConfig) -> Finding:
    """The same over a client that is there already."""
    with ThreadPoolExecutor(64) as executor:
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

        def look() -> Look:
            cluster.refresh()
            return observer.look()

        return confirmed(look, lambda: time.sleep(timing.interval), config.namespace)


def confirmed(look: Callable[[], Look], wait: Callable[[], None], namespace: str) -> Finding:
    """Look until what would act was seen twice in a row; `wait` lets one probe interval pass.

    A verdict that would act if it lasts is looked at twice too, since that is what a person will act on.
    """
    found = look()
    for _ in range(MOST_LOOKS - 1):
        lasting = if_lasting(found.observation)
        once = _acts(lasting) and found.diagnosis.restart is Restart.WAIT
        if not (once or unconfirmed(found)):
            break
        wait()
        found = look()
        if not unconfirmed(found) and _key(if_lasting(found.observation)) == _key(lasting):
            break
    if found.layout is None and not found.problems:
        problem = {"pods": f"there are no pods in the namespace {namespace}, if there is such a namespace"}
        found = replace(found, problems=MappingProxyType(problem))
    return Finding(found, None if unconfirmed(found) else if_lasting(found.observation))


def unconfirmed(look: Look) -> bool:
    """Whether the rules say more than was told, because it has been seen only once."""
    plain = diagnose(look.observation)
    return (plain.verdict, plain.restart) != (look.diagnosis.verdict, look.diagnosis.restart)


def _key(diagnosis: Diagnosis | None) -> tuple[object, ...] | None:
    return None if diagnosis is None else (diagnosis.verdict, diagnosis.restart, diagnosis.pods_to_restart)


def _acts(diagnosis: Diagnosis | None) -> bool:
    return diagnosis is not None and diagnosis.restart in (Restart.YES, Restart.ASK)


def if_lasting(observation: Observation) -> Diagnosis | None:
    """The verdict on the same observation, had it lasted for `settle`; None where that is the same."""
    now = diagnose(observation)
    if now.restart is not Restart.WAIT or observation.signals.settled:
        return None
    signals = replace(observation.signals, settled=True, quiet=True)
    settled = diagnose(replace(observation, signals=signals))
    return None if (settled.verdict, settled.restart) == (now.verdict, now.restart) else settled


def lasting_text(found: Diagnosis, settle: float | None) -> str:
    """One paragraph on what follows if it lasts; `settle` in seconds, None where it is not known."""
    names = f" ({', '.join(map(str, found.pods_to_restart))})" if found.pods_to_restart else ""
    lasted = f"for {format_duration(settle)}" if settle is not None else "as long as `settle`"
    return (
        f"If this has lasted {lasted} already (this command cannot know), the verdict is "
        f"{found.verdict}, restart {found.restart}{names}: {found.evidence[0]}"
    )
