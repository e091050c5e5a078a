"""A lean stand-in for the Kubernetes API, as a process of its own: one api pod, and its log over TLS at full speed.

`python -m tests.bench.api_server FOLDER [LOG RATE [--sidecar]]` writes `kubeconfig` into FOLDER and prints its port.
The pod's log is a first line at once and, once `POST /go` came, the lines of LOG, each under the kubelet's timestamp,
RATE of them to a second of stamped time. Nothing but what the exporter asks for is answered. Not the simulator's API,
because that keeps every line as an object, which takes longer than reading it.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import parse_qs, urlsplit

import trustme
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

POD: Final = "api-0"
NAMESPACE: Final = "cf"
CONTAINER: Final = "logs"
FIRST: Final = b"the container's first line"
PIECE: Final = 32 << 10
"""Bytes of a chunk: an API server copies from the kubelet through buffers of this size."""
# What quarks-operator's tailer puts before each line (cmd/internal/tlogs.go).
_SIDECAR: Final = (
    b"\x1b[94m2021/06/01 10:00:31, \x1b[3;94m/var/vcap/sys/log/cloud_controller_ng/cloud_controller_ng.log\x1b[0;94m, "
)
_LINES_AT_ONCE: Final = 1000


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, log: Path | None, rate: int, *, sidecar: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.log, self.rate, self.sidecar = log, rate, sidecar
        self.go = threading.Event()

    def lines(self) -> Iterator[bytes]:
        """Stamped lines, many in each piece."""
        begun = int(time.time()) + 1
        before = _SIDECAR if self.sidecar else b""
        if self.log is None:
            return
        with self.log.open("rb") as file:
            numbers = itertools.count()
            while some := list(itertools.islice(file, _LINES_AT_ONCE)):
                yield b"".join(
                    b"%s%s%s" % (stamp(begun, number, self.rate), before, line)
                    for number, line in zip(numbers, some, strict=False)
                )


def stamp(begun: int, number: int, rate: int) -> bytes:
    """The kubelet's time before a line, in RFC 3339 with nanoseconds."""
    seconds, rest = divmod(number, rate)
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(begun + seconds))
    return f"{whole}.{rest * 1_000_000_000 // rate:09d}Z ".encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def _server(self) -> _Server:
        return cast("_Server", self.server)

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        self._server.go.set()
        self._json({})

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        query = parse_qs(address.query)
        if address.path.endswith(f"/pods/{POD}/log"):
            self._log(previous=query.get("previous") == ["true"])
        elif query.get("watch") == ["true"]:
            self._head("application/json")
            threading.Event().wait()
        elif address.path.endswith(("/pods", "/statefulsets")):
            items = [_pod()] if address.path.endswith("/pods") else []
            self._json({"kind": "List", "metadata": {"resourceVersion": "1"}, "items": items})
        else:
            self._json({"kind": "Status", "code": 404, "message": "not found", "reason": "NotFound"}, 404)

    def _json(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _head(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _log(self, *, previous: bool) -> None:
        if previous:
            self._json({"kind": "Status", "code": 400, "message": "no previous container", "reason": "BadRequest"}, 400)
            return
        self._head("text/plain")
        self._chunk(stamp(int(time.time()) + 1, 0, 1) + FIRST + b"\n")
        self._server.go.wait()
        held = b""
        for some in self._server.lines():
            held += some
            for start in range(0, len(held) - PIECE, PIECE):
                self._chunk(held[start : start + PIECE])
            held = held[(len(held) - 1) // PIECE * PIECE :]
        self._chunk(held)
        print("sent", flush=True)
        threading.Event().wait()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


def _pod() -> dict[str, object]:
    ready = {"name": CONTAINER, "ready": True, "restartCount": 0, "containerID": "containerd://1"}
    return {
        "metadata": {
            "name": POD,
            "namespace": NAMESPACE,
            "uid": "1",
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"quarks.cloudfoundry.org/instance-group-name": "api"},
        },
        "spec": {"containers": [{"name": CONTAINER}]},
        "status": {
            "phase": "Running",
            "podIP": "127.0.0.1",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{**ready, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}],
        },
    }


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("log", type=Path, nargs="?")
    parser.add_argument("rate", type=int, nargs="?", default=1000)
    parser.add_argument("--sidecar", action="store_true")
    asked = parser.parse_args()
    server = _Server(asked.log, asked.rate, sidecar=asked.sidecar)
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    url = f"https://127.0.0.1:{server.server_address[1]}"
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "bench",
                "cluster": {
                    "server": url,
                    "certificate-authority-data": base64.b64encode(ca.cert_pem.bytes()).decode(),
                },
            }
        ],
        "users": [{"name": "bench", "user": {}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        "current-context": "bench",
    }
    (asked.folder / "kubeconfig").write_text(yaml.safe_dump(kubeconfig), encoding="utf-8")
    (asked.folder / "ca.pem").write_bytes(ca.cert_pem.bytes())
    print(f"ready {url}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
