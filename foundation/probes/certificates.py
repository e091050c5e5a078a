"""What a certificate says of itself: whose it is, who signed it, from when until when.

Reading is not verifying: nothing here tells whether a certificate is to be trusted. The cryptography package is loaded
at first use, as it costs 12 MB that a probe of depth tcp never needs.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from foundation.probes.result import Certificate, one_line

if TYPE_CHECKING:
    import os

    from cryptography import x509

MAX_PEM = 1 << 20
"""Bytes of a PEM file that are looked at."""
MAX_NAMES = 100


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A file that could not be used, and why: a value, as a probe goes on without it."""

    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"


@lru_cache(maxsize=256)
def read_der(der: bytes) -> Certificate | None:
    """Read a certificate in DER; None where it is malformed.

    Each probe meets the same few, so they are remembered: a function of the bytes alone, whose memory nobody can see.
    """
    from cryptography import x509

    try:
        certificate = x509.load_der_x509_certificate(der)
        return Certificate(
            # Whoever answers chooses these words: no line break or terminal's escape may come from them.
            subject=one_line(certificate.subject.rfc4514_string()),
            issuer=one_line(certificate.issuer.rfc4514_string()),
            not_before=certificate.not_valid_before_utc.timestamp(),
            not_after=certificate.not_valid_after_utc.timestamp(),
            names=tuple(map(one_line, _names(certificate.extensions)[:MAX_NAMES])),
        )
    except Exception:  # noqa: BLE001  # bytes of a stranger, whom cryptography answers with exceptions of many families
        return None


def _names(extensions: x509.Extensions) -> tuple[str, ...]:
    from cryptography import x509

    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = names.get_values_for_type(x509.IPAddress)
    return (*names.get_values_for_type(x509.DNSName), *map(str, addresses))


def read_pem(file: str | os.PathLike[str]) -> Certificate | FileProblem:
    """Read the first certificate of a PEM file: our own, in a client's file; the leaf comes first there."""
    try:
        with Path(file).open("rb") as stream:
            content = stream.read(MAX_PEM)
    except (OSError, ValueError) as error:
        return FileProblem(one_line(str(file)), getattr(error, "strerror", None) or str(error))
    start, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    begins = content.find(start)
    ends = content.find(end, max(begins, 0))
    if begins < 0 or ends < 0:
        return FileProblem(str(file), "holds no PEM certificate")
    try:
        der = ssl.PEM_cert_to_DER_cert(content[begins : ends + len(end)].decode("ascii"))
    except ValueError:
        return FileProblem(str(file), "holds a damaged PEM certificate")
    return read_der(der) or FileProblem(str(file), "holds a malformed certificate")
