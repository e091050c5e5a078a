"""The remediator: its webhook under load, how soon it acts, how soon it is done, and its memory."""

from __future__ import annotations

import http.client
import json
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from tests.bench.errors import BenchError
from tests.bench.processes import OtherWork, memory
from tests.bench.report import Check, Section
from tests.campaign.world import TOKEN, Cluster, Process, Replica, TimedOutError, alert, eventually, write_config

if TYPE_CHECKING:
    from tests.bench.peers import Peers

Json = dict[str, Any]

CONNECTIONS: Final = 8
RATE: Final = 200
"""Alerts per second over all connections."""
P99_MS, ACT_SECONDS, DONE_SECONDS, TREE_MB = 50.0, 1.0, 2.0, 130.0
_DWELL: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Load:
    """What one load on a webhook found."""

    times: list[float]
    """Seconds, sorted."""
    sent: int
    good: int
    late: float
    """Seconds after the planned end that the last answer came."""

    def at(self, part: float) -> float:
        """A percentile in milliseconds."""
        return self.times[min(len(self.times) - 1, int(len(self.times) * part))] * 1000


def measure(_peers: Peers, *, quick: bool) -> Section:
    """Everything about the remediator."""
    seconds, runs = (5, 1) if quick else (30, 3)
    others = OtherWork()
    try:
        loads, tree = _webhook(seconds)
        acts, dones = zip(*(_incident() for _ in range(runs)), strict=True)
    except (TimedOutError, AssertionError) as error:
        raise BenchError(str(error)) from error
    ours, bare = loads["webhook"], loads["bare view"]
    act, done = median(acts), median(dones)
    lost = ours.sent - ours.good
    return Section(
        name="remediator",
        title="The remediator",
        how=(
            f"{CONNECTIONS} kept connections together send {RATE} notifications of one alert each per second for "
            f"{seconds} s, every one with a fingerprint of its own while the target is paused: each is decided on a "
            "read of the ledger and refused on record, which is a write. The API server is the simulator, on the same "
            "machine, as are the senders. Beside it the same load on a Flask view behind the same server that parses "
            "and answers. Then an incident, from its notification to the end; the probes of what hangs, and the "
            "interval between two looks, are confirmation's own waits and left out."
        ),
        columns=("webhook", "alerts", "p50, ms", "p99, ms", "longest, ms"),
        rows=tuple(
            (name, str(load.sent), *(f"{load.at(part):.1f}" for part in (0.5, 0.99, 1.0)))
            for name, load in loads.items()
        ),
        checks=(
            Check("webhook p99, with the state's write", f"{ours.at(0.99):.0f} ms", f"at most {P99_MS:.0f} ms",
                  ours.at(0.99) <= P99_MS),
            Check("alerts lost or not stored", str(lost), "0", lost == 0),
            Check("behind the rate at the end", f"{ours.late:.2f} s", "at most 0.5 s", ours.late <= 0.5),
            Check("from the notification to the first deletion", f"{act:.2f} s", f"at most {ACT_SECONDS:g} s",
                  act <= ACT_SECONDS),
            Check("from ready and one active to Succeeded, without the dwell", f"{done:.2f} s",
                  f"at most {DONE_SECONDS:g} s", done <= DONE_SECONDS),
            Check("resident memory of the serving process tree", f"{tree:.0f} MB", f"at most {TREE_MB:.0f} MB",
                  tree <= TREE_MB),
        ),
        notes=(
            f"The webhook's median is {ours.at(0.5) / bare.at(0.5):.1f} times the bare view's.",
            f"Single runs: to the first deletion {_list(acts)} s, to Succeeded {_list(dones)} s.",
        ),
        others=others.share(),
        times=True,
    )  # fmt: skip


def _list(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def _webhook(seconds: int) -> tuple[dict[str, _Load], float]:
    """The load on ours and on the bare view, in turns; and the memory of ours afterwards, in MB."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        cluster = Cluster(folder, layout="cfee-2", speed=40, grace=2)
        stack.callback(cluster.process.end)
        replica = Replica(write_config(cluster, folder))
        stack.callback(replica.process.end)
        eventually(replica.port, "the remediator listens")
        bare = Process(["-m", "tests.bench.bare_webhook", "127.0.0.1:0"])
        stack.callback(bare.end)
        port = eventually(lambda: _port(bare), "the bare view listens")
        eventually(lambda: _pause(replica), "the target is paused")
        found: dict[str, list[_Load]] = {"webhook": [], "bare view": []}
        for turn in range(2):
            found["webhook"].append(_load(replica.port(), seconds / 2, f"a{turn}"))
            found["bare view"].append(_load(port, seconds / 2, f"b{turn}"))
        loads = {name: _joined(parts) for name, parts in found.items()}
        tree = sum(memory(pid)["VmRSS"] for pid in _group(replica.process)) / 1024
        stored = cluster.ledger()[1].get("refusals", [])
        if len(stored) < 20:
            raise BenchError(f"only {len(stored)} refusals are on record: the load did not write")
        return loads, tree


def _pause(replica: Replica) -> bool:
    status, _ = replica.post("/api/v1/pause", {"reason": "a measurement"})
    return status == 200


def _port(process: Process) -> int:
    for line in process.lines:
        if '"port"' in line:
            return int(json.loads(line)["port"])
    return 0


def _group(process: Process) -> list[int]:
    """The processes of its group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[2]) == process.child.pid:
            found.append(int(stat.parent.name))
    return found


def _joined(parts: list[_Load]) -> _Load:
    times = sorted(time for part in parts for time in part.times)
    return _Load(times, sum(p.sent for p in parts), sum(p.good for p in parts), max(p.late for p in parts))


def _load(port: int, seconds: float, prefix: str) -> _Load:
    """Send at the rate, each connection on its own beat; a late answer delays that connection alone."""
    times: list[float] = []
    good = [0]
    lock = threading.Lock()
    count = int(seconds * RATE / CONNECTIONS)
    begin = time.perf_counter() + 0.2

    def sender(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
        for turn in range(count):
            due = begin + (turn * CONNECTIONS + number) / RATE
            time.sleep(max(0.0, due - time.perf_counter()))
            body = json.dumps(alert(fingerprint=f"{prefix}{number}x{turn}"))
            began = time.perf_counter()
            connection.request("POST", "/api/v1/alertmanager", body, headers)
            answer = connection.getresponse()
            said = json.loads(answer.read())
            took = time.perf_counter() - began
            with lock:
                times.append(took)
                good[0] += answer.status == 200 and len(said["alerts"]) == 1
        connection.close()

    threads = [threading.Thread(target=sender, args=(number,)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    late = time.perf_counter() - begin - seconds
    return _Load(sorted(times), count * CONNECTIONS, good[0], max(0.0, late))


def _incident() -> tuple[float, float]:
    """Seconds from the notification to the first deletion, and from recovered to Succeeded; waits left out."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        cluster = Cluster(folder, layout="cfee-2", speed=40, grace=2)
        stack.callback(cluster.process.end)
        playbook = {"steps": {"verify": {"dwell": f"{_DWELL * 1000:.0f}ms"}}}
        replica = Replica(write_config(cluster, folder, playbook=playbook))
        stack.callback(replica.process.end)
        eventually(replica.port, "the remediator listens")
        time.sleep(3)
        cluster.incident("locket_hung")
        time.sleep(9)
        notified = time.time()
        status, answer = replica.post("/api/v1/alertmanager", alert())
        if status != 200 or answer["alerts"][0]["outcome"] != "created":
            raise BenchError(f"the notification was answered {status} {answer}")
        recovered = _recovered(cluster)
        eventually(lambda: (cluster.ledger()[1].get("last") or {}).get("phase") == "Succeeded", "Succeeded", 60)
        return _act(cluster, replica, notified), _closed(cluster) - recovered - _DWELL


def _recovered(cluster: Cluster) -> float:
    """When all BBS pods are new and ready and one of them is marked active."""
    first = cluster.pods()

    def well() -> bool:
        _, listing = cluster.api("GET", f"/api/v1/namespaces/{cluster.namespace}/pods")
        pods = [pod for pod in listing["items"] if pod["metadata"]["name"] in first]
        new = all(pod["metadata"]["uid"] != first[pod["metadata"]["name"]] for pod in pods)
        ready = all(
            condition["status"] == "True"
            for pod in pods
            for condition in pod["status"].get("conditions", [])
            if condition["type"] == "Ready"
        )
        active = [pod for pod in pods if pod["metadata"]["labels"].get("skiff-role-active") == "true"]
        return len(pods) == len(first) and new and ready and len(active) == 1

    eventually(well, "the pods are new, ready, and one is active", 60, pause=0.02)
    return time.time()


def _act(cluster: Cluster, replica: Replica, notified: float) -> float:
    journal = cluster.journal()
    delete = next(one for one in journal if one["verb"] == "delete" and one["resource"] == "pods")
    looks = [one for one in journal if one["verb"] == "list" and one["resource"] == "pods" and _ours(one, delete)]
    looks = [one for one in looks if notified < one["received"] < delete["received"]]
    announced = [
        one
        for one in journal
        if one["verb"] == "update" and one["resource"] == "configmaps" and one["number"] < delete["number"]
    ][-1]
    # The last look is the deletion's own; those before it are the confirm step, whose length the audit line tells.
    confirm = next(
        float(said["seconds"])
        for line in replica.process.lines
        if '"confirm"' in line and (said := json.loads(line)).get("result") == "confirmed"
    )
    last_look = announced["received"] - looks[-1]["received"]
    return float(delete["received"] - notified - confirm - last_look)


def _ours(one: Json, delete: Json) -> bool:
    return bool(one["user_agent"] == delete["user_agent"])


def _closed(cluster: Cluster) -> float:
    """When the end was written into the ledger."""
    for one in cluster.journal():
        if one["verb"] == "update" and one["resource"] == "configmaps" and one["status"] < 300:
            text = (one["body"] or {}).get("data", {}).get("ledger", "{}")
            if (json.loads(text).get("last") or {}).get("phase") == "Succeeded":
                return float(one["at"])
    raise BenchError("the end is not in the journal")
