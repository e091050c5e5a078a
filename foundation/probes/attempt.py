"""One attempt to reach a target: the stages that all probes share, under one deadline, and how errors become causes.

Every socket operation gets what is left of the deadline, so a peer that dribbles bytes gains nothing. Nothing here
retries; where a name has several addresses, the next is tried only if one turned us away at once, as BBS's callers do.
"""

from __future__ import annotations

import errno
import socket
import ssl
import time
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING

from foundation.probes.certificates import read_der
from foundation.probes.resolving import Resolver, literal
from foundation.probes.result import Cause, Certificate, ProbeResult, Stage, Target, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from foundation.probes.credentials import Contexts
    from foundation.probes.resolving import Address

EXPIRED = 10
"""OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED; below, its codes for a name or an address that is not in the certificate."""
WRONG_NAME = frozenset({62, 63, 64})
CERTIFICATE_ALERTS = (
    "CERTIFICATE_REQUIRED",
    "BAD_CERTIFICATE",
    "UNSUPPORTED_CERTIFICATE",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_UNKNOWN",
    "NO_CERTIFICATE",
    "UNKNOWN_CA",
    "ACCESS_DENIED",
    "DECRYPT_ERROR",
)
"""Alerts that a server sends about its client's certificate (RFC 5246 and 8446, 'Error Alerts')."""
NOT_TLS = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "HTTPS_PROXY_REQUEST",
        "UNKNOWN_PROTOCOL",
        "RECORD_LAYER_FAILURE",
        "PACKET_LENGTH_TOO_LONG",
        "RECORD_TOO_SMALL",
        "UNEXPECTED_MESSAGE",
        "UNEXPECTED_RECORD",
        "BAD_RECORD_TYPE",
        "EXCESSIVE_MESSAGE_SIZE",
        "LENGTH_MISMATCH",
        "NOT_ON_RECORD_BOUNDARY",
    }
)
"""What OpenSSL says of bytes that are no TLS."""


class Failure(Exception):  # noqa: N818 - a finding, not an error of ours
    """A stage failed, and this is why."""

    def __init__(self, cause: Cause, detail: str, *, database_error: bool = False) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail
        self.database_error = database_error


def classify(error: OSError | ValueError, *, presents: bool = True) -> Failure:
    """The cause that an error of a socket or of TLS stands for.

    A host or network that is unreachable is `other`: no member of the closed set says it, and it is neither a refusal
    nor silence.
    """
    match error:
        case ssl.SSLCertVerificationError():
            return _verification(error)
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return Failure(Cause.RESET, "the peer closed the connection in the middle of TLS")
        case ssl.SSLError():
            return _tls(error, presents=presents)
        case TimeoutError():
            return Failure(Cause.TIMEOUT, str(error) or "timed out")
        case ConnectionRefusedError():
            return Failure(Cause.REFUSED, error.strerror or str(error))
        case ConnectionResetError() | ConnectionAbortedError() | BrokenPipeError():
            return Failure(Cause.RESET, error.strerror or str(error))
        case OSError(errno=errno.ENOTCONN):
            return Failure(Cause.RESET, "the peer closed the connection")
        case OSError():
            return Failure(Cause.OTHER, error.strerror or str(error))
    return Failure(Cause.OTHER, str(error))


def _verification(error: ssl.SSLCertVerificationError) -> Failure:
    words = error.verify_message or str(error)
    if error.verify_code == EXPIRED:
        return Failure(Cause.TLS_EXPIRED, words)
    if error.verify_code in WRONG_NAME:
        return Failure(Cause.TLS_HOSTNAME, words)
    return Failure(Cause.TLS_UNTRUSTED, words)


def _tls(error: ssl.SSLError, *, presents: bool) -> Failure:
    # OpenSSL 3.2 and newer bring reasons that Python has no constant for: then the words are all there is.
    reason = (getattr(error, "reason", None) or str(error)).upper().replace(" ", "_")
    words = reason.lower().replace("_", " ")
    if "ALERT" in reason:
        # TLS 1.2 servers have but a handshake failure for a client without a certificate.
        missing = reason.endswith("HANDSHAKE_FAILURE") and not presents
        if missing or reason.endswith(CERTIFICATE_ALERTS):
            return Failure(Cause.CLIENT_CERTIFICATE_REJECTED, words)
        return Failure(Cause.OTHER, words)
    if "CLOSED_BEFORE_TLS" in reason:
        return Failure(Cause.RESET, words)
    if reason in NOT_TLS:
        return Failure(Cause.BAD_ANSWER, f"what answers does not speak TLS ({words})")
    return Failure(Cause.OTHER, words)


class Attempt:
    """The course of one probe: its clock, its stages so far, its connection. Use once, and `close` it."""

    def __init__(
        self,
        target: Target,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        resolve: Callable[[str, int, float], list[Address]] | None = None,
    ) -> None:
        self.target = target
        self.started = now()
        self.stage = Stage.DNS
        self.certificate: Certificate | None = None
        self._timeout = timeout
        self._clock = clock
        self._deadline = clock() + timeout
        self._resolve = resolve or Resolver()
        self._stages: dict[Stage, float] = {}
        self._address: Address | None = None
        self._socket: socket.socket | None = None
        self._contexts: Contexts | None = None

    def left(self) -> float:
        """Seconds left. Raises TimeoutError where there are none."""
        left = self._deadline - self._clock()
        if left <= 0:
            raise TimeoutError(f"no answer within {self._timeout:g} s")
        return left

    @contextmanager
    def entering(self, stage: Stage) -> Iterator[None]:
        """Measure a stage, and turn what fails in it into a Failure."""
        self.stage = stage
        began = self._clock()
        try:
            yield
        except TimeoutError as error:
            # Python's words ("timed out") differ from one operation to the next; ours say how long was waited.
            ours = error.errno is None and "timed out" in str(error)
            words = f"no answer within {self._timeout:g} s" if ours else error.strerror or str(error)
            raise Failure(Cause.TIMEOUT, words) from error
        except OverflowError as error:  # a port or a time that the system's own types don't hold
            raise Failure(Cause.OTHER, str(error)) from error
        except (OSError, ValueError) as error:
            raise classify(error) from error
        finally:
            self._stages[stage] = self._clock() - began

    def connect(self, contexts: Contexts | None = None) -> socket.socket:
        """Pass dns (skipped for an IP address) and tcp, with contexts where a `handshake` follows. Raises Failure."""
        addresses = self.look_up()
        context = None
        if contexts is not None:
            self._contexts, context = contexts, contexts.verifying
            self._check_server_name()
        with self.entering(Stage.TCP):
            for address in addresses[:-1]:
                try:
                    return self._open(address, context)
                except TimeoutError:
                    raise
                except OSError:
                    continue
            return self._open(addresses[-1], context)

    def look_up(self) -> list[Address]:
        """Pass dns: all addresses of the target. Raises Failure."""
        target = self.target
        known = literal(target.host, target.port)
        if known is not None:
            self.stage = Stage.TCP
            return [known]
        with self.entering(Stage.DNS):
            try:
                found = self._resolve(target.host, target.port, self.left())
            except socket.gaierror as error:
                raise Failure(Cause.DNS, f"{target.host}: {error.strerror or error}") from error
            if not found:
                raise Failure(Cause.DNS, f"{target.host}: no address")
            return found

    def _open(self, address: Address, context: ssl.SSLContext | None) -> socket.socket:
        self.close()
        left = self.left()
        opened = self._socket = socket.socket(address.family, socket.SOCK_STREAM)
        if context is not None:
            # Before it is connected: where a connection is lost inside wrap_socket, CPython 3.11 leaves a socket open.
            opened = self._socket = context.wrap_socket(
                opened,
                server_hostname=self.target.server_name or self.target.host,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=True,
            )
        opened.settimeout(left)
        opened.connect((address.ip, address.port))
        self._address = address
        return opened

    def _check_server_name(self) -> None:
        # wrap_socket would find out too, but leave a socket behind.
        try:
            (self.target.server_name or self.target.host).encode("idna")
        except ValueError as error:
            self.stage = Stage.TLS
            raise classify(error) from error

    def handshake(self) -> ssl.SSLSocket | None:
        """Pass tls on the open connection, and read the server's certificate whether or not it verifies.

        None: the server answered and then turned us away for want of a client certificate, which TLS before 1.3 does
        in the handshake; that is as deep as one comes without. Raises Failure.
        """
        contexts = self._contexts
        assert contexts is not None  # noqa: S101 - for the type checker; connect came before, with contexts
        with self.entering(Stage.TLS):
            try:
                secured = self._secure()
            except ssl.SSLCertVerificationError as error:
                self._read_unverified(contexts)
                raise classify(error) from error
            except ssl.SSLError as error:
                if not contexts.presents and classify(error, presents=False).cause is Cause.CLIENT_CERTIFICATE_REJECTED:
                    return None
                raise classify(error, presents=contexts.presents) from error
            self._note_certificate(secured)
            if not contexts.verifies and self.certificate and self.certificate.not_after < self.started:
                raise Failure(Cause.TLS_EXPIRED, "certificate has expired (no CA configured: nothing else was checked)")
            return secured

    def _secure(self) -> ssl.SSLSocket:
        secured = self._socket
        assert isinstance(secured, ssl.SSLSocket)  # noqa: S101 - for the type checker; _open made it so
        secured.settimeout(self.left())
        secured.do_handshake()
        return secured

    def _note_certificate(self, secured: ssl.SSLSocket) -> None:
        der = secured.getpeercert(binary_form=True)
        self.certificate = read_der(der) if der else None

    def _read_unverified(self, contexts: Contexts) -> None:
        # The failed handshake no longer gives the certificate away; a second one without checks does. If that fails,
        # the verdict of the first stands, only without times.
        try:
            if self._address is not None:
                self._open(self._address, contexts.reading)
                self._note_certificate(self._secure())
        except (OSError, ValueError):
            return

    def result(self, depth: Stage, failure: Failure | None = None, note: str = "") -> ProbeResult:
        """What came of it; `note` is said where nothing failed."""
        return ProbeResult(
            target=self.target,
            depth=depth,
            started=self.started,
            stages=MappingProxyType(self._stages),
            cause=failure.cause if failure else None,
            failed=self.stage if failure else None,
            detail=one_line(failure.detail if failure else note),
            certificate=self.certificate,
            database_error=failure.database_error if failure else False,
        )

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
