"""Takes a log line out of what carried it: syslog, KubeCF's sidecar, a container runtime's file, kubectl.

Wrappers may be nested in any order. Only the wrapper's own places are touched (before the line, and a colour reset
after it): nothing inside the line is rewritten, so text that a user wrote cannot become structure here. The name of
the pod is what the wrapper says and not verified.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

MAX_DEPTH: Final = 6
"""Wrappers around wrappers that are followed; more is nobody's set-up."""

_SGR: Final = rb"(?:\x1b\[[0-9;]*m)"
_LEADING_SGR: Final = re.compile(_SGR + rb"+")
_TRAILING_SGR: Final = re.compile(_SGR + rb"\Z")
# quarks-operator, cmd/internal/tlogs.go: date and time of the tail (no zone), path, line; colours forced on.
_SIDECAR: Final = re.compile(
    rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d, " + _SGR + rb"*(/[^,\x1b]{1,500})" + _SGR + rb"*, " + _SGR + rb"*"
)
# RFC 5424, with or without the octet count of RFC 6587 before it; structured data may hold quoted brackets.
_SYSLOG: Final = re.compile(
    rb"(?:\d{1,7} )?<\d{1,3}>1 \S{1,64} (\S{1,255}) (\S{1,128}) \S{1,128} \S{1,128} "
    rb"(-|(?:\[(?:[^\]\"\\]++|\"(?:[^\"\\]++|\\.)*+\"|\\.)*+\])+)(?: (?:\xef\xbb\xbf)?|\Z)",
    re.DOTALL,
)
_KUBECTL: Final = re.compile(rb"\[pod/([^/\]\s]{1,253})/[^\]\s]{1,253}\] ")
_TIMESTAMP: Final = re.compile(
    rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d) (?:(?:stdout|stderr) ([FP])\S{0,64} )?"
)
_DOCKER: Final = re.compile(rb'\{"log":"((?:[^"\\]++|\\u[0-9a-fA-F]{4}|\\[^u])*+)(")?')


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """A line as its program wrote it, and what its wrappers said about it."""

    payload: bytes
    pod: str | None = None
    """As the innermost wrapper names it; syslog's host name where that is all there is."""
    file: str | None = None
    """The log file: its path (sidecar), or its base name (SCF's syslog tag `vcap.NAME`)."""
    wrapper: str = ""
    """From the outside in, joined by `+`; empty for a bare line."""
    partial: bool = False
    """The wrapper says, or its own end shows, that the line goes on elsewhere."""


def unwrap(line: bytes) -> Unwrapped:
    """Takes off every known wrapper; a line without any comes back as it was. Never raises."""
    state = _State(line)
    for _ in range(MAX_DEPTH):
        if _is_bare(state.rest) or not state.step():
            break
    return Unwrapped(state.rest, state.pod, state.file, "+".join(state.names), state.partial)


def _is_bare(line: bytes) -> bool:
    """Whether a JSON document begins here, and it is not Docker's: nearly always, and at once told."""
    return line.startswith(b"{") and not line.startswith(b'{"log":"')


class _State:
    __slots__ = ("file", "names", "partial", "pod", "rest")

    def __init__(self, line: bytes) -> None:
        self.rest = _without_end(line)
        self.pod: str | None = None
        self.file: str | None = None
        self.names: list[str] = []
        self.partial = False

    def step(self) -> bool:
        """Takes off one wrapper; False when there is none left."""
        if colours := _LEADING_SGR.match(self.rest):
            self.rest = self.rest[colours.end() :]
        return self._timestamp() or self._syslog() or self._kubectl() or self._sidecar() or self._docker()

    def _timestamp(self) -> bool:
        found = _TIMESTAMP.match(self.rest)
        if not found:
            return False
        self.names.append("cri" if found[1] else "kubectl-timestamps")
        self.partial = self.partial or found[1] == b"P"
        self.rest = self.rest[found.end() :]
        return True

    def _syslog(self) -> bool:
        found = _SYSLOG.match(self.rest)
        if not found:
            return False
        self.names.append("rfc5424-bosh" if found[3].startswith(b"[instance@47450") else "rfc5424")
        if found[1] != b"-":
            self.pod = _text(found[1])
        if found[2].startswith(b"vcap."):
            self.file = _text(found[2][5:])
        self.rest = self.rest[found.end() :]
        return True

    def _kubectl(self) -> bool:
        found = _KUBECTL.match(self.rest)
        if not found:
            return False
        self.names.append("kubectl-prefix")
        self.pod = _text(found[1])
        self.rest = self.rest[found.end() :]
        return True

    def _sidecar(self) -> bool:
        found = _SIDECAR.match(self.rest)
        if not found:
            return False
        self.names.append("kubecf-logs-sidecar")
        self.file = _text(found[1])
        self.rest = self.rest[found.end() :]
        return True

    def _docker(self) -> bool:
        found = _DOCKER.match(self.rest)
        if not found:
            return False
        self.names.append("docker")
        try:
            text = str(json.loads(f'"{_text(found[1])}"', strict=False))
        except ValueError:
            # An escape that JSON does not know: Docker did not write this.
            text = _text(found[1])
        # Docker writes a long line in pieces, and only the last one ends in a newline.
        self.partial = self.partial or not found[2] or not text.endswith("\n")
        self.rest = _without_end(text.encode("utf-8", "replace"))
        return True


def _without_end(line: bytes) -> bytes:
    """The line without its end of line and colour resets; a few of them, so that garbage costs no more than a line."""
    for _ in range(4):
        line = line.rstrip(b"\r\n")
        found = _TRAILING_SGR.search(line, max(0, len(line) - 16))
        if not found:
            break
        line = line[: found.start()]
    return line


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
