"""A foundation's log sources joined to its pods: which pods and container, since when, what is asked of the API."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

import pytest
from prometheus_client import CollectorRegistry

from exporter.config import LogSourceConfig
from exporter.log_feed import make_sources
from exporter.logs.account import LogAccount
from exporter.logs.metrics import LogMetrics
from foundation.layout import layouts
from foundation.pods import PodSeen, read_pod
from tests.support.log_feeds import SECOND, START, eventually, stamp
from tests.support.scripted_api import ScriptedApi, chunks, status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from exporter.logs.sources.manager import LogSources
    from foundation.cluster import WatchedCluster
    from foundation.layout import Layout


class Cluster:
    """Pods as the watch would tell them."""

    def __init__(self) -> None:
        self.seen: list[PodSeen] = []
        self.trouble = ""

    def pods(self) -> Sequence[PodSeen]:
        return self.seen

    def problem(self) -> str:
        return self.trouble

    def server_time(self) -> float:
        return START / SECOND


class World:
    def __init__(self, api: ScriptedApi) -> None:
        self.api = api
        self.client = api.client()
        self.cluster = Cluster()
        self.layout: Layout | None = None
        self.registry = CollectorRegistry()
        self.account = LogAccount(LogMetrics(self.registry), "prod")
        self.sources: LogSources | None = None

    def start(self, *configs: LogSourceConfig) -> LogSources:
        self.sources = make_sources(
            configs,
            namespace="cf",
            client=self.client,
            cluster=cast("WatchedCluster", self.cluster),
            layout=lambda: self.layout,
            account=self.account,
        )
        self.sources.start()
        return self.sources

    def add(self, name: str, labels: dict[str, str]) -> None:
        pod: dict[str, object] = {
            "metadata": {"name": name, "uid": f"uid-{name}", "labels": labels},
            "spec": {"containers": [{"name": "api"}]},
            "status": {"containerStatuses": [{"name": "api", "containerID": "containerd://1", "restartCount": 0}]},
        }
        seen = read_pod(pod)
        assert seen is not None
        self.cluster.seen.append(seen)

    def lines(self, pod: str) -> float | None:
        return self.registry.get_sample_value(
            "stager_log_lines_total", {"foundation": "prod", "source": "pod", "pod": pod}
        )


@pytest.fixture
def world() -> Iterator[World]:
    with ScriptedApi() as api:
        made = World(api)
        yield made
        if made.sources is not None:
            assert made.sources.stop()
        made.client.close()


def test_pods_are_followed_once_the_layout_is_known(world: World) -> None:
    log = "/api/v1/namespaces/cf/pods/api-0/log"
    line = stamp(START + SECOND) + b" hello\n"
    world.api.on("GET", log, chunks(line, then="hang"))
    sources = world.start(LogSourceConfig(source="pod"))
    source = sources.sources[0]
    eventually(lambda: "the layout is not known yet" in source.problem)
    world.cluster.trouble = "cannot list pods in namespace cf: 403 Forbidden"
    world.layout = layouts()["kubecf"]
    eventually(lambda: "cannot list pods in namespace cf: 403" in source.problem)
    world.add("api-0", {"quarks.cloudfoundry.org/instance-group-name": "api"})
    world.add("diego-api-0", {"quarks.cloudfoundry.org/instance-group-name": "diego-api"})
    world.cluster.trouble = ""
    eventually(lambda: world.lines("api-0") == 1)
    [row] = sources.statuses()
    assert (row.name, row.pod, row.problem) == ("pod api-0/logs", "api-0", "")
    asked = world.api.seen[0]
    assert asked.one("container") == "logs"
    assert asked.one("sinceTime") == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(START // SECOND))


def test_the_path_and_container_of_an_exec_source_come_from_the_layout(world: World) -> None:
    """The layout is recognised only after the sources were made."""
    path = "/api/v1/namespaces/cf/pods/api-0/exec"
    world.api.on("GET", path, status(403, "Forbidden", 'pods "api-0" is forbidden'))
    sources = world.start(LogSourceConfig(source="exec"))
    world.layout = layouts()["scf-2.11"]
    world.add("api-0", {"skiff-role-name": "api"})
    eventually(lambda: any("403" in row.problem for row in sources.statuses()))
    [row] = sources.statuses()
    assert row.name == "exec api-0/api /var/vcap/sys/log/cloud_controller_ng/cloud_controller_ng.log"
    assert "cannot get pods/exec api-0 in namespace cf: 403 Forbidden" in row.problem
    assert world.api.seen[0].query["command"] == ["wc", "-c", row.name.rpartition(" ")[2]]


def test_an_exec_source_without_any_path_is_told(world: World) -> None:
    sources = world.start(LogSourceConfig(source="exec"))
    world.layout = layouts()["kubecf"]
    world.add("api-0", {"quarks.cloudfoundry.org/instance-group-name": "api"})
    eventually(lambda: "set `path` in the log source" in sources.sources[0].problem)
    assert "can't follow api-0" in sources.sources[0].problem


def test_own_container_and_path_win(world: World) -> None:
    world.api.on("GET", "/api/v1/namespaces/cf/pods/api-0/exec", status(404, "NotFound", "no such container"))
    sources = world.start(LogSourceConfig(source="exec", container="other", path="/x.log"))
    world.layout = layouts()["scf-2.11"]
    world.add("api-0", {"skiff-role-name": "api"})
    eventually(lambda: [row.name for row in sources.statuses()] == ["exec api-0/other /x.log"])


def test_files_and_ports_need_no_pods(world: World) -> None:
    sources = world.start(
        LogSourceConfig(source="syslog", listen="127.0.0.1:0"), LogSourceConfig(source="file", path="/nowhere/cc.log")
    )
    eventually(lambda: sources.statuses()[0].up and "no such file" in sources.statuses()[1].problem)
    assert [row.kind for row in sources.statuses()] == ["syslog", "file"]
