"""The remediator at work in one process: a site, a lookout and an executor thread per foundation, and the pages.

There is no leader and nothing is kept here that another process would need: any number of these may run at once, and
any of them may be killed at any time.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from foundation.kube.client import KubeClient
from foundation.probes.resolving import Resolver
from remediator.definition import Watch
from remediator.evidence import EvidenceStore
from remediator.executor import Executor
from remediator.intake import Intake
from remediator.lookout import Lookout
from remediator.site import Site
from remediator.store import Remediations
from remediator.trail import Metrics, Trail

if TYPE_CHECKING:
    from collections.abc import Callable

    from foundation.config import FoundationConfig
    from remediator.config import RemediatorConfig

logger = logging.getLogger(__name__)

STOP_SECONDS = 25.0
"""For the deletion under way to be finished and recorded; less than a pod has by default. Who is idle ends at once."""


def boot_clock() -> float:
    """Seconds on a clock that never jumps and runs while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def own_name() -> str:
    """A name that no other process has: two on one host, or one after the other, are two holders."""
    host = os.environ.get("HOSTNAME") or socket.gethostname()
    return f"{host}-{secrets.token_hex(4)}"


class Remediator:
    """Everything of one process, from `start` to `stop`."""

    def __init__(
        self,
        config: RemediatorConfig,
        *,
        boot: Callable[[], float] = boot_clock,
        wall: Callable[[], float] = time.time,
        holder: str | None = None,
    ) -> None:
        """Opens no connection yet. Raises foundation.kube.errors.ConfigurationProblem."""
        self.config = config
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.wall = wall
        self._boot = boot
        self.holder = holder or own_name()
        self._stopping = threading.Event()
        self._events = ThreadPoolExecutor(1, thread_name_prefix="events")
        self._resolver = Resolver()
        self.sites = {foundation.name: self._site(foundation) for foundation in config.foundations}
        self.executors = {name: Executor(site) for name, site in self.sites.items()}
        self.intake = Intake(self.sites, self.metrics)
        self.definition = Watch({name: site.client for name, site in self.sites.items()})
        self._threads = [
            threading.Thread(target=executor.work, name=f"executor-{name}", daemon=True)
            for name, executor in self.executors.items()
        ]
        self._threads.append(
            threading.Thread(target=self.definition.run, args=(self._stopping,), name="definition", daemon=True)
        )

    def _site(self, foundation: FoundationConfig) -> Site:
        section = self.config.remediator
        # The strictest of what the file says about one foundation's pods.
        most = min([foundation.max_pods, *(playbook.max_pods for playbook in section.playbooks.values())])
        foundation = foundation.model_copy(update={"max_pods": most})
        client = KubeClient.connect(
            None if foundation.kubeconfig is None else str(foundation.kubeconfig),
            foundation.context,
            user_agent=f"stager-remediator/{self.holder}",
            clock=self._boot,
        )
        lookout = Lookout(
            foundation, self.config.probe, client=client, resolver=self._resolver, boot=self._boot, wall=self.wall
        )
        lines = max((book.steps.evidence.log_lines for book in section.books.values()), default=0)
        return Site(
            config=foundation,
            section=section,
            client=client,
            lookout=lookout,
            remediations=Remediations(client, foundation.namespace),
            trail=Trail(client, foundation.namespace, foundation.name, self.metrics, wall=self.wall, pool=self._events),
            evidence=EvidenceStore(client, foundation.namespace, lines, self.wall, clock=self._boot)
            if section.evidence
            else None,
            holder=self.holder,
            boot=self._boot,
            wall=self.wall,
            stopping=self._stopping,
            wake=threading.Event(),
        )

    def start(self) -> None:
        """Begin to watch and to work."""
        for site in self.sites.values():
            site.lookout.start()
        for thread in self._threads:
            thread.start()
        logger.info("working as %s", self.holder, extra={"holder": self.holder})

    def stop(self) -> None:
        """Finish the deletion under way, record it, give claims up; then end."""
        self._stopping.set()
        for site in self.sites.values():
            site.wake.set()
        until = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.1, until - time.monotonic()))
        for site in self.sites.values():
            site.lookout.stop()
        self._events.shutdown(wait=False, cancel_futures=True)
        for site in self.sites.values():
            site.client.close()

    def unready(self) -> str:
        """Why a notification would be answered 503 now; empty where it would not."""
        problems = []
        for name, executor in self.executors.items():
            if executor.problem:
                problems.append(f"{name}: {executor.problem}")
            elif executor.latest is None:
                problems.append(f"{name}: the ledger was not read yet")
        if self.definition.problem:
            problems.append(self.definition.problem)
        return "; ".join(problems)
