"""Resident memory of the serving process: one foundation, three log tails."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from tests.bench.errors import BenchError
from tests.bench.metrics import total
from tests.bench.processes import OtherWork, memory
from tests.bench.report import Check, Section
from tests.bench.simulated import Exporter, Simulation, send

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.peers import Peers

LIMIT_MB: Final = 80
_TAILS: Final = 3


def measure(_peers: Peers, *, quick: bool) -> Section:
    """RSS after some time under scrapes."""
    seconds = 8 if quick else 30
    others = OtherWork()
    with ExitStack() as stack:
        simulation = stack.enter_context(Simulation(layout="kubecf"))
        _scale(simulation, _TAILS)
        config = simulation.config()
        main, worker = _run(config, seconds, without="grpc")
        _, extra = _run(config, seconds)
    rss = worker["VmRSS"] / 1024
    return Section(
        name="memory",
        title="Memory",
        how=(
            f"One simulated foundation with {_TAILS} api pods whose logs are followed (source `pod`), installed "
            f"without extras; a scrape and a page each second for {seconds} s. What a further foundation takes is "
            "under Many foundations."
        ),
        columns=("process", "RSS, MB", "its peak, MB", "its share (PSS), MB"),
        rows=tuple(
            (name, *(f"{one[key] / 1024:.0f}" for key in ("VmRSS", "VmHWM", "Pss")))
            for name, one in (
                ("serving", worker),
                ("serving, with the extra `locket` (grpcio)", extra),
                ("main (only watches the other)", main),
            )
        ),
        checks=(
            Check(
                "resident memory of the serving process, one foundation, three log tails",
                f"{rss:.0f} MB",
                f"at most {LIMIT_MB} MB",
                rss <= LIMIT_MB,
            ),
        ),
        others=others.share(),
    )


def _run(config: Path, seconds: int, *, without: str = "") -> tuple[dict[str, int], dict[str, int]]:
    """The memory of the main and the serving process after so many seconds."""
    with Exporter(config, without=without) as exporter:
        deadline = time.monotonic() + 120
        while (up := total(exporter.client.get("/metrics").body, "stager_log_source_up")) != _TAILS:
            if time.monotonic() > deadline:
                raise BenchError(f"{up:g} log tails are up, where {_TAILS} should be")
            time.sleep(0.5)
        for _ in range(seconds):
            exporter.client.get("/metrics")
            exporter.client.get("/")
            time.sleep(1)
        main, worker = (memory(pid) for pid in exporter.pids)
        return main, worker


def _scale(simulation: Simulation, replicas: int) -> None:
    """Have the api StatefulSet run so many pods."""
    url = f"{simulation.api}/apis/apps/v1/namespaces/cf/statefulsets/api"
    send(url, "PATCH", {"spec": {"replicas": replicas}}, "application/merge-patch+json")
