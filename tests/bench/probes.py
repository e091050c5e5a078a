"""Probes of BBS: `/probe` of the exporter against blackbox_exporter's, each a new mutual TLS connection and a POST."""

from __future__ import annotations

import socket
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlencode

import yaml

from tests.bench.api_server import NAMESPACE
from tests.bench.bbs_server import ADDRESS, HOST
from tests.bench.errors import BenchError
from tests.bench.processes import Daemon, OtherWork
from tests.bench.report import Section, ratio_check, spread
from tests.bench.simulated import Client, Exporter

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.peers import Peers

KEYS: Final = {"rsa": "RSA 2048", "ecdsa": "ECDSA P-256"}
_OURS: Final = "stager-exporter"
_PEER: Final = "blackbox_exporter"
_FILES: Final = {"ca_file": "ca.crt", "cert_file": "client.crt", "key_file": "client.key"}
_WARM_UP: Final = 20


def measure(peers: Peers, *, quick: bool) -> Section:
    """CPU per probe of both, each with its HTTP front."""
    rounds, probes = (2, 200) if quick else (7, 400)
    others = OtherWork()
    cpu: dict[tuple[str, str], list[float]] = {}
    times: dict[tuple[str, str], list[float]] = {}
    for keys in KEYS:
        with ExitStack() as stack:
            sides = _sides(stack, peers, keys)
            for side in sides.values():
                side.probe(_WARM_UP)
            for _ in range(rounds):
                for name, side in sides.items():
                    used, turn = side.probe(probes)
                    cpu.setdefault((keys, name), []).append(used / probes * 1e3)
                    times.setdefault((keys, name), []).extend(seconds * 1e3 for seconds in turn)
    middle = {key: median(values) for key, values in cpu.items()}
    return Section(
        name="probes",
        title="Probes of BBS",
        how=(
            "One request to `/probe` of each is one new connection to the same simulated BBS (a process of its own): "
            "TCP, TLS with a client certificate, `POST /v1/ping`. Both sides include their HTTP front, asked over one "
            "kept connection without compression. The exporter also decodes BBS's answer, times each stage and reads "
            "the certificate's times. RSA of 2048 bits is what foundations have, and what the target is about; with "
            "elliptic keys Go's handshake is the cheaper one, OpenSSL 3.0's own overhead outweighs everything else. "
            f"{rounds} rounds of {probes} probes."
        ),
        columns=("keys", "", "CPU per probe, ms", "from … to", "p50, ms", "p99, ms", "CPU against blackbox"),
        rows=tuple(
            (
                KEYS[key[0]],
                key[1],
                f"{middle[key]:.2f}",
                spread(values),
                f"{median(times[key]):.1f}",
                f"{sorted(times[key])[int(len(times[key]) * 0.99)]:.1f}",
                f"{middle[key] / middle[key[0], _PEER]:.3f}",
            )
            for key, values in cpu.items()
        ),
        checks=(
            ratio_check(
                f"CPU per mTLS and ping probe, {KEYS['rsa']}, against blackbox_exporter",
                middle["rsa", _OURS],
                middle["rsa", _PEER],
                2 / 3,
                "2/3",
            ),
        ),
        others=others.share(),
    )


def _sides(stack: ExitStack, peers: Peers, keys: str) -> dict[str, _Side]:
    """Both, ready, with the same BBS before them."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
    for command in (["tests.bench.bbs_server", str(folder), keys], ["tests.bench.api_server", str(folder)]):
        server = stack.enter_context(Daemon([sys.executable, "-m", *command]))
        server.wait_for(lambda said: "yes" if "ready " in said else None, "ready")
        if command[0] == "tests.bench.bbs_server":
            port = int(server.said().split()[1])
    exporter = stack.enter_context(Exporter(_config(folder, port)))
    blackbox = stack.enter_context(_Blackbox(peers.blackbox, folder))
    target = f"https://{ADDRESS}:{port}/v1/ping"
    return {
        _OURS: _Side(exporter.client, "/probe?foundation=bench", exporter.cpu),
        _PEER: _Side(blackbox.client, f"/probe?{urlencode({'target': target, 'module': 'bbs'})}", blackbox.process.cpu),
    }


def _config(folder: Path, port: int) -> Path:
    """No looks of its own and no log meanwhile: only what `/probe` costs is compared."""
    foundation = {
        "name": "bench",
        "namespace": NAMESPACE,
        "layout": {"base": "kubecf", "service": {"host": HOST, "address": ADDRESS, "port": port}},
        "kubeconfig": str(folder / "kubeconfig"),
        "bbs": {name: str(folder / file) for name, file in _FILES.items()},
    }
    settings = {
        "foundations": [foundation],
        "probe": {"interval": "1h", "timeout": "3s"},
        "exporter": {"web": {"listen": "127.0.0.1:0"}},
    }
    path = folder / "exporter.yml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


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

    def __init__(self, program: Path, certificates: Path) -> None:
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
                    **{name: str(certificates / file) for name, file in _FILES.items()},
                    "server_name": HOST,
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._stack.close()
