"""What the pages show, as plain values, and the protocol of whoever provides them.

The web front knows neither Kubernetes nor probes: it renders one frozen `ExporterView` per request. Nothing here checks
that the values agree with each other; whoever fills them does. Times are Unix times in seconds, durations are seconds,
and every text may come from a pod or a log, so that the templates escape all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ProbeLine:
    """One finished probe."""

    at: float
    target: str
    """`service`, or the pod's name."""
    depth: str
    """How deep it was asked to go: dns, tcp, tls, ping or read."""
    ok: bool
    cause: str = ""
    """Why it failed, from the closed set of causes; empty where it succeeded."""
    detail: str = ""
    """The server's or the system's own words."""
    stages: tuple[tuple[str, float], ...] = ()
    """Stage and its seconds, in the order in which they were passed; the failed one comes last."""


@dataclass(frozen=True, slots=True)
class PodLine:
    """One pod: what Kubernetes says of it beside what it answered itself."""

    name: str
    role: str
    """api, bbs or locket."""
    state: str
    """In Kubernetes' words: Running, Terminating, CrashLoopBackOff and so on."""
    ready: str
    """Ready containers of all, as `2/2`."""
    active_label: str = ""
    """`yes`, `no`, or empty where the layout has no such label (or not for this role)."""
    probe_word: str = ""
    """What BBS on it did: serves, passive, hangs, not serving, unreached …; empty where it is not probed."""
    detail: str = ""
    trouble: str = ""
    """A fault beside what BBS itself did, in two or three words: its Locket hangs."""


@dataclass(frozen=True, slots=True)
class SourceLine:
    """One source of CC's log lines."""

    name: str
    kind: str
    """pod, exec, syslog or file."""
    pod: str
    """Empty for a source that is not bound to a pod."""
    up: bool
    deaf_seconds: float | None
    """Since the last line; None: there was none yet."""
    reconnects: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CollectorLine:
    """One background collector."""

    name: str
    ok: bool
    last_success: float | None
    """None: it never succeeded since the process started."""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class FoundationView:
    """One foundation: its verdict, what that rests on, and how well we hear."""

    name: str
    namespace: str
    layout: str
    layout_by: str
    """How the layout was recognised, or `configured`."""
    verdict: str
    restart: str
    """yes, ask, wait or no."""
    since: float | None
    """When this verdict began; None: not known."""
    evidence: tuple[str, ...] = ()
    pods_to_restart: tuple[str, ...] = ()
    pods: tuple[PodLine, ...] = ()
    probes: tuple[ProbeLine, ...] = ()
    """Recent ones, newest first."""
    failures: tuple[ProbeLine, ...] = ()
    """Failed ones that are no longer among the recent, newest first."""
    sources: tuple[SourceLine, ...] = ()
    collectors: tuple[CollectorLine, ...] = ()
    observed_at: float | None = None
    """When the observation behind the verdict was complete; None: not yet."""


@dataclass(frozen=True, slots=True)
class ExporterView:
    """Everything that the pages show."""

    foundations: tuple[FoundationView, ...]
    version: str
    revision: str
    config_loaded_at: float | None
    config_problem: str = ""
    """Why the newest configuration file was not taken; empty: it is the one in use."""


class Provider(Protocol):
    """What the web front asks of the exporter. Called from several threads at once."""

    def view(self) -> ExporterView:
        """Give the newest snapshot; never waits for a target."""
        ...

    def probe_now(self, foundation: str) -> bytes | None:
        """Probe the Service of one foundation now, and give Prometheus' text format; None: no such name."""
        ...

    def reload(self) -> str:
        """Read the configuration anew; empty: taken, else the problem (and the old one stays)."""
        ...

    def ready(self) -> tuple[bool, str]:
        """Tell whether scrapes get a meaning yet, and if not, why."""
        ...
