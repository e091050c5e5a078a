"""The one way to the Kubernetes API: raw JSON over the official client's configuration, credentials, TLS and pool.

Why not its models, informer, watch or stream: they cost 80 MB and ten times the time, and loop, leak or raise in the
very situations this project exists for. Nothing here retries or caches; every request has a time limit. A write that
ends in `Unreachable` may or may not have happened: only reading again can tell.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from subprocess import SubprocessError
from typing import TYPE_CHECKING, Literal, TypeAlias, cast
from urllib.parse import urlencode

import urllib3
import yaml
from kubernetes.client import ApiClient, Configuration
from kubernetes.config import ConfigException, load_kube_config
from kubernetes.config.incluster_config import InClusterConfigLoader
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
)
from urllib3.util.ssl_ import create_urllib3_context

from foundation.kube.connections import Patience, be_patient
from foundation.kube.errors import (
    ConfigurationProblem,
    KubeError,
    NotUnderstood,
    Target,
    Unauthorized,
    Unreachable,
    from_answer,
    one_line,
)
from foundation.kube.paths import (
    configmap_path,
    configmaps_path,
    core_path,
    endpoints_path,
    endpointslices_path,
    events_path,
    eviction_path,
    group_path,
    namespace_path,
    pod_exec_path,
    pod_log_path,
    pod_path,
    pods_path,
    service_path,
    services_path,
    statefulset_path,
    statefulsets_path,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

    from urllib3.response import BaseHTTPResponse

    from foundation.kube.body import Body

__all__ = [
    "Json",
    "KubeClient",
    "Query",
    "Stream",
    "configmap_path",
    "configmaps_path",
    "core_path",
    "endpoints_path",
    "endpointslices_path",
    "events_path",
    "eviction_path",
    "group_path",
    "namespace_path",
    "pod_exec_path",
    "pod_log_path",
    "pod_path",
    "pods_path",
    "service_path",
    "services_path",
    "statefulset_path",
    "statefulsets_path",
]

Json: TypeAlias = dict[str, object]
Query: TypeAlias = "Mapping[str, str | int | bool]"

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}
_CHUNK = 1 << 16
_MOST_PAGES = 1000


def keepalive() -> list[tuple[int, int, int]]:
    """Socket options with which the kernel itself notices a vanished peer, within about 30 s (15 + 3 x 5)."""
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # Linux names; elsewhere the idle time limits alone do the work
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options


def cut(sock: socket.socket) -> None:
    """End a connection that another thread may be blocked on: its read returns at once."""
    with contextlib.suppress(OSError):  # already closed or never connected
        # Not SSLSocket.shutdown, which forgets its TLS state while the other thread still uses it.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def load_configuration(
    kubeconfig: str | None,
    context: str | None,
    environ: Mapping[str, str],
    service_account: Path = _SERVICE_ACCOUNT,
) -> Configuration:
    """The official client's configuration: the file given, else the pod's service account, else the default kubeconfig.

    Raises ConfigurationProblem. Never writes to the kubeconfig.
    """
    conf = Configuration()
    token = service_account / "token"
    in_cluster = bool(environ.get("KUBERNETES_SERVICE_HOST")) and token.is_file()
    if kubeconfig is None and context is None and in_cluster:
        what = "the pod's service account"
    else:
        path = kubeconfig or environ.get("KUBECONFIG") or "~/.kube/config"
        what = f"kubeconfig {path}"
        if not any(Path(p).expanduser().is_file() for p in path.split(os.pathsep) if p):
            also = "" if kubeconfig else ", and this is not a pod with a service account token"
            raise ConfigurationProblem(f"no way to Kubernetes is configured: {what} does not exist{also}")
    try:
        if what.startswith("kubeconfig"):
            load_kube_config(  # type: ignore[no-untyped-call]
                config_file=path, context=context, client_configuration=conf, persist_config=False
            )
        else:
            loader = InClusterConfigLoader(  # type: ignore[no-untyped-call]
                str(token), str(service_account / "ca.crt"), environ=environ
            )
            loader.load_and_set(conf)  # type: ignore[no-untyped-call]
    except yaml.YAMLError as e:
        raise ConfigurationProblem(f"{what} is not YAML: {one_line(str(e))}") from e
    except (ConfigException, OSError, ValueError, TypeError, KeyError, AttributeError) as e:
        raise ConfigurationProblem(f"cannot use {what}: {one_line(str(e)) or type(e).__name__}") from e
    if not conf.host.startswith(("http://", "https://")):
        raise ConfigurationProblem(f"{what} names no API server")
    return conf


class KubeClient:
    """Requests to one API server with one identity. Safe to share between threads."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        connect_timeout: float = 3.0,
        read_timeout: float = 10.0,
        total_timeout: float = 30.0,
        max_answer: int = 64 << 20,
        streams: int = 512,
        user_agent: str = "stager-medic",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Times in seconds: to connect; for each silence within an answer; for a whole short answer.

        `max_answer` is in bytes; `streams` is how many long connections may be kept for reuse; `user_agent` is what
        the API server's audit log tells this process by.
        """
        self.configuration = configuration
        self.connect_timeout, self.read_timeout, self.total_timeout = connect_timeout, read_timeout, total_timeout
        self._max_answer, self._clock = max_answer, clock
        self._user_agent = user_agent
        self._mine = threading.local()
        self._auth_lock = threading.Lock()
        self._seen_time: tuple[float, float] | None = None
        configuration.socket_options = keepalive()
        configuration.connection_pool_maxsize = 16
        self._short: urllib3.PoolManager = ApiClient(configuration).rest_client.pool_manager
        # Streams hold their connection for minutes; in the same pool they would push short requests out of it.
        configuration.connection_pool_maxsize = streams
        self._long: urllib3.PoolManager = ApiClient(configuration).rest_client.pool_manager
        for pool in (self._short, self._long):
            be_patient(pool, self._mine)

    @classmethod
    def connect(
        cls,
        kubeconfig: str | None = None,
        context: str | None = None,
        user_agent: str = "stager-medic",
        clock: Callable[[], float] = time.monotonic,
    ) -> KubeClient:
        """A client for the kubeconfig given, else for the pod's own service account, else for the default kubeconfig.

        Opens no connection yet. Raises ConfigurationProblem, one line.
        """
        return cls(load_configuration(kubeconfig, context, os.environ), user_agent=user_agent, clock=clock)

    @property
    def host(self) -> str:
        """The API server's URL, without a trailing slash."""
        return self.configuration.host.rstrip("/")

    def close(self) -> None:
        """Drop idle connections. Streams in use are closed by those who opened them."""
        for manager in (self._short, self._long):
            for key in manager.pools.keys():  # noqa: SIM118  # not a mapping that can be iterated
                pool = manager.pools.get(key)
                if pool is not None:
                    pool.close()  # clear() alone leaves that to the garbage collector
            manager.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def server_clock(self) -> tuple[float, float] | None:
        """The server's time from its newest Date header (Unix seconds, whole), and the local monotonic time then."""
        return self._seen_time

    def answer_date(self) -> float | None:
        """The Date header of the newest answer to this thread (Unix seconds, whole); None without a usable one."""
        date: float | None = getattr(self._mine, "date", None)
        return date

    # --- requests -------------------------------------------------------------------------------------------------

    def get(self, path: str, query: Query | None = None) -> Json:
        """One object."""
        return self._json("GET", Target.of("get", path), path, query=query)

    def list_all(self, path: str, query: Query | None = None) -> tuple[list[Json], str]:
        """All objects of a collection, page by page, and the resourceVersion of the list.

        A 410 between pages restarts once. Raises NotUnderstood when an item is not an object: whole or nothing.
        """
        items, version = self.list_raw(path, query)
        good = [item for item in items if isinstance(item, dict)]
        if len(good) != len(items):
            raise NotUnderstood("the list holds something that is no object", target=Target.of("list", path))
        return good, version

    def list_raw(self, path: str, query: Query | None = None) -> tuple[list[object], str]:
        """As `list_all`, but items of any shape, for callers that count and skip the malformed ones."""
        target = Target.of("list", path)
        restarted = False
        while True:
            try:
                return self._pages(target, path, dict(query or {}))
            except KubeError as e:
                if e.status != 410 or restarted:
                    raise
                restarted = True

    def create(self, path: str, body: Json, dry_run: bool = False) -> Json:
        """POST a new object. `dry_run`: everything but the storing. Raises Conflict when it exists."""
        return self._json(
            "POST", Target.of("create", path), path, query={"dryRun": "All"} if dry_run else None, body=body
        )

    def replace(self, path: str, body: Json) -> Json:
        """PUT an object read before. Raises Conflict when it changed since.

        Raises ValueError without `metadata.resourceVersion`, as that would overwrite whatever is there.
        """
        metadata = body.get("metadata")
        if not isinstance(metadata, dict) or not metadata.get("resourceVersion"):
            raise ValueError(f"replacing {path} needs metadata.resourceVersion in the body")
        return self._json("PUT", Target.of("update", path), path, body=body)

    def patch(self, path: str, body: object, kind: Literal["merge", "strategic", "json"] = "merge") -> Json:
        """PATCH an object; a resourceVersion in a merge patch makes it conditional (Conflict)."""
        return self._json("PATCH", Target.of("patch", path), path, body=body, content_type=_PATCH_TYPES[kind])

    def delete(
        self,
        path: str,
        uid: str | None = None,
        resource_version: str | None = None,
        grace: int | None = None,
        dry_run: bool = False,
    ) -> Json:
        """DELETE one object, only if it still has this uid and resourceVersion (else Conflict). `grace` in seconds.

        Refuses a collection's path with ValueError: this project never deletes "all".
        """
        target = Target.of("delete", path)
        if not target.name:
            raise ValueError(f"{path} names no single object to delete")
        given = {"uid": uid, "resourceVersion": resource_version}
        if "" in given.values():
            raise ValueError(f"deleting {path}: an empty precondition would not protect it")
        body: Json = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if preconditions := {k: v for k, v in given.items() if v is not None}:
            body["preconditions"] = preconditions
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        if dry_run:
            body["dryRun"] = ["All"]
        return self._json("DELETE", target, path, body=body)

    def stream(self, path: str, query: Query | None = None, read_timeout: float = 60.0, verb: str = "get") -> Stream:
        """A long answer, read as it comes. The request is sent at `open()` or the first iteration.

        `read_timeout`: seconds of silence after which it ends as `idle`.
        """
        return Stream(self, Target.of(verb, path), path, query, read_timeout)

    # --- for this package -----------------------------------------------------------------------------------------

    def credentials(self, target: Target) -> dict[str, str]:
        """The headers that authenticate one request; a token file or plugin is read anew when its time has come."""
        try:
            with self._auth_lock:  # the refresh rewrites the shared configuration
                settings = self.configuration.auth_settings()
        except (ConfigException, OSError, ValueError, TypeError, KeyError, AttributeError, SubprocessError) as e:
            raise Unauthorized(f"cannot read the credentials: {e}", target=target, reason="NoCredentials") from e
        # The in-cluster loader keeps a final newline of the token file, which no header may hold.
        found: dict[str, str] = {}
        for setting in cast("dict[str, Json]", settings).values():
            if setting["in"] == "header" and setting["value"]:
                value = str(setting["value"]).strip()
                if not (value.isascii() and value.isprintable()):
                    # Found here, as http.client would repeat the whole token in its complaint.
                    words = (
                        "the credentials hold a character that no HTTP header may hold: is the token's file damaged?"
                    )
                    raise Unauthorized(words, target=target, reason="NoCredentials")
                found[str(setting["key"])] = value
        return found

    def tls_context(self) -> ssl.SSLContext:
        """TLS as the pool does it, for connections that cannot come from the pool. Reads the files each time."""
        conf = self.configuration
        context = create_urllib3_context()
        if not conf.verify_ssl:
            import ssl

            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        elif conf.ssl_ca_cert or conf.ca_cert_data:
            context.load_verify_locations(cafile=conf.ssl_ca_cert, cadata=conf.ca_cert_data)
        else:
            context.load_default_certs()
        if conf.assert_hostname is False:
            context.check_hostname = False
        if conf.cert_file:
            context.load_cert_chain(conf.cert_file, conf.key_file)
        return context

    def http_proxy(self) -> urllib3.util.Url | None:
        """The HTTP proxy that requests go through, if any."""
        return self._long.proxy if isinstance(self._long, urllib3.ProxyManager) else None

    def unreachable(self, target: Target, e: Exception, waited: float) -> Unreachable:
        """The typed error for whatever a socket, TLS or HTTP library raised; `waited` is the silence allowed."""
        if isinstance(e, ConnectTimeoutError) and not isinstance(e, NewConnectionError):
            words = f"no connection to {self.host} within {self.connect_timeout:g} s"
        elif isinstance(e, TimeoutError | ReadTimeoutError):
            words = f"no answer from {self.host} within {waited:g} s"
        elif isinstance(e, NameResolutionError | NewConnectionError):
            words = f"no connection to {self.host}: {e.__cause__ or e}"
        elif isinstance(e, ProtocolError) and len(e.args) > 1:
            words = f"the connection to {self.host} broke: {e.args[1] or type(e.args[1]).__name__}"
        else:
            cause = e.args[0] if isinstance(e, HTTPError) and e.args else e
            words = f"no exchange with {self.host}: {str(cause) or type(e).__name__}"
        return Unreachable(words, target=target, retry=True)

    def open_long(self, target: Target, path: str, query: Query | None, read_timeout: float, stream: Stream) -> None:
        """Send a stream's request and give it its response."""
        patience = Patience(self._clock, read_timeout, read_timeout, stream.attach)
        stream.response = self._send(
            "GET", target, path, pool=self._long, query=query, body=None, content_type=None, patience=patience
        )
        encoding = stream.response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            stream.response.close()
            raise NotUnderstood(f"the answer comes as {one_line(encoding)}, which was not asked for", target=target)
        patience.without_end()
        stream.body = patience.body(read_timeout)

    def _send(
        self,
        method: str,
        target: Target,
        path: str,
        *,
        pool: urllib3.PoolManager,
        query: Query | None,
        body: object | None,
        content_type: str | None,
        patience: Patience,
    ) -> BaseHTTPResponse:
        headers = {"Accept": "application/json, */*", "User-Agent": self._user_agent, **self.credentials(target)}
        if content_type:
            headers["Content-Type"] = content_type
        words = {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in (query or {}).items()}
        self._mine.date, self._mine.patience = None, patience
        try:
            response = pool.request(
                method,
                self.host + path + ("?" + urlencode(words) if words else ""),
                body=None if body is None else json.dumps(body, separators=(",", ":")).encode(),
                headers=headers,
                timeout=urllib3.Timeout(connect=self.connect_timeout, read=patience.left()),
                retries=False,
                preload_content=False,
            )
        except (HTTPError, OSError, ValueError) as e:
            raise self.unreachable(target, e, patience.waited) from e
        self._note_date(response.headers.get("Date"))
        if not 200 <= response.status < 300:
            said = self._body(target, response, patience, lenient=True)
            raise from_answer(target, response.status, response.headers, said)
        return response

    def _note_date(self, date: str | None) -> None:
        self._mine.date = None
        with contextlib.suppress(ValueError, OverflowError):  # no Date, or one that a proxy garbled: keep the older
            told = parsedate_to_datetime(date or "")
            if told.tzinfo is not None:
                self._mine.date = told.timestamp()
                self._seen_time = (self._mine.date, self._clock())

    def _body(self, target: Target, response: BaseHTTPResponse, patience: Patience, *, lenient: bool = False) -> bytes:
        """The whole answer within the total time and size; `lenient`: what came of it, for an error's words."""
        parts: list[bytes] = []
        size, done = 0, False
        try:
            while chunk := response.read1(_CHUNK):
                parts.append(chunk)
                size += len(chunk)
                if size > self._max_answer:
                    raise NotUnderstood(f"the answer is longer than {self._max_answer} bytes", target=target)
            done = True
        except (HTTPError, OSError, ValueError) as e:
            if not lenient:
                raise self.unreachable(target, e, patience.waited) from e
        except KubeError:
            if not lenient:
                raise
        finally:
            if done:
                response.release_conn()
            else:
                response.close()
        return b"".join(parts)

    def _json(
        self,
        method: str,
        target: Target,
        path: str,
        *,
        query: Query | None = None,
        body: object | None = None,
        content_type: str = "application/json",
    ) -> Json:
        patience = Patience(self._clock, self.read_timeout, self.total_timeout, None)
        response = self._send(
            method,
            target,
            path,
            pool=self._short,
            query=query,
            body=body,
            content_type=None if body is None else content_type,
            patience=patience,
        )
        raw = self._body(target, response, patience)
        try:
            answer: object = json.loads(raw)
        except (ValueError, RecursionError) as e:
            start = raw[:60].decode("utf-8", "replace")
            raise NotUnderstood(f"the answer is not JSON but starts with {start!r}", target=target) from e
        if not isinstance(answer, dict):
            raise NotUnderstood(f"the answer is not an object but {type(answer).__name__}", target=target)
        return answer

    def _pages(self, target: Target, path: str, query: dict[str, str | int | bool]) -> tuple[list[object], str]:
        found: list[object] = []
        query.setdefault("limit", 500)
        for _ in range(_MOST_PAGES):
            answer = self._json("GET", target, path, query=query)
            items, metadata = answer.get("items"), answer.get("metadata")
            # Go writes an empty slice as null where the field is not initialised; a missing field is no list at all.
            if "items" not in answer or not isinstance(items, list | None) or not isinstance(metadata, dict):
                raise NotUnderstood("the answer is not a list with items and metadata", target=target)
            found += items or []
            token, version = metadata.get("continue") or "", metadata.get("resourceVersion")
            if not isinstance(version, str) or not version or not isinstance(token, str):
                raise NotUnderstood("the list has no metadata.resourceVersion", target=target)
            if not token:
                return found, version
            if token == query.get("continue"):
                raise NotUnderstood("the list goes round in circles: its continue token repeats", target=target)
            query["continue"] = token
        raise NotUnderstood(f"the list does not end after {_MOST_PAGES} pages", target=target)


class Stream:
    """One long answer as an iterator of byte chunks. Iterate in one thread; `close()` from any.

    Raises KubeError when it cannot be opened or breaks; otherwise `ended` says why it stopped.
    """

    def __init__(self, client: KubeClient, target: Target, path: str, query: Query | None, read_timeout: float) -> None:
        self._client, self.target, self._path, self._query = client, target, path, query
        self._read_timeout = read_timeout
        self.response: BaseHTTPResponse | None = None
        self.body: Body | None = None
        """What comes after the headers; the response itself serves only to be closed."""
        self.ended: Literal["", "eof", "idle", "closed"] = ""
        """Empty while it runs. `idle`: nothing came for the read time limit, be it before or after the headers."""
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None

    @property
    def opened(self) -> bool:
        """Whether the server answered the request with headers."""
        return self.response is not None

    def attach(self, sock: socket.socket | None) -> None:
        """Take note of the connection as soon as there is one, so that `close()` works while headers are awaited."""
        with self._lock:
            self._sock = sock
            if self._closing.is_set() and sock is not None:
                cut(sock)

    def open(self) -> None:
        """Send the request and wait for the headers. Does nothing the second time."""
        if self.response is not None or self.ended:
            return
        if self._closing.is_set():
            self.ended = "closed"
            return
        try:
            self._client.open_long(self.target, self._path, self._query, self._read_timeout, self)
        except Unreachable as e:
            if self._closing.is_set():
                self._end("closed")
            elif isinstance(e.__cause__, ReadTimeoutError):
                self._end("idle")
            else:
                raise
        if self._closing.is_set():
            self._end("closed")

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        self.open()
        body = self.body
        if self.ended or body is None:
            raise StopIteration
        try:
            chunk = body.read()
        except (HTTPError, OSError, ValueError) as e:
            if not self._closing.is_set() and not isinstance(e, TimeoutError):
                self._drop()
                if isinstance(e, OSError) and not isinstance(e, HTTPError):
                    e = ProtocolError("Connection broken", e)
                raise self._client.unreachable(self.target, e, self._read_timeout) from e
            self._end("closed" if self._closing.is_set() else "idle")
            raise StopIteration from None
        if self._closing.is_set() or not chunk:
            self._end("closed" if self._closing.is_set() else "eof")
            raise StopIteration
        return chunk

    def close(self) -> None:
        """End the stream; a read blocked in another thread returns at once."""
        with self._lock:
            self._closing.set()
            if self._sock is not None:
                cut(self._sock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
        self._end(self.ended or "closed")

    def _end(self, how: Literal["eof", "idle", "closed"]) -> None:
        self.ended = how
        self._drop()

    def _drop(self) -> None:
        """Give back the connection: never for reuse, as something of the answer may still be on its way."""
        with self._lock:
            self._sock = None
        if self.response is not None:
            self.response.close()
