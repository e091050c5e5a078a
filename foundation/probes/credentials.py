"""Whom a probe trusts and what it shows of itself, kept in step with files that are renewed under a running process.

A file that cannot be used never stops a probe: what was loaded before stays in use, and the problem is a value that
says which file and why. A context that was handed out stays valid; nothing here ends connections.
"""

from __future__ import annotations

import os
import ssl
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foundation.probes.certificates import MAX_PEM, FileProblem, read_pem
from foundation.probes.result import one_line

if TYPE_CHECKING:
    from foundation.probes.result import Certificate

_State = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Contexts:
    """TLS contexts for as many handshakes as one likes, in any thread."""

    verifying: ssl.SSLContext
    """Checks chain, dates and name where there is a CA; where there is none, the same as `reading`."""
    reading: ssl.SSLContext
    """Checks nothing: for reading the certificate of a server that was found wanting."""
    verifies: bool
    presents: bool
    """A client certificate is shown."""
    certificate: Certificate | None = None
    """Our own."""


def contexts(
    ca: bytes | None = None,
    cert_file: str | None = None,
    key_file: str | None = None,
    certificate: Certificate | None = None,
) -> Contexts:
    """Build contexts. Raises OSError, mostly its kin ssl.SSLError, where a file cannot be read or is no PEM."""
    reading = _context()
    reading.check_hostname = False
    reading.verify_mode = ssl.CERT_NONE
    verifying = reading
    if ca is not None:
        verifying = _context()
        # As Go does it, and so BBS's other clients: any certificate of the file is trusted, also an intermediate one.
        verifying.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        verifying.load_verify_locations(cadata=ca.decode("ascii", "ignore"))
    if cert_file is not None:
        for context in {verifying, reading}:
            # The password is given so that an encrypted key is an error and no question on the terminal.
            context.load_cert_chain(cert_file, key_file, password="")
    return Contexts(verifying, reading, verifying is not reading, cert_file is not None, certificate)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class Credentials:
    """A CA file and a client's certificate and key, each optional, reread when one of them changes.

    Safe to share between threads. Without `ca_file` nothing but the dates of a server's certificate is checked.
    """

    def __init__(
        self,
        ca_file: str | os.PathLike[str] | None = None,
        cert_file: str | os.PathLike[str] | None = None,
        key_file: str | os.PathLike[str] | None = None,
    ) -> None:
        self._ca = None if ca_file is None else str(ca_file)
        self._cert = None if cert_file is None else str(cert_file)
        self._key = None if key_file is None else str(key_file)
        self._lock = threading.Lock()
        self._state: _State | None = None
        self._contexts: Contexts | None = None
        self._problem: FileProblem | None = None

    def current(self) -> tuple[Contexts, FileProblem | None]:
        """The newest usable contexts, and what is wrong with the files as they stand now.

        Where nothing was ever usable, the contexts verify nothing and show no client certificate.
        """
        state = tuple(_stat(file) for file in (self._ca, self._cert, self._key))
        with self._lock:
            if self._contexts is None or state != self._state:
                loaded = self._load()
                if isinstance(loaded, FileProblem):
                    self._problem = loaded
                    self._contexts = self._contexts or contexts()
                else:
                    self._problem = None
                    self._contexts = loaded
                self._state = state
            return self._contexts, self._problem

    @property
    def problem(self) -> FileProblem | None:
        """What is wrong with the files as they stand now."""
        return self.current()[1]

    @property
    def certificate(self) -> Certificate | None:
        """Our own certificate, the one in use."""
        return self.current()[0].certificate

    def pem(self) -> tuple[bytes, bytes, bytes] | None:
        """CA, certificate and key as they stand in the files, for libraries that want bytes; None unless all are there.

        A key that is part of the certificate's file is found there.
        """
        if self._ca is None or self._cert is None or self.problem is not None:
            return None
        try:
            ca, certificate = Path(self._ca).read_bytes(), Path(self._cert).read_bytes()
            return ca, certificate, Path(self._key).read_bytes() if self._key is not None else certificate
        except OSError:
            return None

    def _load(self) -> Contexts | FileProblem:
        for file in (self._ca, self._cert, self._key):
            if file is not None and (found := _unusable(file)):
                return found
        if self._key is not None and self._cert is None:
            return FileProblem(self._key, "is a key without a certificate: set cert_file too")
        ca = None
        if self._ca is not None:
            try:
                ca = Path(self._ca).read_bytes()
                contexts(ca)
            except OSError as error:
                words = "holds no PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror or str(error)
                return FileProblem(self._ca, words)
            except ValueError:  # what Python makes of a file without a letter in it
                return FileProblem(self._ca, "holds no PEM certificate")
        own = read_pem(self._cert) if self._cert is not None else None
        if isinstance(own, FileProblem):
            return own
        try:
            return contexts(ca, self._cert, self._key, own)
        except ssl.SSLError as error:
            return FileProblem(self._key or self._cert or "", _key_words(error, self._cert or ""))
        except OSError as error:
            return FileProblem(self._key or self._cert or "", error.strerror or str(error))


def _unusable(file: str) -> FileProblem | None:
    """What is wrong with a file before it is read; a pipe or a device could hold a probe, or never end."""
    try:
        path = Path(file)
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return FileProblem(file, "Is a directory" if stat.S_ISDIR(status.st_mode) else "is no regular file")
        if status.st_size > MAX_PEM:
            return FileProblem(file, f"is longer than {MAX_PEM} bytes")
        with path.open("rb") as stream:
            stream.read(1)
    except OSError as error:
        return FileProblem(file, error.strerror or str(error))
    except ValueError as error:  # a path that can be none
        return FileProblem(one_line(file), str(error))
    return None


def _stat(file: str | None) -> tuple[int, int, int] | None:
    if file is None:
        return None
    try:
        status = os.stat(file)  # noqa: PTH116  at every probe, and a Path costs three times as much
    except (OSError, ValueError):
        return (0, 0, 0)
    # The inode too: Kubernetes renews a mounted secret by moving a symbolic link.
    return (status.st_mtime_ns, status.st_ino, status.st_size)


def _key_words(error: ssl.SSLError, cert_file: str) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"is not the key of the certificate in {cert_file}"
    return f"holds no usable, unencrypted PEM key ({error.reason or 'no PEM found'})"
