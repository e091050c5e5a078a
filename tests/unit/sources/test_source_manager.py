"""Followers that come and go with their pods, and sources that no exception ends."""

from __future__ import annotations

import logging
import random
import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from exporter.logs.sources.base import PodSeen, Pulse, RealPace
from exporter.logs.sources.follow import PodFollowers, keep_running
from exporter.logs.sources.manager import LogSources, LogSourceSpec, Surroundings
from foundation.kube.backoff import Backoff
from foundation.kube.errors import Target, Unreachable
from tests.support.log_feeds import (
    SECOND,
    START,
    ContainerLog,
    JumpingPace,
    Machine,
    RecordingSink,
    ScriptedStream,
    eventually,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

LOG = logging.getLogger("test.sources")
UNREACHABLE = Unreachable("connection refused", target=Target("get", "pods/log"), retry=True)


class LiveStream(ScriptedStream):
    """Delivers what is there, then what comes, until it is closed."""

    def __init__(self, log: ContainerLog, since: datetime) -> None:
        super().__init__()
        self._log = log
        self._since = since
        self._sent = 0
        self._gone = threading.Event()

    def close(self) -> None:
        self._gone.set()

    def __next__(self) -> bytes:
        while not self._gone.wait(0.005):
            new = self._log.answer(self._since)[self._sent :]
            if new:
                self._sent += len(new)
                return new
        self.ended = "closed"
        raise StopIteration


class Cluster:
    """Pods with logs, for sources that run in threads."""

    def __init__(self) -> None:
        self.sink = RecordingSink()
        self.pods: dict[str, PodSeen] = {}
        self.logs: dict[str, ContainerLog] = {}
        self.lost: Exception | None = None
        self.looks = 0
        self.sources: LogSources | None = None

    def add(self, name: str, uid: str = "u") -> ContainerLog:
        self.logs[name] = ContainerLog()
        self.pods[name] = PodSeen(uid, "c1", 0, START - SECOND)
        return self.logs[name]

    def look(self, role: str, container: str) -> Mapping[str, PodSeen]:
        self.looks += 1
        assert (role, container) == ("api", "logs")
        if self.lost is not None:
            raise self.lost
        return dict(self.pods)

    def open_log(self, pod: str, container: str, since: datetime, *, previous: bool, follow: bool) -> ScriptedStream:
        if pod not in self.logs:
            return ScriptedStream(refused=UNREACHABLE)
        return LiveStream(self.logs[pod], since)

    def around(self) -> Surroundings:
        return Surroundings(
            pods=self.look,
            open_log=self.open_log,
            open_exec=Machine(),
            now=lambda: START,
            sink=self.sink,
            log=LOG,
            rng=random.Random(1),
        )

    def start(self, *specs: LogSourceSpec) -> LogSources:
        self.sources = LogSources(specs, self.around())
        self.sources.start()
        return self.sources


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    if made.sources is not None:
        assert made.sources.stop()


POD = LogSourceSpec("pod", role="api", container="logs")


def test_two_api_pods_interleaved(cluster: Cluster) -> None:
    zero, one = cluster.add("api-0"), cluster.add("api-1")
    cluster.start(POD)
    for number in range(200):
        moment = START + SECOND + number
        zero.write(moment, b"zero %d" % number)
        one.write(moment, b"one %d" % number)
    eventually(lambda: len(cluster.sink.got("pod", "api-0")) >= 200 and len(cluster.sink.got("pod", "api-1")) >= 200)
    assert cluster.sink.got("pod", "api-0") == [b"zero %d" % i for i in range(200)]
    assert cluster.sink.got("pod", "api-1") == [b"one %d" % i for i in range(200)]
    assert sorted(cluster.sink.known) == ["api-0", "api-1"]


def test_a_pod_that_comes_later_is_read_from_its_start(cluster: Cluster) -> None:
    sources = cluster.start(POD)
    eventually(lambda: cluster.looks > 0)
    log = cluster.add("api-7")
    log.write(START + SECOND, b"first words")
    eventually(lambda: cluster.sink.got("pod", "api-7") == [b"first words"])
    [row] = sources.statuses()
    assert (row.kind, row.pod, row.up, row.problem) == ("pod", "api-7", True, "")


@pytest.mark.parametrize(("created", "known"), [(START - 1, []), (START, [b"from the start"]), (None, [])])
def test_what_a_file_holds_is_new_in_a_pod_younger_than_the_start(
    cluster: Cluster, tmp_path: Path, created: int | None, known: list[bytes]
) -> None:
    path = tmp_path / "cc.log"
    path.write_bytes(b"from the start\n")
    cluster.add("api-0")
    cluster.pods["api-0"] = PodSeen("u", "c1", 0, created)
    sources = cluster.start(LogSourceSpec("exec", role="api", container="logs", path=str(path)))
    eventually(lambda: any(row.deaf_seconds is not None for row in sources.statuses()))
    with path.open("ab") as file:
        file.write(b"later\n")
    eventually(lambda: cluster.sink.got("exec", "api-0") == [*known, b"later"])


def test_the_clusters_clock_is_not_asked_before_a_pod_was_seen(cluster: Cluster) -> None:
    """It is the local clock until the API server has answered, and that one may be wrong."""
    asked: list[int] = []

    def now() -> int:
        asked.append(1)
        return START

    cluster.sources = LogSources([POD], replace(cluster.around(), now=now))
    cluster.sources.start()
    eventually(lambda: cluster.looks > 0)
    assert asked == []
    cluster.add("api-0").write(START + SECOND, b"new")
    cluster.add("api-1").write(START + SECOND, b"new")
    eventually(lambda: [*cluster.sink.got("pod", "api-0"), *cluster.sink.got("pod", "api-1")] == [b"new", b"new"])
    assert asked == [1]


def test_all_kinds_run_and_end_together(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "cc.log"
    path.touch()
    sources = cluster.start(
        POD,
        LogSourceSpec("exec", role="api", container="logs", path=str(path)),
        LogSourceSpec("syslog", listen="127.0.0.1:0", protocol="tcp"),
        LogSourceSpec("syslog", listen="127.0.0.1:0", protocol="udp"),
        LogSourceSpec("file", path=str(path)),
    )
    cluster.add("api-0").write(START + SECOND, b"by the API")
    eventually(lambda: len(sources.statuses()) == 5 and all(row.up for row in sources.statuses()))
    with path.open("ab") as file:
        file.write(b"by the file\n")
    eventually(lambda: cluster.sink.got("exec", "api-0") == [b"by the file"])
    eventually(lambda: cluster.sink.got("file", "cc.log") == [b"by the file"])
    eventually(lambda: cluster.sink.got("pod", "api-0") == [b"by the API"])
    assert [row.kind for row in sources.statuses()] == ["pod", "exec", "syslog", "syslog", "file"]
    assert all(row.deaf_seconds is not None for row in sources.statuses())
    assert sources.stop()
    assert not [t for t in threading.enumerate() if t.name.startswith("log-")]


def test_a_port_in_use_is_tried_again(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sources = cluster.start(LogSourceSpec("syslog", listen=f"127.0.0.1:{port}"))
        eventually(lambda: "can't listen" in sources.statuses()[0].problem)
        assert sources.statuses()[0].up is False
        assert sources.statuses()[0].reconnects >= 1
    eventually(lambda: sources.statuses()[0].up)


def test_a_bad_listen_address_is_refused_at_once(cluster: Cluster) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        LogSources([LogSourceSpec("syslog", listen="nonsense")], cluster.around())


class Idle:
    """A follower that only waits."""

    def __init__(self, pod: str) -> None:
        self.pulse = Pulse(RecordingSink(), JumpingPace(), "pod", f"pod {pod}", pod)
        self.sights: list[PodSeen | None] = []
        self.closed = False

    def see(self, seen: PodSeen | None) -> None:
        self.sights.append(seen)

    def run(self, stop: threading.Event) -> None:
        assert stop.wait(10)

    def close(self) -> None:
        self.closed = True


class Looking:
    """A `PodFollowers` that looks when told to."""

    def __init__(self) -> None:
        self.pods: dict[str, PodSeen] = {}
        self.lost: Exception | None = None
        self.unfit = ""
        self.made: list[tuple[str, bool, Idle]] = []
        self.pace = JumpingPace()
        self.sink = RecordingSink()
        self.followers = PodFollowers(
            kind="pod",
            name="pod api",
            pods=self.look,
            make=self.make,
            sink=self.sink,
            pace=self.pace,
            backoff=Backoff,
            log=LOG,
        )

    def look(self) -> Mapping[str, PodSeen]:
        if self.lost is not None:
            raise self.lost
        return self.pods

    def make(self, pod: str, seen: PodSeen, first_look: bool) -> Idle:
        idle = Idle(pod)
        if pod == self.unfit:
            raise ValueError("no log file is known")
        self.made.append((pod, first_look, idle))
        return idle

    def after(self, seconds: float) -> None:
        self.pace.now += seconds
        self.followers.look()


@pytest.fixture
def looking() -> Iterator[Looking]:
    made = Looking()
    yield made
    ended = threading.Event()
    ended.set()
    made.followers.run(ended)


def test_a_pod_missing_for_a_moment_keeps_its_follower(looking: Looking) -> None:
    seen = PodSeen("u1", "c1")
    looking.pods = {"api-0": seen}
    looking.after(0)
    looking.pods = {}
    looking.after(10)
    looking.pods = {"api-0": seen}
    looking.after(1)
    looking.pods = {}
    looking.after(10)
    [(_, first_look, idle)] = looking.made
    assert first_look
    assert idle.sights == [seen, None, seen, None]
    assert looking.sink.forgotten == []


def test_a_pod_that_is_gone_is_forgotten(looking: Looking) -> None:
    looking.pods = {"api-0": PodSeen("u1")}
    looking.after(0)
    looking.pods = {}
    looking.after(16)
    assert looking.sink.forgotten == ["api-0"]
    assert looking.made[0][2].closed
    assert looking.followers.statuses() == []
    looking.pods = {"api-0": PodSeen("u2")}
    looking.after(1)
    assert [(pod, first) for pod, first, _ in looking.made] == [("api-0", True), ("api-0", False)]


def test_a_look_that_fails_changes_nothing_and_is_told(looking: Looking) -> None:
    looking.pods = {"api-0": PodSeen("u1")}
    looking.after(0)
    looking.lost = UNREACHABLE
    looking.after(100)
    looking.after(100)
    assert "can't see the pods" in looking.followers.problem
    assert looking.sink.forgotten == []
    looking.lost = None
    looking.after(1)
    assert looking.followers.problem == ""


def test_a_look_that_fails_is_one_line_in_the_log(looking: Looking, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    looking.lost = RuntimeError("the pods were not listed yet")
    looking.after(0)
    looking.after(1)
    looking.lost = None
    looking.after(1)
    looking.lost = UNREACHABLE
    looking.after(1)
    assert [record.levelname for record in caplog.records] == ["INFO", "DEBUG", "WARNING"]
    assert all(record.exc_info is None for record in caplog.records)
    assert caplog.messages[0] == "log source pod api can't see its pods: the pods were not listed yet"


def test_a_pod_that_cannot_be_followed_is_told_and_tried_again(
    looking: Looking, caplog: pytest.LogCaptureFixture
) -> None:
    looking.pods = {"api-0": PodSeen("u1"), "api-1": PodSeen("u2")}
    looking.unfit = "api-0"
    looking.after(0)
    looking.after(1)
    assert looking.followers.problem == "pod api: can't follow api-0: no log file is known"
    assert caplog.messages == ["log source pod api: can't follow api-0: no log file is known"]
    assert [pod for pod, _, _ in looking.made] == ["api-1"]
    looking.unfit = ""
    looking.after(1)
    assert looking.followers.problem == ""
    assert [pod for pod, _, _ in looking.made] == ["api-1", "api-0"]


def test_what_the_world_does_not_allow_is_one_line_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    sink, pace = RecordingSink(), JumpingPace()
    pulse = Pulse(sink, pace, "syslog", "syslog tcp :514", "")
    problems = [OSError("can't listen"), OSError("can't listen"), OSError("other")]

    def work(stop: threading.Event) -> None:
        if problems:
            raise problems.pop(0)

    keep_running(work, pulse, pulse.name, threading.Event(), pace=pace, backoff=Backoff(rng=random.Random(1)), log=LOG)
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG", "WARNING"]
    assert all(record.exc_info is None for record in caplog.records)
    assert caplog.messages[0] == "log source syslog tcp :514: can't listen; tried again"
    assert pulse.problem == "syslog tcp :514: other"


def test_work_that_raises_is_begun_again_and_counted() -> None:
    sink, pace = RecordingSink(), JumpingPace()
    pulse = Pulse(sink, pace, "pod", "pod api-0/logs", "api-0")
    tries: list[int] = []

    def work(stop: threading.Event) -> None:
        tries.append(1)
        if len(tries) < 4:
            raise RuntimeError("a bug")

    keep_running(work, pulse, pulse.name, threading.Event(), pace=pace, backoff=Backoff(rng=random.Random(1)), log=LOG)
    assert len(tries) == 4
    assert sink.reconnects["pod", "api-0"] == 3
    assert pulse.problem == "pod api-0/logs: RuntimeError: a bug"
    assert pace.waits == sorted(pace.waits)
    assert len(pace.waits) == 3


def test_real_pace() -> None:
    pace, stop = RealPace(), threading.Event()
    assert pace.wait(stop, 0.0) is False
    stop.set()
    assert pace.wait(stop, 60.0) is True
    assert pace.monotonic() <= pace.monotonic()
