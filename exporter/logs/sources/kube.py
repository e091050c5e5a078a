"""Makes the streams that the `pod` and `exec` sources read, from the Kubernetes adapter of the ground floor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundation.kube.exec import ExecStream
from foundation.kube.logs import LogStream

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from exporter.logs.sources.exec import OpenExec
    from exporter.logs.sources.pod import OpenLog
    from foundation.kube.client import KubeClient

IDLE = 60.0
"""Seconds without a byte after which a followed log is opened anew: kubelets go silent without closing it."""


def log_opener(client: KubeClient, namespace: str, *, idle: float = IDLE) -> OpenLog:
    """Log streams in one namespace; an empty container name is the pod's only one."""

    def open_log(pod: str, container: str, since: datetime, *, previous: bool, follow: bool) -> LogStream:
        since_time = since.strftime("%Y-%m-%dT%H:%M:%SZ")
        return LogStream(client, namespace, pod, container or None, since_time, previous, follow, idle_timeout=idle)

    return open_log


def exec_opener(client: KubeClient, namespace: str) -> OpenExec:
    """Commands in one namespace."""

    def open_exec(pod: str, container: str, command: Sequence[str], idle_timeout: float) -> ExecStream:
        return ExecStream(client, namespace, pod, container, command, idle_timeout=idle_timeout)

    return open_exec
