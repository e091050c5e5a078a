"""Joins a foundation's log sources to its pods, its Kubernetes client and its account."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from exporter.logs.sources.base import PodSeen
from exporter.logs.sources.manager import LogSources, LogSourceSpec, Surroundings
from foundation.kube.exec import ExecStream
from foundation.kube.logs import LogStream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from exporter.config import LogSourceConfig
    from exporter.logs.account import LogAccount
    from exporter.logs.sources.base import ByteStream
    from exporter.logs.sources.exec import Command
    from exporter.logs.sources.handover import Handover
    from foundation.cluster import WatchedCluster
    from foundation.kube.client import KubeClient
    from foundation.layout import Layout

logger = logging.getLogger(__name__)


class NotKnownYetError(Exception):
    """The pods or the layout are not known, so nothing can be followed yet."""


def make_sources(
    configs: Sequence[LogSourceConfig],
    *,
    namespace: str,
    client: KubeClient,
    cluster: WatchedCluster,
    layout: Callable[[], Layout | None],
    account: LogAccount,
    handover: Handover | None = None,
) -> LogSources:
    """The running-to-be sources of one foundation. Raises ValueError for an address that cannot be listened on.

    With the same `handover` in every set of sources of a process, syslog senders do not notice a reload.
    """

    def container_of(wanted: str) -> str:
        known = layout()
        if wanted or known is None:
            return wanted
        return known.log.container or next(iter(known.roles.api.containers), "")

    def path_of(wanted: str) -> str:
        known = layout()
        path = wanted or (known.log.path if known else "")
        if not path:
            raise ValueError("this layout names no log file: set `path` in the log source")
        return path

    def pods(role: str, container: str) -> Mapping[str, PodSeen]:
        known = layout()
        if known is None:
            raise NotKnownYetError("the layout is not known yet")
        if problem := cluster.problem():
            raise NotKnownYetError(problem)
        name = container_of(container)
        chosen = [pod for pod in cluster.pods() if known.role_of(pod.labels) == role]
        return {
            pod.name: PodSeen(
                uid=pod.uid,
                container_id=next((item.id for item in pod.containers if item.name == name), ""),
                restarts=next((item.restarts for item in pod.containers if item.name == name), 0),
                created=None if pod.created is None else int(pod.created * 1e9),
            )
            for pod in chosen
        }

    def open_log(pod: str, container: str, since: datetime, *, previous: bool, follow: bool) -> ByteStream:
        stamp = since.strftime("%Y-%m-%dT%H:%M:%SZ")
        return LogStream(client, namespace, pod, container, stamp, previous=previous, follow=follow)

    def open_exec(pod: str, container: str, command: Sequence[str], idle_timeout: float) -> Command:
        return ExecStream(client, namespace, pod, container, command, idle_timeout=idle_timeout)

    around = Surroundings(
        pods=pods,
        open_log=open_log,
        open_exec=open_exec,
        now=lambda: int(cluster.server_time() * 1e9),
        sink=account,
        log=logger,
        container_of=container_of,
        path_of=path_of,
        handover=handover,
    )
    return LogSources([_spec(config) for config in configs], around)


def _spec(config: LogSourceConfig) -> LogSourceSpec:
    return LogSourceSpec(
        source=config.source,
        role=config.role,
        container=config.container or "",
        path=config.path or "",
        listen=config.listen or "",
        protocol=config.protocol,
    )
