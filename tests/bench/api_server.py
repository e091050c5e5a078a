"""A lean stand-in for the Kubernetes API, as a process of its own: one api pod, and its log over TLS at full speed.

`python -m tests.bench.api_server FOLDER [LOG RATE [--sidecar]]` writes `kubeconfig` into FOLDER and prints its port.
The pod's log is a first line at once and, once `POST /go` came, the lines of LOG, each under the kubelet's timestamp,
RATE of them to a second of stamped time. They are stamped beforehand, into FOLDER: a neighbour at work makes whoever
reads them slower, by a fifth on two virtual processors, and the peer has none. Nothing but what the exporter asks for
is answered. Not the simulator's API, because that keeps every line as an object, which takes longer than reading it.
"""

from __future__ import annotations

import argparse
import base64
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final, cast
from urllib.parse import parse_qs, urlsplit

import trustme
import yaml

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
_AHEAD: Final = 120
"""Seconds from the stamping to the first stamp: whoever follows the log begins before that."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, stamped: Path | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stamped = stamped
        self.go = threading.Event()


def stamp_lines(log: Path, rate: int, before: bytes, stamped: Path) -> None:
    """Write the log as a kubelet gives it."""
    begun = int(time.time()) + _AHEAD
    with log.open("rb") as file, stamped.open("wb") as out:
        out.writelines(b"%s%s%s" % (stamp(begun, number, rate), before, line) for number, line in enumerate(file))


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
        if self._server.stamped is not None:
            with self._server.stamped.open("rb") as file:
                while some := file.read(PIECE):
                    self._chunk(some)
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
    stamped = asked.folder / "stamped.log" if asked.log else None
    if stamped is not None:
        stamp_lines(asked.log, asked.rate, _SIDECAR if asked.sidecar else b"", stamped)
    server = _Server(stamped)
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
