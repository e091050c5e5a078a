"""A certificate authority made at start, as a foundation's own would be: BBS, Locket and their clients share it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServerTLS:
    """What a server shows and asks for, ready for use by any number of servers and connections."""

    context: ssl.SSLContext
    """Demands a client certificate of this authority; TLS 1.2 or newer. HTTP/1.1 only, as BBS."""
    expired: ssl.SSLContext
    """The same with a certificate that ended yesterday."""
    rejecting: ssl.SSLContext
    """The same, trusting another authority's clients only: every client certificate of ours is turned away."""
    grpc: ssl.SSLContext | None = None
    """As `context`, agreeing on h2, for Locket; None where no Locket is served."""


@dataclass(frozen=True, slots=True)
class ClientFiles:
    """PEM files of a client."""

    ca: Path
    cert: Path
    key: Path


class Authority:
    """A private CA. Its keys live in memory only; `write_client` alone writes files."""

    def __init__(self, ca: trustme.CA) -> None:
        self._ca = ca

    @classmethod
    def create(cls) -> Authority:
        """Make a new CA with fresh keys."""
        return cls(trustme.CA(organization_name="Simulated foundation"))

    @property
    def pem(self) -> bytes:
        """The CA's certificate."""
        return bytes(self._ca.cert_pem.bytes())

    def server(self, names: Sequence[str], not_after: datetime | None = None) -> ServerTLS:
        """Issue a server certificate for DNS names and IP addresses; `not_after` without value is a year from now."""
        now = datetime.now(UTC)
        ends = not_after or now + timedelta(days=365)
        return ServerTLS(
            context=self._context(names, ends, self._ca),
            grpc=self._context(names, ends, self._ca, protocol="h2"),
            expired=self._context(names, now - timedelta(days=1), self._ca),
            rejecting=self._context(names, ends, trustme.CA(organization_name="Another foundation")),
        )

    def _context(
        self, names: Sequence[str], not_after: datetime, clients: trustme.CA, protocol: str = "http/1.1"
    ) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        # A client that offers both has to get the one that is then spoken.
        context.set_alpn_protocols([protocol])
        clients.configure_trust(context)
        leaf = self._ca.issue_cert(
            *names, common_name=names[0], not_before=not_after - timedelta(days=730), not_after=not_after
        )
        leaf.configure_cert(context)
        return context

    def write_client(self, folder: Path, name: str = "diego-client", not_after: datetime | None = None) -> ClientFiles:
        """Issue a client certificate and write `ca.crt`, `client.crt` and `client.key` (mode 0600) into a folder."""
        ends = not_after or datetime.now(UTC) + timedelta(days=365)
        leaf = self._ca.issue_cert(name, common_name=name, not_before=ends - timedelta(days=730), not_after=ends)
        folder.mkdir(parents=True, exist_ok=True)
        files = ClientFiles(folder / "ca.crt", folder / "client.crt", folder / "client.key")
        files.ca.write_bytes(self.pem)
        files.cert.write_bytes(b"".join(part.bytes() for part in leaf.cert_chain_pems))
        files.key.touch(mode=0o600)
        files.key.write_bytes(leaf.private_key_pem.bytes())
        return files
