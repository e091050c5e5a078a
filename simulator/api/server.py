"""The HTTP server of the simulated Kubernetes API: one thread per connection, kept alive, streams in chunks.

Faults come before everything else, so that a client meets them as it would meet them in a bad hour: refused
connections, silence, late or lost answers. A second address, `control`, serves the same and never fails.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import socketserver
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from simulator.api import custom, requests
from simulator.api.errors import ApiError
from simulator.api.faults import Asked, Faults, Rule, ServerMode, error_of
from simulator.api.journal import Journal
from simulator.api.objects import encode, metadata, parse_time, rfc3339_nano
from simulator.api.resources import OPENAPI_V2, RESOURCES, discovery
from simulator.api.tables import table
from simulator.api.websocket import WebSocket, accept_key
from simulator.commands import CommandNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simulator.api.objects import Json
    from simulator.api.requests import Request
    from simulator.api.resources import Resource
    from simulator.api.selectors import Match
    from simulator.api.store import Change, Store
    from simulator.clock import Clock
    from simulator.commands import Shell
    from simulator.logs import LogFile

_POLL = 0.25
"""Seconds between two looks of a stream at whether its client is still there."""
_BOOKMARK = 5.0
_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")


class PodAccess(Protocol):
    """What the kubelets give: logs and shells."""

    def log(self, namespace: str, pod: str, container: str, *, previous: bool) -> LogFile:
        """Give a container's log; raises ApiError 400 or 404."""

    def shell(
        self, namespace: str, pod: str, container: str, emit: Callable[[int, bytes], None], ended: threading.Event
    ) -> Shell:
        """Give a container to run a command in; raises ApiError 400 or 404."""


class Control(Protocol):
    """What answers under /simulator."""

    def control(self, method: str, parts: list[str], query: Mapping[str, str], body: object) -> Json:
        """Answer; raises ApiError."""


class _ResetConnectionError(Exception):
    """Drop the connection without an answer."""


class ApiServer:
    """The API server. `start` binds; `stop` ends every connection and thread."""

    def __init__(
        self, store: Store, clock: Clock, kubelets: PodAccess, control: Control, journal: Journal | None = None
    ) -> None:
        self.store = store
        self.clock = clock
        self.kubelets = kubelets
        self.control = control
        self.faults = Faults()
        self.journal = journal or Journal()
        self.bookmark_interval = _BOOKMARK
        """Seconds between bookmarks on a watch that asks for them; a real server sends one a minute."""
        self.stopping = threading.Event()
        self._doors: list[_Door] = []

    def start(self, address: str, port: int) -> None:
        """Listen; port 0 is any. Raises OSError where it cannot be bound."""
        self._doors.append(_Door(self, address, port, faulty=True))
        self._doors.append(_Door(self, address, 0, faulty=False))

    def stop(self) -> None:
        """End every connection and thread."""
        self.stopping.set()
        self.store.close()
        for door in self._doors:
            door.stop()
        self.journal.close()

    def served(self) -> list[Resource]:
        """Give the resources that are served now."""
        return [*RESOURCES, *custom.served(self.store)]

    @property
    def url(self) -> str:
        """Where clients connect."""
        return self._doors[0].url

    @property
    def control_url(self) -> str:
        """Where the switches can always be reached."""
        return self._doors[1].url

    def change_faults(self, wanted: Json) -> None:
        """Throw switches: those of `Faults.change`, `compact` (forget history), `drop_streams` (reset connections)."""
        self.faults.change(wanted)
        if wanted.get("compact"):
            self.store.compact()
        self._doors[0].listen(wanted=self.faults.mode is not ServerMode.DOWN)
        if wanted.get("drop_streams"):
            self._doors[0].reset()


class _Door:
    """A listening address and the connections that came through it."""

    def __init__(self, api: ApiServer, address: str, port: int, *, faulty: bool) -> None:
        self.api = api
        self.faulty = faulty
        # The handler's base class wants a server only to store it; this one opens nothing.
        self.base = socketserver.BaseServer((address, port), socketserver.BaseRequestHandler)
        self._socket = _bound(address, port)
        if port == 0:
            # Linux keeps a port through a time of not listening only if it was asked for by number.
            with self._socket as first:
                self._socket = _bound(*first.getsockname())
        try:
            self._socket.listen(256)
        except OSError:
            self._socket.close()
            raise
        self.url = "http://{}:{}".format(*self._socket.getsockname())
        self._lock = threading.Lock()
        self._opened = threading.Event()
        self._opened.set()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._thread = threading.Thread(target=self._accept, name="simulated-api", daemon=True)
        self._thread.start()

    def listen(self, *, wanted: bool) -> None:
        """Listen or not; when it stops, what came through is reset."""
        if wanted and not self._opened.is_set():
            self._socket.listen(256)
            self._opened.set()
        elif self._opened.is_set() and not wanted:
            self._opened.clear()
            # On Linux this stops the listening and keeps the port: connecting is refused from here on.
            self._socket.shutdown(socket.SHUT_RDWR)
            self.reset()

    def reset(self) -> None:
        """Drop the connections that are open."""
        with self._lock:
            for connection in self._connections:
                _abort(connection)

    def stop(self) -> None:
        """Close the port, the connections, and wait for their threads."""
        self._opened.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self.reset()
        with self._lock:
            threads = list(self._connections.values())
        for thread in threads:
            thread.join()

    def _accept(self) -> None:
        while not self.api.stopping.is_set():
            try:
                connection, peer = self._socket.accept()
            except OSError:
                self._opened.wait()
                continue
            thread = threading.Thread(target=self._serve, args=(connection, peer), name="simulated-api", daemon=True)
            with self._lock:
                self._connections[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket, peer: tuple[str, int]) -> None:
        try:
            with contextlib.suppress(OSError, ValueError, _ResetConnectionError):
                _Handler(self, connection, peer)
        finally:
            with self._lock:
                self._connections.pop(connection, None)
            connection.close()


def _bound(address: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port))
    except BaseException:
        bound.close()
        raise
    return bound


def _abort(connection: socket.socket) -> None:
    """Reset a connection from any thread: its own thread then finds it dead, and closes it."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "simulated"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1

    def __init__(self, door: _Door, connection: socket.socket, peer: tuple[str, int]) -> None:
        self._door = door
        self._api = door.api
        self._received = 0.0
        self._asked: Request | None = None
        self._body_sent: object = None
        self._noted = False
        super().__init__(connection, peer, door.base)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing: the journal has what matters."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Give the `Date` header by the cluster's clock."""
        if timestamp is None:
            timestamp = self._api.clock.time() + self._api.faults.clock_skew
        return super().date_time_string(timestamp)

    def do_GET(self) -> None:
        """Serve any method."""
        split = urlsplit(self.path)
        path, query = unquote(split.path), parse_qs(split.query, keep_blank_values=True)
        self._received, self._asked, self._body_sent, self._noted = self._api.clock.time(), None, None, False
        try:
            body = self._body_sent = self._body()
            self._wait_while_frozen()
            self._dispatch(path, query, body)
        except ApiError as error:
            self._note(error.code)
            self._refuse(error)
        except _ResetConnectionError:
            _abort(self.connection)
            raise

    def do_POST(self) -> None:
        """Serve any method."""
        self.do_GET()

    def do_PUT(self) -> None:
        """Serve any method."""
        self.do_GET()

    def do_PATCH(self) -> None:
        """Serve any method."""
        self.do_GET()

    def do_DELETE(self) -> None:
        """Serve any method."""
        self.do_GET()

    # -- requests -----------------------------------------------------------------------------------------------------

    def _dispatch(self, path: str, query: Mapping[str, list[str]], body: object) -> None:
        api = self._api
        parts = [part for part in path.split("/") if part]
        served = api.served()
        if parts[:1] == ["simulator"]:
            self._noted = True
            flat = {key: values[-1] for key, values in query.items()}
            self._send(200, api.control.control(self.command, parts[1:], flat, body))
            return
        if self._door.faulty and api.faults.delay and api.stopping.wait(api.faults.delay):
            raise _ResetConnectionError
        if path in ("/livez", "/readyz", "/healthz"):
            self._send_bytes(200, b"ok", "text/plain")
        elif self.command == "POST" and parts[-1:] == ["selfsubjectaccessreviews"]:
            self._send(201, self._review(body))
        elif path == "/openapi/v2" and "protobuf" in self.headers.get("Accept", ""):
            self._send_bytes(200, OPENAPI_V2, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
        elif self.command == "GET" and (found := discovery(path, served)) is not None:
            self._send(200, found)
        else:
            request = requests.read(self.command, path, query, self.headers.get("Accept", ""), served)
            self._asked = request
            self._serve(request, body)

    def _serve(self, request: Request, body: object) -> None:
        rule = self._rule(request)
        if rule is not None:
            self._suffer(rule)
        status, answer = 500, None
        try:
            if rule is not None and rule.status and not (rule.status == 410 and request.verb == "watch"):
                kind = request.resource
                raise error_of(
                    rule, kind, request.verb, request.namespace, request.name, subresource=request.subresource
                )
            if self._changes:
                media = self.headers.get("Content-Type", "").split(";")[0].strip()
                status, answer = requests.write(self._api.store, request, body, media)
            else:
                status, answer = 200, self._read(request, rule)
        except ApiError as error:
            status = error.code
            if rule is None or not (rule.lost or rule.hang_up):
                raise
        lost = rule is not None and (rule.lost or rule.hang_up)
        self._note(status, lost=lost, version=metadata(answer or {}).get("resourceVersion", ""))
        if lost:
            raise _ResetConnectionError
        if answer is not None:
            self._send(status, answer)

    def _suffer(self, rule: Rule) -> None:
        """Let a rule hold the request, before or after its client is gone."""
        if rule.hang_up:
            _abort(self.connection)
        if rule.delay or rule.hold:
            self._api.faults.hold(rule, self._api.stopping)
            if self._api.stopping.is_set():
                raise _ResetConnectionError

    @property
    def _changes(self) -> bool:
        asked = self._asked
        return asked is not None and asked.verb in requests.MUTATING and asked.subresource != "exec"

    @property
    def _identity(self) -> str:
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        return token.strip() if kind.lower() == "bearer" else ""

    def _read(self, request: Request, rule: Rule | None) -> Json | None:
        """Answer a request that changes nothing; None where it was a stream and has been sent."""
        store, now = self._api.store, self._api.clock.time()
        if request.verb == "watch":
            self._watch(request, gone=rule is not None and rule.status == 410)
        elif request.subresource == "log":
            self._log(request)
        elif request.subresource == "exec":
            self._exec(request)
        elif request.verb == "list":
            return requests.listing(store, request, now, store.oldest(request.stored))
        else:
            found = store.get(request.stored, request.namespace, request.name)
            if request.as_table and request.subresource != "scale":
                return requests.rows(store, request, [found], metadata(found)["resourceVersion"], now)
            return request.shown(found)
        return None

    def _rule(self, request: Request) -> Rule | None:
        if not self._door.faulty:
            return None
        return self._api.faults.take(
            Asked(request.verb, request.kind, request.namespace, request.name, self.path, self._identity)
        )

    def _note(self, status: int, *, lost: bool = False, version: str = "") -> None:
        """Write the request down, once."""
        if self._noted:
            return
        self._noted = True
        asked, body = self._asked, self._body_sent
        dry_run = isinstance(body, dict) and body.get("dryRun") == ["All"]
        self._api.journal.add(
            received=self._received,
            at=self._api.clock.time(),
            method=self.command,
            path=self.path,
            verb=asked.verb if asked else "",
            resource=asked.resource.plural if asked else "",
            subresource=asked.subresource if asked else "",
            namespace=asked.namespace if asked else "",
            name=asked.name if asked else "",
            dry_run=dry_run or (asked is not None and asked.dry_run),
            user_agent=self.headers.get("User-Agent", ""),
            identity=self._identity,
            body=body if isinstance(body, (dict, list)) else None,
            status=status,
            lost=lost,
            changes=self._changes,
            version=version,
        )

    def _review(self, body: object) -> Json:
        review: Json = body if isinstance(body, dict) else {}
        asked = review.get("spec", {}).get("resourceAttributes") or {}
        plural, sub = asked.get("resource", ""), asked.get("subresource", "")
        kind = f"{plural}/{sub}" if sub else plural
        group = asked.get("group", "")
        served = any((one.group, one.plural) == (group, plural) for one in self._api.served())
        allowed = self._api.faults.allows(
            Asked(asked.get("verb", ""), kind, asked.get("namespace", ""), asked.get("name", ""), "", self._identity)
        )
        return {
            "kind": "SelfSubjectAccessReview",
            "apiVersion": "authorization.k8s.io/v1",
            "metadata": {},
            "spec": review.get("spec", {}),
            "status": {"allowed": allowed, "reason": "" if allowed else f"no rule allows {plural if served else kind}"},
        }

    # -- streams ------------------------------------------------------------------------------------------------------

    def _watch(self, request: Request, *, gone: bool) -> None:
        if request.query.get("sendInitialEvents") == "true":
            raise ApiError(422, "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
        api, matches = self._api, requests.selection(request)
        lifetime = float(request.query.get("timeoutSeconds") or 1800)
        begun = asked = time.monotonic()
        self._begin_stream("application/json")
        if gone:
            self._chunk(_event("ERROR", ApiError(410, "too old resource version: 1 (1000)").status()))
            self._end_stream()
            return
        version = request.query.get("resourceVersion") or "0"
        seen = int(version) if version.isdecimal() else 0
        if seen == 0:
            things, seen = api.store.listing(request.stored, request.namespace)
            for thing in things:
                if matches(thing):
                    self._chunk(_event("ADDED", self._shown(request, thing)))
        bookmarks = request.query.get("allowWatchBookmarks") in ("1", "true")
        while time.monotonic() - begun < lifetime and not api.stopping.is_set():
            self._check_client()
            try:
                changes, now_at = api.store.wait(request.stored, seen, _POLL)
            except ApiError as error:
                self._chunk(_event("ERROR", error.status()))
                break
            self._wait_while_frozen()
            for change in changes:
                word = _selected(change, matches)
                if word:
                    self._chunk(_event(word, self._shown(request, change.thing)))
            seen = max(seen, now_at)
            if bookmarks and time.monotonic() - asked >= api.bookmark_interval:
                asked = time.monotonic()
                self._chunk(_event("BOOKMARK", _bookmark(request, seen)))
        self._end_stream()

    def _shown(self, request: Request, thing: Json) -> Json:
        if request.as_table:
            version, now = metadata(thing)["resourceVersion"], self._api.clock.time()
            return requests.rows(self._api.store, request, [thing], version, now)
        return request.shown(thing)

    def _log(self, request: Request) -> None:
        query = request.query
        log = self._api.kubelets.log(
            request.namespace, request.name, query.get("container", ""), previous=query.get("previous") == "true"
        )
        deafness, seen = log.deafness, log.newest
        lines = [line for line in log.lines() if line.number <= seen]
        since = self._since(query)
        # The kubelet is given whole seconds, and keeps the lines of that second.
        chosen = [line for line in lines if line.at >= since]
        if query.get("tailLines"):
            count = int(query["tailLines"])
            chosen = chosen[len(chosen) - min(count, len(chosen)) :]
        left = int(query["limitBytes"]) if query.get("limitBytes") else None
        stamped, follow = query.get("timestamps") == "true", query.get("follow") == "true"
        self._begin_stream("text/plain")
        while True:
            for line in chosen:
                text = (rfc3339_nano(line.at).encode() + b" " if stamped else b"") + line.text + b"\n"
                if left is not None:
                    text, left = text[:left], left - min(left, len(text))
                if text:
                    self._chunk(text)
            if not follow or left == 0 or self._api.stopping.is_set():
                break
            ended = log.closed
            chosen = log.after(seen, 0 if ended else _POLL)
            self._check_client()
            self._wait_while_frozen()
            if log.deafness != deafness:
                chosen = []
                self._api.stopping.wait(_POLL)
            elif ended and not chosen:
                break
            seen = chosen[-1].number if chosen else seen
        self._end_stream()

    def _since(self, query: Mapping[str, str]) -> int:
        if query.get("sinceSeconds"):
            return int((self._api.clock.time() - float(query["sinceSeconds"])) * 1e9)
        if query.get("sinceTime"):
            try:
                return int(parse_time(query["sinceTime"])) * 1_000_000_000
            except ValueError as error:
                raise ApiError(400, f"sinceTime: {error}") from error
        return 0

    def _exec(self, request: Request) -> None:
        ended = threading.Event()
        sockets: list[WebSocket] = []

        def emit(channel: int, data: bytes) -> None:
            self._wait_while_frozen()
            sockets[0].send(bytes([channel]) + data)

        shell = self._api.kubelets.shell(
            request.namespace, request.name, request.query.get("container", ""), emit, ended
        )
        if self.headers.get("Upgrade", "").lower() != "websocket":
            raise ApiError(400, "unable to upgrade: only WebSockets are simulated")
        offered = [word.strip() for word in self.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        chosen = next((word for word in _PROTOCOLS if word in offered), None)
        if chosen is None:
            raise ApiError(400, f"unable to upgrade: none of the protocols is known: {', '.join(offered)}")
        self._note(101)
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept_key(self.headers.get("Sec-WebSocket-Key", "")))
        self.send_header("Sec-WebSocket-Protocol", chosen)
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        socket_ = WebSocket(self.rfile, self.wfile)
        sockets.append(socket_)
        reader = threading.Thread(target=_drain, args=(socket_, ended), name="simulated-exec", daemon=True)
        reader.start()
        try:
            status = _outcome(shell, request.commands)
            socket_.send(b"\x03" + encode(status))
        finally:
            socket_.close()
            ended.wait(1.0)
            _hang_up(self.connection)
            reader.join()

    # -- the wire -----------------------------------------------------------------------------------------------------

    def _body(self) -> object:
        size = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(size) if size else b""
        if len(data) < size:
            raise _ResetConnectionError  # a real server does nothing either: "unexpected EOF"
        if not data:
            return None
        if "json" not in self.headers.get("Content-Type", "json"):
            raise ApiError(415, "the body of the request was in an unknown format: only JSON is simulated")
        try:
            return json.loads(data)
        except ValueError as error:
            raise ApiError(400, f"error decoding the body of the request: {error}") from error

    def _wait_while_frozen(self) -> None:
        if self.path.startswith("/simulator"):
            return
        while self._door.faulty and self._api.faults.mode is ServerMode.FROZEN:
            if self._api.stopping.wait(_POLL / 5):
                raise _ResetConnectionError
            self._check_client()

    def _check_client(self) -> None:
        """Raise OSError where the client has gone: a stream that has nothing to say would not notice."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            raise ConnectionResetError

    def _refuse(self, error: ApiError) -> None:
        body = encode(error.status())
        self.send_response(error.code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if error.retry:
            self.send_header("Retry-After", str(error.retry))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _send(self, status: int, answer: Json) -> None:
        self._send_bytes(status, encode(answer), "application/json")

    def _send_bytes(self, status: int, body: bytes, kind: str) -> None:
        self._note(status)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _begin_stream(self, kind: str) -> None:
        self._note(200)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _end_stream(self) -> None:
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()


def _event(word: str, thing: Json) -> bytes:
    return encode({"type": word, "object": thing}) + b"\n"


def _selected(change: Change, matches: Match) -> str:
    """Give the word for a change as a selector sees it: an object that no longer matches is deleted."""
    now = change.kind != "DELETED" and matches(change.thing)
    before = change.before is not None and matches(change.before)
    if now:
        return "MODIFIED" if before else "ADDED"
    return "DELETED" if before else ""


def _bookmark(request: Request, version: int) -> Json:
    about = {"resourceVersion": str(version), "creationTimestamp": None}
    if request.as_table:
        return table(request.resource, [], str(version), 0.0)
    return {"kind": request.resource.kind, "apiVersion": request.resource.api_version, "metadata": about}


def _drain(socket_: WebSocket, ended: threading.Event) -> None:
    """Read what the client sends (standard input has no use here) until it goes."""
    for _ in socket_.messages():
        pass
    ended.set()


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _outcome(shell: Shell, command: tuple[str, ...]) -> Json:
    """Run a command and give the Status that channel 3 carries."""
    if not command:
        return ApiError(400, "you must specify at least 1 command for the container").status()
    try:
        code = shell.run(command)
    except CommandNotFoundError as missing:
        return ApiError(
            500,
            "error executing command in container: failed to exec in container: OCI runtime exec failed: exec failed: "
            f'unable to start container process: exec: "{missing}": executable file not found in $PATH: unknown',
        ).status()
    if code == 0:
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: {list(command)}, exit code {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
