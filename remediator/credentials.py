"""Who may do what: the credentials file, and telling from a request who sent it.

The file is a list of names, each with its scopes and how it shows who it is:

    - name: alertmanager
      scopes: [webhook]
      token_file: alertmanager.token        # one token per line; two lines while one replaces the other
    - name: ci
      scopes: [view]
      token_sha256: [9f86d081884c7d65…]     # SHA-256 of the token, in hex: the file then holds no secret
    - name: alice
      scopes: [view, operate]
      password_bcrypt: $2b$10$…             # basic authentication, the user being the name
    - name: bob
      scopes: [view, operate]
      certificate: {common_name: bob}       # or {san: …}; of the client certificate that TLS verified

Scopes are what they say and no more: `operate` alone does not let anybody look. The file and the token files are looked
at again with each request; a new version that is wrong leaves the old one in force and is logged once.

What this does not do: it cannot tell a strong secret from a weak one beyond its length, and a token that was stolen is
good until it is taken out of the file. A header that claims to carry a certificate is never believed.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Protocol, Self, runtime_checkable

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, RootModel, model_validator

from foundation.config import LocalPath, Part
from foundation.serving.followed import signature
from foundation.serving.passwords import COSTS, HASH, Passwords, user_and_password
from foundation.yamlfile import ConfigurationError, Problem, load

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

logger = logging.getLogger(__name__)

SHORTEST_TOKEN = 16
LONGEST_TOKEN_FILE = 64 * 1024

_TOKEN = re.compile(r"[!-~]+")


class Scope(StrEnum):
    """What a credential allows."""

    WEBHOOK = "webhook"
    """Notify, and nothing else."""
    VIEW = "view"
    """Read."""
    OPERATE = "operate"
    """Approve, reject, acknowledge, pause, resume."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sent a request."""

    name: str
    scopes: frozenset[Scope]


def _name(value: str) -> str:
    if not value.isprintable() or value != value.strip() or ":" in value or not 0 < len(value) <= 100:
        raise ValueError("expected 1 to 100 printable characters without a colon: it is a user's name")
    return value


def _digest(value: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise ValueError("expected the SHA-256 of a token: 64 hexadecimal digits, as sha256sum prints them")
    return value.lower()


def _bcrypt(value: str) -> str:
    match = HASH.fullmatch(value)
    if match is None:
        raise ValueError("expected a bcrypt hash, as `htpasswd -nBC 10 NAME` prints after the colon")
    if int(match[1]) not in COSTS:
        raise ValueError(f"a cost of {COSTS[0]} to {COSTS[-1]} is taken, this one is {int(match[1])}")
    return value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class CertificateConfig(Part):
    """Whom a client certificate is made out to: exactly one of the two."""

    common_name: str | None = Field(default=None, min_length=1)
    san: str | None = Field(default=None, min_length=1)
    """A subject alternative name: DNS name, URI, e-mail or IP address, letter by letter."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.common_name is None) == (self.san is None):
            raise ValueError("exactly one of common_name and san is needed")
        return self


class CredentialConfig(Part):
    """One entry of the file."""

    name: Annotated[str, AfterValidator(_name)]
    scopes: tuple[Scope, ...] = Field(min_length=1)
    token_sha256: Annotated[tuple[Annotated[str, AfterValidator(_digest)], ...], BeforeValidator(_listed)] = ()
    token_file: LocalPath | None = None
    password_bcrypt: Annotated[str, AfterValidator(_bcrypt)] | None = None
    certificate: CertificateConfig | None = None

    @model_validator(mode="after")
    def _something_to_show(self) -> Self:
        if not (self.token_sha256 or self.token_file or self.password_bcrypt or self.certificate):
            raise ValueError("one of token_sha256, token_file, password_bcrypt and certificate is needed")
        return self

    @property
    def principal(self) -> Principal:
        """Who it is."""
        return Principal(self.name, frozenset(self.scopes))


def _distinct(entries: tuple[CredentialConfig, ...]) -> tuple[CredentialConfig, ...]:
    if not entries:
        raise ValueError("at least one credential is needed: without any, nobody could notify")
    names = [entry.name for entry in entries]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two credentials are named {twice}")
    shown = [entry.certificate for entry in entries if entry.certificate]
    if any(shown.count(one) > 1 for one in shown):
        raise ValueError("two credentials have the same certificate")
    return entries


class CredentialsFile(RootModel[Annotated[tuple[CredentialConfig, ...], AfterValidator(_distinct)]]):
    """The whole file."""

    model_config = ConfigDict(frozen=True)


@dataclass(frozen=True, slots=True)
class _Version:
    """One version of the file and of all that it names."""

    entries: tuple[CredentialConfig, ...]
    tokens: tuple[tuple[bytes, Principal], ...]
    """SHA-256 of a token, and whose it is."""
    watched: tuple[Path, ...]
    secret: bytes
    """Made of all digests and hashes, so that replicas with the same files agree; random where there are none."""


class Credentials:
    """A credentials file that is followed. Threads may use it at the same time."""

    def __init__(self, path: Path) -> None:
        """Read the file and the token files. Raises ConfigurationError with every problem; none at all is one."""
        self._path = path
        self._lock = threading.Lock()
        # Nothing is seen yet: the first use looks again, and so finds what changed while this was read.
        self._seen: tuple[object, ...] = ()
        self._fallback = secrets.token_bytes(32)
        self._current = self._load()
        self._watched = self._current.watched
        self._passwords = Passwords()

    @property
    def passwords(self) -> bool:
        """Whether anybody has a password, so that asking for one makes sense."""
        return any(entry.password_bcrypt for entry in self._follow().entries)

    @property
    def secret(self) -> bytes:
        """A key of 32 bytes that nobody without the credentials can know; equal where the credentials are equal.

        Where only certificates are configured there is nothing secret to make it of: it is then this process's own.
        """
        return self._follow().secret

    def authenticate(self, environ: Mapping[str, object]) -> Principal | None:
        """Who sent this request, given its WSGI environment; None: nobody that is known. Raises TooBusy.

        An Authorization header decides, right or wrong; only without one does a client certificate count.
        """
        version = self._follow()
        header = environ.get("HTTP_AUTHORIZATION")
        if isinstance(header, str):
            scheme, _, rest = header.partition(" ")
            if scheme.lower() == "bearer":
                return _by_token(version, rest.strip())
            if scheme.lower() == "basic":
                return self._by_password(version, rest.strip())
            return None
        return _by_certificate(version, environ.get("gunicorn.socket"))

    def _by_password(self, version: _Version, encoded: str) -> Principal | None:
        # An encoding that is none gives a user that nobody is, which costs as much as any other.
        user, password = user_and_password(encoded) or (b"", b"")
        people = {entry.name.encode(): entry for entry in version.entries if entry.password_bcrypt}
        hashes = {name: entry.password_bcrypt or "" for name, entry in people.items()}
        return people[user].principal if self._passwords.right(hashes, user, password) else None

    def _load(self) -> _Version:
        entries = load(self._path, CredentialsFile).root
        tokens: list[tuple[bytes, Principal]] = []
        problems: list[Problem] = []
        for index, entry in enumerate(entries):
            digests = [bytes.fromhex(digest) for digest in entry.token_sha256]
            if entry.token_file is not None:
                try:
                    digests += _tokens_of(entry.token_file)
                except ValueError as error:
                    problems.append(Problem(str(entry.token_file), 1, 1, "", f"{error} (token_file of {entry.name})"))
            for digest in digests:
                if any(digest == known for known, _ in tokens):
                    what = f"a token of {entry.name} stands in the credentials a second time"
                    problems.append(Problem(str(self._path), 1, 1, str(index), what))
                else:
                    tokens.append((digest, entry.principal))
        if problems:
            raise ConfigurationError(problems)
        files = tuple(entry.token_file for entry in entries if entry.token_file is not None)
        return _Version(entries, tuple(tokens), (self._path, *files), self._secret_of(entries, tokens))

    def _secret_of(self, entries: Iterable[CredentialConfig], tokens: Iterable[tuple[bytes, Principal]]) -> bytes:
        parts = [digest for digest, _ in tokens]
        parts += [entry.password_bcrypt.encode() for entry in entries if entry.password_bcrypt]
        if not parts:
            return self._fallback
        joined = b"".join(len(part).to_bytes(4, "big") + part for part in sorted(parts))
        return hmac.digest(hashlib.sha256(joined).digest(), b"stager-remediator: forms", hashlib.sha256)

    def _follow(self) -> _Version:
        if signature(self._watched) == self._seen:
            return self._current
        with self._lock:
            # Signatures are taken before the files are read: a change in between is seen the next time.
            seen = signature(self._watched)
            if seen == self._seen:
                return self._current
            try:
                fresh = self._load()
            except ConfigurationError as error:
                logger.error(  # noqa: TRY400  the problems say it all
                    "the credentials were not taken, the old ones stay: %s", "; ".join(map(str, error.problems))
                )
            else:
                if fresh.watched != self._watched:
                    self._watched = fresh.watched
                    seen = ()
                if self._seen:
                    logger.info("the credentials were taken anew", extra={"file": str(self._path)})
                self._current = fresh
            self._seen = seen
            return self._current


def _by_token(version: _Version, token: str) -> Principal | None:
    digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
    found = None
    for known, principal in version.tokens:  # all of them, whichever it is
        if hmac.compare_digest(known, digest):
            found = principal
    return found


@runtime_checkable
class _Verified(Protocol):
    def getpeercert(self, binary_form: bool = False) -> object:
        """As of ssl.SSLSocket: empty unless the certificate was verified."""
        ...


def _by_certificate(version: _Version, connection: object) -> Principal | None:
    if not any(entry.certificate for entry in version.entries) or not isinstance(connection, _Verified):
        return None
    try:
        subject = connection.getpeercert()
    except (OSError, ValueError):  # the connection is over, or its handshake never ended
        return None
    common, alternative = _names_of(subject)
    for entry in version.entries:
        wanted = entry.certificate
        if wanted and ((wanted.common_name in common) if wanted.common_name else (wanted.san in alternative)):
            return entry.principal
    return None


def _names_of(subject: object) -> tuple[set[object], set[object]]:
    """Common names and subject alternative names, from what `getpeercert` gives."""
    if not isinstance(subject, dict):
        return set(), set()
    common = {pair[1] for part in subject.get("subject", ()) for pair in part if pair[0] == "commonName"}
    kinds = ("DNS", "URI", "email", "IP Address")
    return common, {pair[1] for pair in subject.get("subjectAltName", ()) if pair[0] in kinds}


def _tokens_of(path: Path) -> list[bytes]:
    """The digests of a token file's lines. Raises ValueError, one line, which never quotes the file."""
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_TOKEN_FILE + 1)
        text = content.decode("ascii")
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("a token is printable ASCII without spaces") from None
    if len(content) > LONGEST_TOKEN_FILE:
        raise ValueError(f"is longer than {LONGEST_TOKEN_FILE} bytes")
    tokens = [line.strip() for line in text.splitlines() if line.strip()]
    if not tokens:
        raise ValueError("holds no token")
    for token in tokens:
        if not _TOKEN.fullmatch(token):
            raise ValueError("a token is printable ASCII without spaces")
        if len(token) < SHORTEST_TOKEN:
            raise ValueError(f"a token is shorter than {SHORTEST_TOKEN} characters: it could be guessed")
    return [hashlib.sha256(token.encode()).digest() for token in dict.fromkeys(tokens)]
