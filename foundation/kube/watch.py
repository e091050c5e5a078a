"""A collection of Kubernetes objects, kept current by list and watch, reduced to what the caller wants of each.

The copy may be behind the API server; `age()` says by how much at most nothing is known. Decisions that destroy
something read the API server anew instead.
"""

from __future__ import annotations

import json
import threading
import time
from random import Random, SystemRandom
from types import MappingProxyType
from typing import TYPE_CHECKING, Generic, TypeVar

from foundation.kube.backoff import Backoff
from foundation.kube.errors import Gone, KubeError, NotUnderstood, Target, Unreachable, from_status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from foundation.kube.client import Json, KubeClient, Query, Stream

T = TypeVar("T")

_LONGEST_EVENT = 16 << 20
_HEALTHY_AFTER = 30.0
_OVERDUE = 30.0
"""Seconds by which a server may be late to end a watch, after which it is ended here."""


class Watcher(Generic[T]):
    """Runs in a thread of the caller's (`run`); everything else may be called from any thread.

    `transform` gives what to keep of an object, or None to keep nothing; what it raises for a malformed object is
    counted, never fatal.
    """

    def __init__(
        self,
        client: KubeClient,
        path: str,
        transform: Callable[[Json], T | None],
        query: Query | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        rng: Random | None = None,
        idle_timeout: float = 90.0,
        backoff: Backoff | None = None,
    ) -> None:
        """`sleep` waits that many seconds, by default on the event given to `run`.

        `idle_timeout`: seconds without a byte, after which the watch is opened anew from where it was: a half-open
        connection, or a server that sends no bookmarks, costs one cheap request. More than 60 by default, because that
        is how often an API server sends bookmarks: a limit of 60 would cut every quiet watch just before its bookmark.
        """
        self._client, self._path, self._transform, self._query = client, path, transform, dict(query or {})
        self._clock, self._sleep, self._idle_timeout = clock, sleep, idle_timeout
        self._rng = rng if rng is not None else SystemRandom()
        self._backoff = backoff if backoff is not None else Backoff(rng=self._rng)
        self._target = Target.of("watch", path)
        self._lock = threading.Lock()
        self._items: dict[str, T] = {}
        self._version: str | None = None
        self._stream: Stream | None = None
        self._alive_at: float | None = None
        self._refusals = 0
        self._gone_before = False
        self._opened = 0
        self.synced = False
        """Whether a whole list was read at least once."""
        self.relists = 0
        """Lists after the first."""
        self.malformed = 0
        """Objects and events that could not be read."""
        self.error: KubeError | None = None
        """Why the last attempt failed; None while the API server serves the watch."""

    @property
    def reconnects(self) -> int:
        """Watches opened after the first."""
        return max(0, self._opened - 1)

    def items(self) -> Mapping[str, T]:
        """What is known now, by `namespace/name` (cluster-scoped: `name`): a copy that does not change."""
        with self._lock:
            return MappingProxyType(dict(self._items))

    def age(self) -> float | None:
        """Seconds since the API server last proved alive here; None before the first time.

        Proof is a whole list, an event, a bookmark, or the headers of a watch opened anew.
        """
        alive_at = self._alive_at
        return None if alive_at is None else max(0.0, self._clock() - alive_at)

    def kill(self) -> None:
        """Cut the connection of the moment. A `run` whose event is set returns then; otherwise it connects anew."""
        with self._lock:
            stream = self._stream
        if stream is not None:
            stream.close()

    def run(self, stop: threading.Event) -> None:
        """List and watch until `stop` is set; to end at once, set it and call `kill()`. Never raises for the API."""
        sleep = self._sleep if self._sleep is not None else stop.wait
        while not stop.is_set():
            wait: float | None = None
            try:
                if self._version is None:
                    self._list()
                wait = self._watch(self._version or "", stop)
            except KubeError as e:
                wait = self._failed(e)
            if wait and not stop.is_set():
                sleep(wait)

    def _failed(self, e: KubeError) -> float:
        """Note the error, decide whether to list anew, and say how long to wait first."""
        self.error = e
        if isinstance(e, Gone):
            self._version = None
            if not self._gone_before:
                self._gone_before = True
                return 0.0
        elif not isinstance(e, Unreachable) and self._version is not None:
            # An answer that keeps refusing this resourceVersion without saying 410 ("too large resource version" after
            # a restore of etcd; garbage of a proxy) is cured by no amount of resuming.
            self._refusals += 1
            if self._refusals >= 3 or isinstance(e, NotUnderstood):
                self._version, self._refusals = None, 0
        return self._backoff.next(e.retry_after)

    def _list(self) -> None:
        objects, version = self._client.list_raw(self._path, self._query)
        items: dict[str, T] = {}
        for thing in objects:
            try:
                key, kept = self._read(thing)
            except Exception:  # noqa: BLE001  # one bad object must not cost the others, whatever its reader makes of it
                self.malformed += 1
                continue
            if kept is not None:
                items[key] = kept
        with self._lock:
            self._items, self._version = items, version
        self.relists += self.synced
        self.synced = True
        self._alive_at = self._clock()

    def _watch(self, version: str, stop: threading.Event) -> float:
        """One watch from `version` to its end; returns how long to wait before the next. Raises KubeError."""
        seconds = int(self._rng.uniform(240, 360))
        query: dict[str, str | int | bool] = {
            **self._query,
            "watch": True,
            "allowWatchBookmarks": True,
            "timeoutSeconds": seconds,
            "resourceVersion": version,
        }
        silence = min(self._idle_timeout, seconds + _OVERDUE)
        with self._client.stream(self._path, query, silence, verb="watch") as stream:
            with self._lock:
                self._stream = stream
            try:
                if stop.is_set():  # set before kill() could see this stream
                    return 0.0
                stream.open()
                if stream.ended == "idle":
                    words = f"no answer from {self._client.host} within {silence:g} s"
                    raise Unreachable(words, target=self._target, retry=True)
                if not stream.opened:  # killed meanwhile
                    return self._backoff.next()
                self._opened += 1
                opened_at, self.error = self._clock(), None
                self._alive_at = opened_at
                try:
                    self._read_events(stream, opened_at + seconds + _OVERDUE)
                finally:
                    if self._clock() - opened_at >= _HEALTHY_AFTER:
                        self._healthy()
            finally:
                with self._lock:
                    self._stream = None
        return self._backoff.next()

    def _read_events(self, stream: Stream, until: float) -> None:
        """Read to the stream's end; one that dribbles on after `until`, when it should have ended, is left there."""
        rest = b""
        for chunk in stream:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.strip():
                    self._event(line)
            if len(rest) > _LONGEST_EVENT:
                raise NotUnderstood(f"an event is longer than {_LONGEST_EVENT} bytes", target=self._target)
            if self._clock() > until:
                return

    def _event(self, line: bytes) -> None:
        try:
            event = json.loads(line)
            kind, thing = event["type"], event["object"]
        except (ValueError, TypeError, KeyError, RecursionError) as e:
            start = line[:60].decode("utf-8", "replace")
            raise NotUnderstood(f"not a watch event: {start!r}", target=self._target) from e
        if kind == "ERROR":
            code = thing.get("code") if isinstance(thing, dict) else None
            raise from_status(self._target, code if isinstance(code, int) else 500, thing)
        metadata = thing.get("metadata") if isinstance(thing, dict) else None
        version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        try:
            if kind != "BOOKMARK":
                self._apply(kind, thing)
        except Exception:  # noqa: BLE001  # as in _list
            self.malformed += 1
        else:
            self._healthy()
        if isinstance(version, str) and version:
            self._version = version
        self._alive_at = self._clock()

    def _apply(self, kind: object, thing: object) -> None:
        if kind not in {"ADDED", "MODIFIED", "DELETED"}:
            raise ValueError(f"unknown event type {kind!r}")
        key, kept = _key(thing), None
        try:
            if kind != "DELETED":
                kept = self._read(thing)[1]
        finally:  # what was kept of an object that can no longer be read is no longer true either
            with self._lock:
                if kept is None:
                    self._items.pop(key, None)
                else:
                    self._items[key] = kept

    def _read(self, thing: object) -> tuple[str, T | None]:
        key = _key(thing)
        assert isinstance(thing, dict)  # noqa: S101  # _key raised otherwise
        return key, self._transform(thing)

    def _healthy(self) -> None:
        self._backoff.reset()
        self._refusals, self._gone_before = 0, False


def _key(thing: object) -> str:
    """`namespace/name` of an object; raises TypeError, KeyError or ValueError where it has none."""
    if not isinstance(thing, dict):
        raise TypeError("not an object")
    metadata = thing["metadata"]
    name, namespace = metadata["name"], metadata.get("namespace") or ""
    if not isinstance(name, str) or not name or not isinstance(namespace, str):
        raise ValueError("no usable name")
    return f"{namespace}/{name}" if namespace else name
