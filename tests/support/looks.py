"""Looks and their parts, as a foundation would give them, without sockets or clocks."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from foundation.diagnosis import diagnose
from foundation.layout import Recognised, override
from foundation.observation import Observation, Pod, PodProbe, PodState, ServiceProbe, Signals
from foundation.observer import Look, PodLook
from foundation.pods import Container, PodSeen
from foundation.probes.result import Cause, Certificate, ProbeResult, Stage, Target

if TYPE_CHECKING:
    from collections.abc import Mapping

CFEE_2 = Recognised(override("cfee-2", {}), "a test")
CERTIFICATE = Certificate("CN=bbs", "CN=ca", 0.0, 2_000_000_000.0)


def probe(name: str, cause: Cause | None = None, failed: Stage | None = None, detail: str = "") -> ProbeResult:
    """A probe of depth ping; with a cause it failed at `failed`."""
    stages = {Stage.TCP: 0.001, Stage.TLS: 0.01, Stage.PING: 0.002}
    if failed is not None:
        stages = {
            stage: took for stage, took in stages.items() if list(Stage).index(stage) <= list(Stage).index(failed)
        }
    return ProbeResult(
        target=Target(name, "127.0.0.1", 8889),
        depth=Stage.PING,
        started=1000.0,
        stages=MappingProxyType(stages),
        cause=cause,
        failed=failed,
        detail=detail,
        certificate=None if cause else CERTIFICATE,
    )


def refused(name: str) -> ProbeResult:
    return probe(name, Cause.REFUSED, Stage.TCP, "Connection refused")


def seen(name: str, role: str, *, ready: bool = True) -> PodSeen:
    container = Container(name="diego-api", ready=ready, restarts=2, id="c", started=1.0, ended=None, waiting="")
    return PodSeen(
        namespace="cf",
        name=name,
        uid=f"uid-{name}",
        resource_version="1",
        ip="127.0.0.1",
        phase="Running",
        ready=ready,
        created=1.0,
        containers=(container,),
    )


def pod(name: str, found: ProbeResult | None, *, active: bool | None = False, role: str = "bbs") -> PodLook:
    return PodLook(seen(name, role), role, PodState.READY, "Running, 1/1 ready", active, found)


def look(
    *pods: PodLook,
    service: tuple[ProbeResult, ...] = (),
    at: float = 1000.0,
    recognised: Recognised | None = CFEE_2,
    problems: Mapping[str, str] | None = None,
    pods_age: float | None = 1.0,
    observation: Observation | None = None,
) -> Look:
    """A look that found these pods; its verdict is a real one on a plain observation."""
    found = observation or Observation(
        pods=(Pod(state=PodState.READY, probe=PodProbe.SERVES, labelled_active=True, name="diego-api-0"),),
        signals=Signals(observation_fresh=True, service_probe=ServiceProbe.OK, layout_has_label=True),
    )
    return Look(
        at=at,
        layout=recognised,
        observation=found,
        diagnosis=diagnose(found),
        since=at,
        pods=pods,
        pods_age=pods_age,
        service=service,
        problems=MappingProxyType(dict(problems or {})),
    )
