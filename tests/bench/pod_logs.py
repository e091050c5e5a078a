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
_SETTLED: Final = 33.0
"""Seconds after which a stream is sure to be of the container that it was opened for, as all but the youngest are."""


@dataclass(frozen=True, slots=True)
class _Way:
    """How the lines come."""

    title: str
    rate: int
    """Lines to a second of the kubelet's stamps."""
    sidecar: bool = False
    young: bool = False
    """They come at once, and not only when the stream has settled."""


_USUAL: Final = _Way("stamped 1,000 to the second", 1_000)
"""What the target is about; the others show what may be added to it."""
_WAYS: Final = (
    _USUAL,
    _Way("the same, in the stream's first half minute", 1_000, young=True),
    _Way("stamped 100,000 to the second", 100_000),
    _Way("1,000 to the second, as KubeCF's sidecar writes them", 1_000, sidecar=True),
)


def measure(peers: Peers, *, quick: bool) -> Section:
    """CPU per line of each way and of mtail."""
    file = lines.make(logs.QUICK_LINES if quick else logs.LINES)
    rounds = 1 if quick else 5
    others = OtherWork()
    found: dict[str, list[float]] = {way.title: [] for way in _WAYS}
    peer: list[float] = []
    for _ in range(rounds):
        for way in _WAYS:
            with ExitStack() as stack:
                follower = _Follower(file, way, stack)
                time.sleep(0.0 if way.young else _SETTLED)
                found[way.title].append(follower.read() * 1e6 / file.lines)
        peer.append(logs.mtail(peers, file).cpu * 1e6 / file.lines)
    against = median(peer)
    return Section(
        name="pod-logs",
        title="The whole way of a pod's log",
        how=(
            f"The same {file.lines:,} lines, each under a kubelet's timestamp, stamped beforehand, sent by a lean API "
            "server (a process of its own) over TLS in HTTP chunks of 32 KiB to `stager-exporter serve` with the "
            "source `pod`. Its figure is everything that its processes used from the first line to the last, looks at "
            f"the foundation included. The stream had been open for {_SETTLED:g} s, unless it says otherwise: before, "
            "all that it brings is remembered, as it may turn out to be another run of the container. Lines stamped "
            "close together are the harder case for counting each once, as more of them must be remembered for a "
            f"reconnect; a sidecar's lines are a fifth longer. Every run counted {file.failed} failed pushes. mtail "
            f"reads the plain file. {rounds} rounds."
        ),
        columns=("", "CPU per line, µs", "from … to", "CPU against mtail"),
        rows=tuple(
            (title, f"{median(used):.2f}", spread(used), f"{median(used) / against:.3f}")
            for title, used in [*found.items(), ("mtail --one_shot, the plain file", peer)]
        ),
        checks=(
            ratio_check(
                "CPU per line through the pod's log, against mtail", median(found[_USUAL.title]), against, 1 / 4, "1/4"
            ),
        ),
        others=others.share(),
    )


class _Follower:
    """An exporter that has read the first line of a pod's log, and waits for the others."""

    def __init__(self, file: lines.LogFile, way: _Way, stack: ExitStack) -> None:
        self._file = file
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        command = [sys.executable, "-m", "tests.bench.api_server", str(folder), str(file.path), str(way.rate)]
        self._server = stack.enter_context(Daemon([*command, *(["--sidecar"] if way.sidecar else [])]))
        self._server.wait_for(lambda said: "yes" if "ready " in said else None, "ready")
        self._url = self._server.said().split()[1]
        self._exporter = stack.enter_context(Exporter(_config(folder)))
        self._context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        _await_lines(self._exporter, self._server, 1)

    def read(self) -> float:
        """Seconds of processor time for the whole file."""
        self._exporter.client.close()  # idle for so long, the exporter has closed it
        before = self._exporter.cpu()
        urllib.request.urlopen(f"{self._url}/go", data=b"", timeout=30, context=self._context).close()
        self._server.wait_for(lambda said: "yes" if "sent" in said else None, "sent", _LIMIT)
        _await_lines(self._exporter, self._server, 1 + self._file.lines)
        used = self._exporter.cpu() - before
        counted = total(self._exporter.client.get("/metrics").body, "cf_cc_stager_unavailable_total")
        if counted != self._file.failed:
            raise BenchError(f"the pod source counted {counted:g} failed pushes, where {self._file.failed} are")
        return used


def _await_lines(exporter: Exporter, server: Daemon, wanted: int) -> None:
    deadline = time.monotonic() + _LIMIT
    while (seen := total(exporter.client.get("/metrics").body, "stager_log_lines_total")) != wanted:
        server.alive()
        if time.monotonic() > deadline or seen > wanted:
            raise BenchError(f"the pod source gave {seen:.0f} lines, where {wanted} are")
        time.sleep(0.5)


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
