"""What one probe of one target found: plain values that decisions, metrics and pages read.

A probe is one honest attempt. It passes through stages in a fixed order and stops at the first that fails; nothing here
retries, and nothing here decides what a failure means.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


MAX_DETAIL = 300


def one_line(text: str) -> str:
    """A peer's words made safe for one line of a log or page: printable, and cut at 300 characters."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * MAX_DETAIL])
    return " ".join(shown.split())[:MAX_DETAIL]


class Stage(StrEnum):
    """The stages of a probe, in the order in which they are passed. Also the values of the setting `depth`."""

    DNS = "dns"
    TCP = "tcp"
    TLS = "tls"
    PING = "ping"
    READ = "read"


class Cause(StrEnum):
    """Why a probe failed: a closed set, as these become label values."""

    TIMEOUT = "timeout"
    REFUSED = "refused"
    DNS = "dns"
    TLS_EXPIRED = "tls_expired"
    TLS_UNTRUSTED = "tls_untrusted"
    TLS_HOSTNAME = "tls_hostname"
    CLIENT_CERTIFICATE_REJECTED = "client_certificate_rejected"
    RESET = "reset"
    NOT_SERVING = "not_serving"
    """HTTP 503: elected, and still migrating its database."""
    BAD_ANSWER = "bad_answer"
    """Something answered that BBS would not say: a wrong status, a wrong body, an error inside an HTTP 200."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect, and which name the server's certificate must carry.

    `host` is resolved unless it is an IP address; `server_name` is what TLS asks for and verifies, since a pod's own
    address is never in a certificate.
    """

    name: str
    """`service`, or the pod's name: the value of the label `target`."""
    host: str
    port: int
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that a server showed (verified or not), or our own."""

    subject: str
    issuer: str
    not_before: float
    """Unix time."""
    not_after: float
    """Unix time."""
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One finished attempt."""

    target: Target
    depth: Stage
    """How deep this probe was asked to go, after what its credentials allow."""
    started: float
    """Unix time."""
    stages: Mapping[Stage, float] = field(default_factory=lambda: MappingProxyType({}))
    """Seconds spent in each stage that was entered, the failed one included."""
    cause: Cause | None = None
    """None: every stage up to `depth` passed."""
    failed: Stage | None = None
    detail: str = ""
    """One line for a person: the system's or the server's own words."""
    certificate: Certificate | None = None
    """The server's, also where its verification failed."""
    database_error: bool = False
    """The answer to a read carried an error of the database."""

    @property
    def ok(self) -> bool:
        """Whether every stage up to `depth` passed."""
        return self.cause is None

    @property
    def accepted(self) -> bool:
        """Whether the TCP connection was accepted, so that something listens (or its kernel does)."""
        return self.ok or self.failed not in (None, Stage.DNS, Stage.TCP)

    @property
    def seconds(self) -> float:
        """Time over all stages."""
        return sum(self.stages.values())
