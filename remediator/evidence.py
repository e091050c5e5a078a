"""Saves what a deletion would destroy: pods' status, their logs, events, probes and the verdict, in one ConfigMap.

What it keeps is chosen field by field (`remediator.excerpt`), texts lose what looks like a secret (`remediator.redact`,
best effort), and the whole is bounded: in time, in memory, and in the size of what is stored, where the newest log
lines are kept longest. What could not be read stands in the document as a sentence; only that the document could not be
stored is an error. It does not decide whether a deletion may go on without evidence.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import json
import re
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from foundation.kube.errors import Conflict, KubeError, NotFound
from foundation.kube.paths import configmap_path, configmaps_path, events_path, pod_log_path, pod_path
from remediator.excerpt import (
    container_names,
    events_excerpt,
    iso,
    look_excerpt,
    mapping,
    mappings,
    newest_lines,
    observation_excerpt,
    pod_excerpt,
    remediation_excerpt,
    scrubbed,
    text,
    verdict_excerpt,
)
from remediator.redact import redact_lines
from remediator.store import MANAGED_BY
from remediator.words import GROUP, KIND, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from foundation.kube.client import Json, KubeClient
    from foundation.layout import Layout
    from foundation.observer import Look, PodLook
    from remediator.ledger import Run
    from remediator.lookout import Sight

FORMAT = "stager-medic.dev/evidence/v1"
KEY = "evidence.json.gz"
ABOUT = (
    "Taken before anything was deleted. Environment, volumes, arguments and annotations are never part of it. "
    "What looks like a secret was removed from logs and other texts, as far as it could be recognised "
    "(best effort): treat the rest as confidential."
)
NAMES = 5
"""How many ConfigMaps one Remediation may have: a resumed run that would delete other pods takes another."""
_LONGEST_DOCUMENT = 64 << 20
_LONGEST_NAME = 253
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class EvidenceUnreadable(ValueError):  # noqa: N818  it says what happened
    """A ConfigMap that holds no evidence. One line."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one capture may take."""

    silence: float = 4.0
    """Seconds without a byte after which a read is given up."""
    request: float = 6.0
    """Seconds for one whole read."""
    total: float = 40.0
    """Seconds for all reads; what is left then is not read."""
    log_bytes: int = 128 << 10
    """Of one container's log, as read and as kept."""
    all_logs: int = 6 << 20
    """Characters of all logs together."""
    events: int = 50
    """Of one pod."""
    pods: int = 60
    """Whose status is read."""
    stored: int = 700_000
    """Bytes of the compressed document. A ConfigMap may hold 1 MiB, encoded in base64 in a request of 1.5 MiB."""


@dataclass(frozen=True, slots=True)
class _Log:
    pod: str
    container: str
    previous: bool


class EvidenceStore:
    """Captures and stores (the protocol `Evidence`). Use it from one thread at a time."""

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        log_lines: int,
        wall: Callable[[], float],
        limits: Limits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`log_lines` of each container's log, 0 for none; `wall` gives Unix time, `clock` only differences."""
        self._client = client
        self._namespace = namespace
        self._log_lines = log_lines
        self._wall = wall
        self._limits = limits or Limits()
        self._clock = clock

    def save(self, run: Run, sight: Sight, keep: Callable[[], None]) -> str:
        """Capture and store; gives the ConfigMap's name. Calls `keep` between its requests, and lets it raise.

        Evidence of this run that is there already, and has the pods of this verdict, is taken for it. Raises KubeError
        where nothing could be stored; then nothing was.
        """
        capture = _Capture(
            self._client, self._namespace, self._log_lines, limits=self._limits, clock=self._clock, keep=keep
        )
        document = capture.document(run, sight.look, captured=iso(self._wall()))
        return self._store(run, sight.look, packed(document, self._limits.stored), keep)

    def _store(self, run: Run, look: Look, raw: bytes, keep: Callable[[], None]) -> str:
        uids = {pod["uid"] for pod in mappings(verdict_excerpt(look)["pods"])}
        last: Conflict | None = None
        for turn in range(1, NAMES + 1):
            name = evidence_name(run.name, turn)
            keep()
            try:
                self._client.create(configmaps_path(self._namespace), _configmap(name, self._namespace, run, raw))
            except Conflict as conflict:
                last = conflict
            else:
                return name
            keep()
            try:
                found = self._client.get(configmap_path(self._namespace, name))
            except NotFound:
                continue
            if _is_of(run, found) and uids <= _uids(found):
                return name
        raise last or AssertionError("there is at least one name")


class _Capture:
    """One capture: its reads, its time and its memory."""

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        log_lines: int,
        *,
        limits: Limits,
        clock: Callable[[], float],
        keep: Callable[[], None],
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._log_lines = log_lines
        self._limits = limits
        self._clock = clock
        self._keep = keep
        self._until = clock() + limits.total
        self._room = limits.all_logs

    def document(self, run: Run, look: Look, *, captured: str | None) -> Json:
        layout = look.layout.layout if look.layout else None
        names = set(look.diagnosis.pods_to_restart)
        chosen = [pod for pod in look.pods if pod.seen.name in names]
        others = [pod for pod in look.pods if pod.seen.name not in names and pod.role != "api"]
        pods, events, logs = [], [], []
        for pod in [*chosen, *others][: self._limits.pods]:
            found, containers = self._pod(pod, layout)
            pods.append({**found, "role": pod.role, "toBeRestarted": pod in chosen})
            if pod in chosen:
                logs += [_Log(pod.seen.name, name, previous) for name in containers for previous in (False, True)]
                events.append(self._events(pod))
        main = {name for _, role in layout.roles.items() for name in role.containers} if layout else set()
        # What BBS and Locket wrote comes first: time and room may not last for the rest.
        logs.sort(key=lambda log: log.container not in main)
        return {
            "format": FORMAT,
            "about": ABOUT,
            "captured": captured,
            "remediation": scrubbed(remediation_excerpt(run)),
            "verdict": scrubbed(verdict_excerpt(look)),
            "observation": scrubbed(observation_excerpt(look, run.foundation)),
            "look": scrubbed(look_excerpt(look)),
            "pods": scrubbed(pods),
            "events": scrubbed(events),
            "logs": [self._log(log) for log in logs] if self._log_lines > 0 else [],
            "leftOut": [],
        }

    def _pod(self, pod: PodLook, layout: Layout | None) -> tuple[Json, list[str]]:
        """The pod's excerpt and its containers; by the look where it cannot be read now."""
        known = [container.name for container in pod.seen.containers]
        named: Json = {"name": pod.seen.name, "uid": pod.seen.uid}
        found, said = self._object(pod_path(self._namespace, pod.seen.name), {})
        if said:
            return {**named, "said": said}, known
        excerpt = pod_excerpt(found, layout)
        if excerpt.get("uid") != pod.seen.uid:
            excerpt["said"] = f"this is not the pod that was looked at, whose UID was {pod.seen.uid}"
        return {**named, **excerpt}, container_names(found) or known

    def _events(self, pod: PodLook) -> Json:
        selector = f"involvedObject.name={pod.seen.name}"
        found, said = self._object(events_path(self._namespace), {"fieldSelector": selector, "limit": 500}, "list")
        items = found.get("items")
        kept = events_excerpt(items if isinstance(items, list) else [], pod.seen.uid, self._limits.events)
        return {"pod": pod.seen.name, "events": kept, **({"said": said} if said else {})}

    def _log(self, log: _Log) -> Json:
        entry: Json = {"pod": log.pod, "container": log.container, "previous": log.previous, "lines": []}
        if self._room <= 0:
            return {**entry, "said": "not read: the logs before it took all the room"}
        tail, limit = self._log_lines, self._limits.log_bytes
        path = pod_log_path(self._namespace, log.pod)
        while True:
            query: dict[str, str | int | bool] = {
                "container": log.container,
                "previous": log.previous,
                "timestamps": True,
                "tailLines": tail,
                "limitBytes": limit,
            }
            raw, said = self._read(path, query, limit)
            # The kubelet counts limitBytes from the oldest line of the tail: what it cuts off is the newest.
            if said or len(raw) < limit or tail <= 1:
                break
            tail = max(1, tail // 4)
        lines = _whole_lines(raw, cut=len(raw) >= limit)
        kept = newest_lines(redact_lines(lines), min(limit, self._room))
        self._room -= sum(len(line) + 1 for line in kept)
        entry |= {"lines": kept, "tail": tail}
        return {**entry, "said": str(scrubbed(said))} if said else entry

    def _object(self, path: str, query: Mapping[str, str | int | bool], verb: str = "get") -> tuple[Json, str]:
        """A JSON object, or a sentence that says why not."""
        raw, said = self._read(path, query, 8 << 20, verb)
        if said:
            return {}, said
        try:
            found: object = json.loads(raw)
        except (ValueError, RecursionError):
            return {}, "the answer is not JSON, or too long"
        return (found, "") if isinstance(found, dict) else ({}, "the answer is no object")

    def _read(
        self, path: str, query: Mapping[str, str | int | bool], most: int, verb: str = "get"
    ) -> tuple[bytes, str]:
        """What came of an answer within its limits, and why it is not whole; empty where it is."""
        self._keep()
        began = self._clock()
        if began >= self._until:
            return b"", f"not read: the {self._limits.total:g} s for all evidence were over"
        until = min(began + self._limits.request, self._until)
        parts: list[bytes] = []
        size, said = 0, ""
        stream = self._client.stream(path, query, read_timeout=self._limits.silence, verb=verb)
        try:
            with stream:
                for chunk in stream:
                    parts.append(chunk)
                    size += len(chunk)
                    if size >= most:
                        break
                    if self._clock() > until:
                        said = f"it did not end within {self._limits.request:g} s"
                        break
        except KubeError as error:
            said = str(error)
        if stream.ended == "idle":
            said = f"nothing more came for {self._limits.silence:g} s"
        return b"".join(parts)[:most], said


def evidence_name(remediation: str, turn: int = 1) -> str:
    """The ConfigMap's name, which any name of a Remediation gives; `turn` counts from 1."""
    name = f"{remediation}.evidence" if turn == 1 else f"{remediation}.evidence.{turn}"
    if len(name) <= _LONGEST_NAME and _SUBDOMAIN.fullmatch(name):
        return name
    return f"{hashlib.sha256(remediation.encode()).hexdigest()[:40]}.evidence.{turn}"


def packed(document: Mapping[str, object], most: int) -> bytes:
    """The document as JSON in gzip, of at most `most` bytes: the same document gives the same bytes.

    Older log lines go first, of all logs alike; then events, the pods' status and the look. The verdict stays, cut if
    it must be.
    """
    logs = mappings(document.get("logs"))
    each = max((_characters(log) for log in logs), default=0)
    raw = _pack(document)
    while len(raw) > most and each > 0:
        each = int(each * max(0.2, min(0.8, 0.95 * most / len(raw)))) if each > 512 else 0
        raw = _pack({**document, "logs": [_shortened(log, each) for log in logs]})
    left_out: list[str] = []
    slim = {**document, "logs": [_shortened(log, each) for log in logs]}
    for part in ("events", "pods", "logs", "look", "observation", "remediation"):
        if len(raw) <= most:
            return raw
        left_out.append(part)
        slim = {**slim, part: [], "leftOut": left_out}
        raw = _pack(slim)
    if len(raw) > most:
        raw = _pack({"format": FORMAT, "leftOut": ["all: it was too long"]})
    return raw


def read_evidence(configmap: Mapping[str, object]) -> Json:
    """The document in a ConfigMap's JSON. Raises EvidenceUnreadable."""
    encoded = mapping(configmap.get("binaryData")).get(KEY)
    if not isinstance(encoded, str):
        raise EvidenceUnreadable(f"the ConfigMap has no binaryData {KEY}")
    try:
        unzip = zlib.decompressobj(wbits=31)
        raw = unzip.decompress(base64.b64decode(encoded, validate=True), _LONGEST_DOCUMENT)
        found: object = json.loads(raw) if unzip.eof else None
    except (binascii.Error, zlib.error, ValueError, RecursionError) as problem:
        raise EvidenceUnreadable(f"{KEY} cannot be read: {problem}") from None
    if not unzip.eof:
        raise EvidenceUnreadable(f"{KEY} is cut off, or longer than {_LONGEST_DOCUMENT >> 20} MiB")
    if not isinstance(found, dict):
        raise EvidenceUnreadable(f"{KEY} holds no object")
    return found


def observation_text(document: Mapping[str, object]) -> str:
    """The recorded observation as `stager-exporter diagnose --observation` reads it."""
    return json.dumps(mapping(document.get("observation")), indent=1, sort_keys=True) + "\n"


def _whole_lines(raw: bytes, *, cut: bool) -> list[str]:
    words = raw.decode("utf-8", "replace")
    if cut and not words.endswith("\n"):
        # The last line is not whole: what stands before a secret's end may not show what it is.
        end = max(words.rfind(mark) for mark in '\n \t",;')
        words = words[: end + 1]
    lines = words.split("\n")
    return lines[:-1] if not lines[-1] else lines


def _characters(log: Json) -> int:
    return sum(len(line) + 1 for line in cast("list[str]", log["lines"]))


def _shortened(log: Json, most: int) -> Json:
    lines = cast("Sequence[str]", log["lines"])
    kept = newest_lines(lines, most)
    dropped = len(lines) - len(kept)
    return {**log, "lines": kept, "olderLinesLeftOut": dropped} if dropped else dict(log)


def _pack(document: Mapping[str, object]) -> bytes:
    return gzip.compress(json.dumps(document, sort_keys=True, separators=(",", ":")).encode(), 6, mtime=0)


def _configmap(name: str, namespace: str, run: Run, raw: bytes) -> Json:
    metadata: Json = {"name": name, "namespace": namespace, "labels": {**MANAGED_BY}}
    if run.uid is not None:
        owner = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "name": run.name, "uid": run.uid}
        metadata["ownerReferences"] = [owner]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "immutable": True,
        "binaryData": {KEY: base64.b64encode(raw).decode()},
    }


def _is_of(run: Run, configmap: Json) -> bool:
    """Whether it was made for this Remediation, and not for an older one of the same name."""
    owners = {text(item.get("uid")) for item in mappings(mapping(configmap.get("metadata")).get("ownerReferences"))}
    return run.uid is None or not owners or run.uid in owners


def _uids(configmap: Json) -> set[object]:
    """The pods whose evidence it is."""
    try:
        document = read_evidence(configmap)
    except EvidenceUnreadable:
        return set()
    return {pod.get("uid") for pod in mappings(mapping(document.get("verdict")).get("pods"))}
