"""Probes of BBS: `/probe` of the exporter against blackbox_exporter's, each a new mutual TLS connection and a POST."""

from __future__ import annotations

import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import yaml

from tests.bench.errors import BenchError
from tests.bench.processes import Daemon, OtherWork
from tests.bench.report import Section, ratio_check
from tests.bench.simulated import Client, Exporter, Simulation

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.peers import Peers

_WARM_UP: Final = 20


def measure(peers: Peers, *, quick: bool) -> Section:
    """CPU per probe of both, each with its HTTP front."""
    rounds, probes = (3, 200) if quick else (9, 400)
    others = OtherWork()
    with ExitStack() as stack:
        simulation = stack.enter_context(Simulation())
        foundation = next(iter(simulation.state()["foundations"].items()))
        name, address, host = foundation[0], foundation[1]["service"]["address"], foundation[1]["service"]["host"]
        exporter = stack.enter_context(Exporter(simulation.config(_only_when_asked)))
        target = f"https://{address}:8889/v1/ping"
        blackbox = stack.enter_context(_Blackbox(peers.blackbox, simulation.folder, host))
        sides: dict[str, _Side] = {
            "stager-exporter": _Side(exporter.client, f"/probe?{urlencode({'foundation': name})}", exporter.cpu),
            "blackbox_exporter": _Side(
                blackbox.client, f"/probe?{urlencode({'target': target, 'module': 'bbs'})}", blackbox.process.cpu
            ),
        }
        for side in sides.values():
            side.probe(_WARM_UP)
        found: dict[str, list[tuple[float, list[float]]]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, side in sides.items():
                found[name].append(side.probe(probes))
    cpu = {name: [used / probes * 1e3 for used, _ in turns] for name, turns in found.items()}
    times = {name: sorted(t * 1e3 for _, turn in turns for t in turn) for name, turns in found.items()}
    ours, peer = (median(values) for values in cpu.values())
    return Section(
        name="probes",
        title="Probes of BBS",
        how=(
            "One request to `/probe` of each is one new connection to the same simulated BBS (a process of its own): TCP, "
            "TLS with a client certificate, `POST /v1/ping`. Both sides include their HTTP front, asked over one kept "
            "connection without compression. The exporter also decodes BBS's answer, times each stage and reads the "
            f"certificate's times. {rounds} rounds of {probes} probes."
        ),
        columns=("", "CPU per probe, ms", "from … to", "p50, ms", "p99, ms", "CPU against blackbox"),
        rows=tuple(
            (
                name,
                f"{median(values):.2f}",
                f"{min(values):.2f} to {max(values):.2f}",
                f"{median(times[name]):.1f}",
                f"{times[name][int(len(times[name]) * 0.99)]:.1f}",
                f"{median(values) / peer:.3f}",
            )
            for name, values in cpu.items()
        ),
        checks=(ratio_check("CPU per mTLS and ping probe, against blackbox_exporter", ours, peer, 2 / 3, "2/3"),),
        others=others.share(),
    )


def _only_when_asked(settings: dict[str, Any]) -> None:
    """No looks of its own and no log meanwhile: only what `/probe` costs is compared."""
    settings["probe"]["interval"] = "1h"
    settings["logs"] = []


class _Side:
    """One of the two."""

    def __init__(self, client: Client, path: str, cpu: Callable[[], float]) -> None:
        self._client, self._path, self._cpu = client, path, cpu

    def probe(self, number: int) -> tuple[float, list[float]]:
        """So many probes, one after the other: their processor time, and how long each took, in seconds."""
        before = self._cpu()
        times = []
        for _ in range(number):
            answer = self._client.get(self._path)
            if answer.status != 200 or b"\nprobe_success 1" not in answer.body:
                raise BenchError(f"GET {self._path} did not succeed: {answer.status} {answer.body[:200]!r}")
            times.append(answer.seconds)
        return self._cpu() - before, times


class _Blackbox:
    """blackbox_exporter, with one module that does what the exporter's probe does."""

    def __init__(self, program: Path, certificates: Path, server_name: str) -> None:
        self._stack = ExitStack()
        module = {
            "prober": "http",
            "timeout": "3s",
            "http": {
                "method": "POST",
                "headers": {"Content-Type": "application/x-protobuf"},
                "preferred_ip_protocol": "ip4",
                # BBS speaks HTTP/1.1 alone.
                "enable_http2": False,
                "tls_config": {
                    "ca_file": str(certificates / "ca.crt"),
                    "cert_file": str(certificates / "client.crt"),
                    "key_file": str(certificates / "client.key"),
                    "server_name": server_name,
                },
            },
        }
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        (folder / "blackbox.yml").write_text(yaml.safe_dump({"modules": {"bbs": module}}), encoding="utf-8")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [str(program), f"--config.file={folder / 'blackbox.yml'}", f"--web.listen-address=127.0.0.1:{port}"]
        self.process = self._stack.enter_context(Daemon(command))
        self.process.wait_for(lambda said: "yes" if "Listening on" in said else None, "listens")
        self.client = Client(port)

    def __enter__(self) -> _Blackbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._stack.close()
