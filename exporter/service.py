"""The running exporter: its monitors, its registry, its pages, and the configuration in force.

Made after the fork, in the process that serves. A reload keeps every foundation whose settings did not change, with its
counters and its history; a file that cannot be used changes nothing and is shown. What a configuration merely names
(certificates of BBS, tokens) is followed where it is used, but for a kubeconfig, whose change a reload takes.
"""

from __future__ import annotations

import logging
import math
import os
import platform
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version as package_version
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge, disable_created_metrics
from prometheus_client.process_collector import ProcessCollector

from exporter.config import ExporterConfig, load_config
from exporter.logs.metrics import LogMetrics
from exporter.logs.sources.handover import Handover
from exporter.monitor import Monitor
from exporter.page import foundation_view
from exporter.probe_once import probe_text
from exporter.snapshot import SnapshotCollector
from exporter.web.app import create_app
from exporter.web.view import ExporterView
from foundation.kube.client import KubeClient
from foundation.kube.errors import ConfigurationProblem
from foundation.probes.resolving import Resolver
from foundation.yamlfile import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from wsgiref.types import WSGIApplication

    from foundation.config import FoundationConfig

logger = logging.getLogger(__name__)

PROBES_AT_ONCE = 512
"""Threads that probe; made when needed, so that only hanging targets ever use many."""
STOPPING_SECONDS = 2.0
"""How long a stop or a reload waits for what ends, all of it together."""

FIRST_LOOKS_APART = 0.025
"""Seconds between the first looks at two foundations: about the CPU time of one."""
_GOLDEN = (math.sqrt(5) - 1) / 2

_ClientKey = tuple[str | None, str | None, tuple[int, int, int] | None]


class Exporter:
    """Everything that runs in the serving process. `stop` ends it; it is then of no further use."""

    def __init__(self, config_file: Path, config: ExporterConfig) -> None:
        """Starts to watch. Raises ConfigurationProblem where there is no way to a Kubernetes API.

        Raises ValueError for a log source that cannot be.
        """
        self._file = config_file
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(PROBES_AT_ONCE, thread_name_prefix="probe")
        self._resolver = Resolver()
        self._clients: dict[_ClientKey, KubeClient] = {}
        self._monitors: dict[str, Monitor] = {}
        self._made = 0
        self._config = config
        self._loaded_at = time.time()
        self._problem = ""
        self._version, self._revision = package_version("stager-medic"), os.environ.get("STAGER_REVISION", "")
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._log_metrics = LogMetrics(self.registry)
        self._handover = Handover()
        self._reloaded = Gauge(
            "stager_exporter_config_last_reload_successful",
            "Whether the newest configuration file is the one in force.",
            registry=self.registry,
        )
        self._reloaded_at = Gauge(
            "stager_exporter_config_last_reload_success_timestamp_seconds",
            "When the configuration in force was read.",
            registry=self.registry,
        )
        self._describe()
        self._apply(config)
        self._pages = create_app(self, self.registry)

    def _describe(self) -> None:
        ProcessCollector(registry=self.registry)
        labels = ["version", "revision", "python"]
        info = Gauge("stager_exporter_build_info", "What runs here.", labels, registry=self.registry)
        info.labels(self._version, self._revision, platform.python_version()).set(1)
        self.registry.register(SnapshotCollector(lambda: tuple(self._monitors.values())))

    @property
    def wsgi(self) -> WSGIApplication:
        """The pages."""
        return self._pages

    def reload(self) -> str:
        """Read the file anew; empty where it was taken, else the problem, and the old one stays."""
        with self._lock:
            try:
                config = load_config(self._file)
                self._apply(config)
            except Exception as problem:
                known = isinstance(problem, (ConfigurationError, ValueError))
                self._problem = str(problem) if known else f"{type(problem).__name__}: {problem}"
                self._reloaded.set(0)
                # The traceback is for our own faults only: an operator's are told by their place in the file.
                text = "the configuration was not taken, the old one stays: %s"
                logger.log(logging.ERROR, text, self._problem, exc_info=None if known else problem)
                return self._problem
            if config.exporter.web != self._config.exporter.web:
                logger.warning("exporter.web changed: that takes a restart")
            self._config = config
            logger.info("the configuration was taken", extra={"foundations": len(self._monitors)})
            return ""

    def stop(self) -> None:
        """End all watching; about two seconds at the most."""
        _stop(self._monitors.values())
        self._handover.close()
        self._executor.shutdown(wait=False, cancel_futures=True)
        for client in self._clients.values():
            client.close()

    def view(self) -> ExporterView:
        """The newest snapshots, for the pages."""
        monitors = tuple(self._monitors.values())
        return ExporterView(
            foundations=tuple(foundation_view(monitor) for monitor in monitors),
            version=self._version,
            revision=self._revision,
            config_loaded_at=self._loaded_at,
            config_problem=self._problem,
        )

    def probe_now(self, foundation: str) -> bytes | None:
        """Probe one foundation's Service now; None where no foundation has that name."""
        monitor = self._monitors.get(foundation)
        if monitor is None:
            return None
        return probe_text(monitor.probe_service())

    def ready(self) -> tuple[bool, str]:
        """Ready once every foundation was looked at once, whatever was found.

        The reason names no foundation: it is also told to who has no password.
        """
        monitors = tuple(self._monitors.values())
        waiting = sum(not monitor.looked() for monitor in monitors)
        return not waiting, f"{waiting} of {len(monitors)} foundations were not looked at yet" if waiting else ""

    def _apply(self, config: ExporterConfig) -> None:
        """Start what is new, keep what is the same, stop what is gone. What it raises, it raises before any of it."""
        kept: dict[str, Monitor] = {}
        made: dict[str, Monitor] = {}
        for foundation in config.foundations:
            old = self._monitors.get(foundation.name)
            wanted = (foundation, config.probe, config.logs_of(foundation.name))
            if old is not None and old.settings == wanted and old.client is self._clients.get(_key(foundation)):
                kept[foundation.name] = old
            else:
                made[foundation.name] = self._monitor(foundation, config)
        gone = [monitor for name, monitor in self._monitors.items() if name not in kept]
        _stop(gone)  # before the new ones start: they may listen on the same port
        self._monitors = {item.name: kept.get(item.name) or made[item.name] for item in config.foundations}
        for number, monitor in enumerate(made.values()):
            monitor.start(after=min(number * FIRST_LOOKS_APART, config.probe.interval))
        used = {id(monitor.client) for monitor in self._monitors.values()}
        for key in [key for key, client in self._clients.items() if id(client) not in used]:
            self._clients.pop(key).close()
        self._loaded_at, self._problem = time.time(), ""
        self._reloaded.set(1)
        self._reloaded_at.set(self._loaded_at)

    def _monitor(self, foundation: FoundationConfig, config: ExporterConfig) -> Monitor:
        self._made += 1
        return Monitor(
            foundation,
            config.probe,
            config.logs_of(foundation.name),
            client=self._client(foundation),
            executor=self._executor,
            resolver=self._resolver,
            log_metrics=self._log_metrics,
            handover=self._handover,
            # However many there are, multiples of the golden ratio lie about evenly over the interval.
            place=self._made * _GOLDEN % 1.0,
            monotonic=time.monotonic,
            wall=time.time,
        )

    def _client(self, foundation: FoundationConfig) -> KubeClient:
        """One client, and so one pool, for each way to an API server."""
        key = _key(foundation)
        if key not in self._clients:
            kubeconfig, context, _ = key
            try:
                self._clients[key] = KubeClient.connect(kubeconfig, context)
            except ConfigurationProblem as problem:
                raise ConfigurationProblem(f"foundation {foundation.name}: {problem}") from None
        return self._clients[key]


def _key(foundation: FoundationConfig) -> _ClientKey:
    """The way to an API server, and which version of its file."""
    if foundation.kubeconfig is None:
        return None, foundation.context, None
    try:
        status = foundation.kubeconfig.stat()
    except OSError:
        version = None
    else:
        version = (status.st_mtime_ns, status.st_size, status.st_ino)
    return str(foundation.kubeconfig), foundation.context, version


def _stop(monitors: Iterable[Monitor]) -> None:
    """Stop all at the same time. One that hangs is left behind after a while: its threads are daemons."""
    threads = [threading.Thread(target=monitor.stop, daemon=True) for monitor in monitors]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + STOPPING_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
