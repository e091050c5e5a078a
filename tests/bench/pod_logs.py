"""The whole path of a pod's log: Kubernetes' stream over TLS, the position in it, the count; against mtail on a file.

The exporter runs as it does in a cluster: it looks at its foundation every five seconds and serves its pages meanwhile,
and that is in its figure. The stream comes as fast as it can be read.
"""

from __future__ import annotations

import ssl
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

import yaml

from tests.bench import lines, logs
from tests.bench.api_server import CONTAINER, NAMESPACE, POD
from tests.bench.errors import BenchError
from tests.bench.metrics import total
from tests.bench.processes import Daemon, OtherWork
from tests.bench.report import Section, ratio_check, spread
from tests.bench.simulated import Exporter

if TYPE_CHECKING:
    from tests.bench.peers import Peers

_LIMIT: Final = 120.0


@dataclass(frozen=True, slots=True)
class _Way:
    """How the lines come."""

    title: str
    rate: int
    """Lines to a second of the kubelet's stamps."""
    sidecar: bool = False


_WAYS: Final = (
    _Way("stamped 1,000 to the second", 1_000),
    _Way("stamped 100,000 to the second", 100_000),
    _Way("1,000 to the second, as KubeCF's sidecar writes them", 1_000, sidecar=True),
)


def measure(peers: Peers, *, quick: bool) -> Section:
    """CPU per line of each way and of mtail."""
    file = lines.make(logs.QUICK_LINES if quick else logs.LINES)
    rounds = 1 if quick else 3
    others = OtherWork()
    found: dict[str, list[float]] = {way.title: [] for way in _WAYS}
    peer: list[float] = []
    for _ in range(rounds):
        for way in _WAYS:
            found[way.title].append(_follow(file, way) * 1e6 / file.lines)
        peer.append(logs.mtail(peers, file).cpu * 1e6 / file.lines)
    against = median(peer)
    return Section(
        name="pod-logs",
        title="The whole way of a pod's log",
        how=(
            f"The same {file.lines:,} lines, each under a kubelet's timestamp, sent by a lean API server (a process of "
            f"its own) over TLS in HTTP chunks of 32 KiB to `stager-exporter serve` with the source `pod`. Its figure "
            "is everything that its processes used from the first line to the last, looks at the foundation included. "
            "Lines stamped close together are the harder case for counting each once, as more of them must be "
            f"remembered for a reconnect. Every run counted {file.failed} failed pushes. mtail reads the plain file. "
            f"{rounds} rounds."
        ),
        columns=("", "CPU per line, µs", "from … to", "CPU against mtail"),
        rows=tuple(
            (title, f"{median(used):.2f}", spread(used), f"{median(used) / against:.3f}")
            for title, used in [*found.items(), ("mtail --one_shot, the plain file", peer)]
        ),
        checks=tuple(
            ratio_check(
                f"CPU per line through the pod's log, {title}, against mtail", median(used), against, 1 / 4, "1/4"
            )
            for title, used in found.items()
        ),
        others=others.share(),
    )


def _follow(file: lines.LogFile, way: _Way) -> float:
    """Seconds of processor time for the whole file."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        command = [sys.executable, "-m", "tests.bench.api_server", str(folder), str(file.path), str(way.rate)]
        server = stack.enter_context(Daemon([*command, *(["--sidecar"] if way.sidecar else [])]))
        server.wait_for(lambda said: "yes" if "ready " in said else None, "ready")
        url = server.said().split()[1]
        exporter = stack.enter_context(Exporter(_config(folder)))
        _await_lines(exporter, server, 1)
        before = exporter.cpu()
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        urllib.request.urlopen(f"{url}/go", data=b"", timeout=30, context=context).close()
        server.wait_for(lambda said: "yes" if "sent" in said else None, "sent", _LIMIT)
        _await_lines(exporter, server, 1 + file.lines)
        used = exporter.cpu() - before
        counted = total(exporter.client.get("/metrics").body, "cf_cc_stager_unavailable_total")
        if counted != file.failed:
            raise BenchError(f"the pod source counted {counted:g} failed pushes, where {file.failed} are")
        return used


def _await_lines(exporter: Exporter, server: Daemon, wanted: int) -> None:
    deadline = time.monotonic() + _LIMIT
    while (seen := total(exporter.client.get("/metrics").body, "stager_log_lines_total")) != wanted:
        server.alive()
        if time.monotonic() > deadline or seen > wanted:
            raise BenchError(f"the pod source gave {seen:g} lines, where {wanted} are")
        time.sleep(0.2)


def _config(folder: Path) -> Path:
    settings = {
        "foundations": [
            {
                "name": "bench",
                "namespace": NAMESPACE,
                "layout": {"base": "kubecf", "service": {"address": "127.0.0.1", "port": 1}},
                "kubeconfig": str(folder / "kubeconfig"),
            }
        ],
        "logs": [{"source": "pod", "role": "api", "container": CONTAINER}],
        "exporter": {"web": {"listen": "127.0.0.1:0"}},
    }
    path = folder / f"{POD}.yml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path
