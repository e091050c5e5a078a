"""A container's log as a stream of bytes. It neither splits lines nor removes repeated ones; its reader does.

A followed log may fall silent for ever after rotation (kubernetes#115701, #126564), hence the idle limit: end, and
let the reader come back with its last time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundation.kube.client import Stream
from foundation.kube.errors import Target
from foundation.kube.paths import pod_log_path

if TYPE_CHECKING:
    from foundation.kube.client import KubeClient


class LogStream(Stream):
    """Iterate byte chunks of one container's log; `ended` then is `eof`, `idle` or `closed`.

    `since_time` is an RFC 3339 time, sent as it is (fractions included; some kubelets round it to seconds, and it is
    inclusive). `idle_timeout` in seconds. Raises KubeError; a container that has not started is a 400 with its words.
    """

    def __init__(  # noqa: PLR0917  # read like the options of `kubectl logs`
        self,
        client: KubeClient,
        namespace: str,
        pod: str,
        container: str | None,
        since_time: str | None = None,
        previous: bool = False,
        follow: bool = True,
        timestamps: bool = True,
        idle_timeout: float = 60.0,
        *,
        tail_lines: int | None = None,
        limit_bytes: int | None = None,
    ) -> None:
        query: dict[str, str | int | bool] = {"follow": follow, "timestamps": timestamps, "previous": previous}
        if container:
            query["container"] = container
        if since_time:
            query["sinceTime"] = since_time
        if tail_lines is not None:
            query["tailLines"] = tail_lines
        if limit_bytes is not None:
            query["limitBytes"] = limit_bytes
        path = pod_log_path(namespace, pod)
        super().__init__(client, Target.of("get", path), path, query, idle_timeout)
