"""TLS and passwords in front of the pages, in the `web.yml` format of Prometheus' own exporters (exporter-toolkit).

Supported: `tls_server_config` with cert_file, key_file, client_ca_file, client_auth_type (NoClientCert,
VerifyClientCertIfGiven, RequireAndVerifyClientCert) and min_version (TLS12, TLS13), and `basic_auth_users` with bcrypt
hashes. Every other key is refused rather than ignored: a front less closed than its file says is worse than one that
does not start.

The file and the certificates are looked at again on every connection and request; a new version that is wrong leaves
the old one in force and is logged once. Only turning TLS itself on or off needs a new start. Other than in
exporter-toolkit, /livez and /readyz ask for no password: a kubelet has none to give but one that stands readable in the
pod's spec, and they reveal nothing. Client certificates are asked of everybody, as TLS comes before any path; there a
kubelet can probe by TCP.
"""

from __future__ import annotations

import logging
import ssl
import threading
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import yaml

from foundation.serving.followed import signature
from foundation.serving.passwords import COSTS, HASH, Passwords, TooBusy, user_and_password

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

_VERSIONS = MappingProxyType({"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3})
_CLIENT_AUTH = ("NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
_OPEN = frozenset({"/livez", "/readyz"})
"""Without a password. Exactly these: what they answer must name nothing."""


class WebConfigError(Exception):
    """The file was not taken. `problems` holds one line each, as `file:line:column: path: what`."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """How connections are encrypted. Paths are absolute, or relative to the working directory as the file's is."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None
    require_client: bool = False
    """Whether a client without a certificate is turned away; with a CA, one that is given is verified in any case."""
    min_version: str = "TLS12"


@dataclass(frozen=True, slots=True)
class Settings:
    """What one version of a `web.yml` says."""

    tls: TlsSettings | None = None
    users: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """User name to bcrypt hash; empty: no password is asked for."""


def parse(path: Path, text: str) -> Settings:
    """Read the text of a `web.yml`; `path` names it in problems and is what paths inside are relative to.

    Raises WebConfigError with every problem found. Does not open the certificates.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        raise WebConfigError([f"{path}:{where}: not YAML: {error.problem or error.context}"]) from None
    except yaml.YAMLError as error:
        raise WebConfigError([f"{path}:1:1: not YAML: {' '.join(str(error).split())}"]) from None
    return _Reader(path).read(root)


def check(path: Path) -> Settings:
    """Read a `web.yml`, but not the certificates that it names. Raises WebConfigError with every problem found."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise WebConfigError([f"{path}:1:1: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise WebConfigError([f"{path}:1:1: not UTF-8 text"]) from None
    return parse(path, text)


class _Reader:
    """Walks the node tree once, so that each problem has its place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._problems: list[str] = []

    def read(self, root: yaml.Node | None) -> Settings:
        top = self._mapping(root, "", {"tls_server_config", "basic_auth_users"}) if root is not None else {}
        tls = self._tls(top["tls_server_config"]) if "tls_server_config" in top else None
        users = self._users(top["basic_auth_users"]) if "basic_auth_users" in top else {}
        if self._problems:
            raise WebConfigError(self._problems)
        return Settings(tls, MappingProxyType(users))

    def _problem(self, node: yaml.Node, where: str, what: str) -> None:
        at = f"{node.start_mark.line + 1}:{node.start_mark.column + 1}"
        self._problems.append(f"{self._path}:{at}: {where + ': ' if where else ''}{what}")

    def _mapping(self, node: yaml.Node, where: str, known: set[str] | None) -> dict[str, yaml.Node]:
        if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
            return {}
        if not isinstance(node, yaml.MappingNode):
            self._problem(node, where, "expected keys and values")
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            inside = f"{where}.{name}" if where else str(name)
            if not isinstance(key, yaml.ScalarNode):
                self._problem(key, where, "a key is not a text")
            elif known is not None and name not in known:
                self._problem(key, inside, f"unknown or not supported; known here: {', '.join(sorted(known))}")
            elif name in found:
                self._problem(key, inside, "given twice")
            else:
                found[name] = value
        return found

    def _text(self, node: yaml.Node, where: str) -> str:
        # A number or a bool is refused: what was meant as a text is quoted in this format.
        if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:str" and node.value:
            return str(node.value)
        self._problem(node, where, "expected a text")
        return ""

    def _tls(self, node: yaml.Node) -> TlsSettings | None:
        where = "tls_server_config"
        found = self._mapping(
            node, where, {"cert_file", "key_file", "client_ca_file", "client_auth_type", "min_version"}
        )
        if not found and self._problems:
            return None
        given = {name: self._text(value, f"{where}.{name}") for name, value in found.items()}
        for name in ("cert_file", "key_file"):
            if name not in given:
                self._problem(node, where, f"{name} is missing")
        client_auth = given.get("client_auth_type") or "NoClientCert"
        if client_auth not in _CLIENT_AUTH:
            self._problem(found["client_auth_type"], f"{where}.client_auth_type", f"one of {', '.join(_CLIENT_AUTH)}")
        version = given.get("min_version") or "TLS12"
        if version not in _VERSIONS:
            self._problem(found["min_version"], f"{where}.min_version", f"one of {', '.join(_VERSIONS)}")
        verify = client_auth in _CLIENT_AUTH[1:]
        if verify and "client_ca_file" not in given:
            self._problem(node, where, f"client_auth_type {client_auth} needs client_ca_file")
        if not verify and "client_ca_file" in given:
            self._problem(
                found["client_ca_file"],
                f"{where}.client_ca_file",
                "would not be used: set client_auth_type to VerifyClientCertIfGiven or RequireAndVerifyClientCert",
            )
        if self._problems:
            return None
        base = self._path.parent
        ca = base / given["client_ca_file"] if verify else None
        required = client_auth == "RequireAndVerifyClientCert"
        return TlsSettings(base / given["cert_file"], base / given["key_file"], ca, required, version)

    def _users(self, node: yaml.Node) -> dict[str, str]:
        users: dict[str, str] = {}
        for name, value in self._mapping(node, "basic_auth_users", None).items():
            where = f"basic_auth_users.{name}"
            hashed = self._text(value, where)
            match = HASH.fullmatch(hashed)
            if not name or ":" in name:
                self._problem(value, where, "a user's name cannot be empty nor hold a colon")
            elif hashed and match is None:
                self._problem(value, where, "expected a bcrypt hash, as `htpasswd -nBC 10 USER` prints after the colon")
            elif match is not None and int(match[1]) not in COSTS:
                self._problem(
                    value, where, f"a cost of {COSTS[0]} to {COSTS[-1]} is taken, this one is {int(match[1])}"
                )
            users[name] = hashed
        return users


def _context(tls: TlsSettings, path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file, password=_no_password)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise WebConfigError(
            [f"{path}: tls_server_config: certificate {tls.cert_file} with key {tls.key_file}: {_reason(error)}"]
        ) from None
    if tls.client_ca_file is not None:
        try:
            context.load_verify_locations(tls.client_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise WebConfigError(
                [f"{path}: tls_server_config: client_ca_file {tls.client_ca_file}: {_reason(error)}"]
            ) from None
        context.verify_mode = ssl.CERT_REQUIRED if tls.require_client else ssl.CERT_OPTIONAL
    return context


def _no_password() -> str:
    """Without this OpenSSL would ask for an encrypted key's password on the terminal, and wait."""
    raise ValueError("the key is encrypted; give one without a password")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not usable").lower().replace("_", " ")
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


@dataclass(frozen=True, slots=True)
class _Current:
    """One version in force."""

    settings: Settings
    context: ssl.SSLContext | None


class WebConfig:
    """A `web.yml` that follows its files. Threads may use it at the same time."""

    def __init__(self, path: Path) -> None:
        """Read the file and its certificates. Raises WebConfigError where that fails."""
        self._path = path
        self._lock = threading.Lock()
        # Nothing is seen yet: the first use looks again, and so finds what changed while this was read.
        self._seen: tuple[object, ...] = ()
        self._current = self._load()
        self._watched = self._paths(self._current.settings)

    @property
    def tls(self) -> TlsSettings | None:
        """The TLS settings in force; whether there are any never changes after the start."""
        return self._follow().settings.tls

    def context(self) -> ssl.SSLContext:
        """Give the context for the next connection. Raises RuntimeError where the file does not ask for TLS."""
        context = self._follow().context
        if context is None:
            raise RuntimeError(f"{self._path} does not configure TLS")
        return context

    def users(self) -> Mapping[str, str]:
        """Give the users in force with their hashes."""
        return self._follow().settings.users

    def _paths(self, settings: Settings) -> tuple[Path, ...]:
        tls = settings.tls
        if tls is None:
            return (self._path,)
        return (self._path, tls.cert_file, tls.key_file, *([tls.client_ca_file] if tls.client_ca_file else []))

    def _load(self) -> _Current:
        settings = check(self._path)
        return _Current(settings, _context(settings.tls, self._path) if settings.tls else None)

    def _successor(self, settings: Settings) -> _Current:
        if (settings.tls is None) != (self._current.settings.tls is None):
            raise WebConfigError([f"{self._path}: turning TLS on or off needs a new start"])
        return _Current(settings, _context(settings.tls, self._path) if settings.tls else None)

    def _follow(self) -> _Current:
        if signature(self._watched) == self._seen:
            return self._current
        with self._lock:
            # Signatures are taken before the files are read: a change in between is seen the next time.
            seen = signature(self._watched)
            if seen == self._seen:
                return self._current
            watched = self._watched
            problem: WebConfigError | None = None
            try:
                settings = check(self._path)
                if self._paths(settings) != watched:
                    watched = self._paths(settings)
                    seen = signature(watched)
                fresh = self._successor(settings)
            except WebConfigError as error:
                problem = error
            if problem is not None:
                # A certificate is often there a moment before its key; the next look finds the pair.
                log.error("web configuration not taken, the old one stays: %s", "; ".join(problem.problems))
            else:
                if self._seen:
                    log.info("web configuration taken anew", extra={"file": str(self._path)})
                self._current = fresh
            self._watched, self._seen = watched, seen
            return self._current


class BasicAuth:
    """WSGI in front of an application: asks for a user and password of the `web.yml`, if it has any.

    What a check costs, and how many run at a time, is `foundation.serving.passwords`'.
    """

    def __init__(self, app: WSGIApplication, users: Callable[[], Mapping[str, str]]) -> None:
        self._app = app
        self._users = users
        self._passwords = Passwords()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve the request, or answer 401 (or 503 where too many wait for a check)."""
        users = self._users()
        if not users or environ.get("PATH_INFO") in _OPEN:
            return self._app(environ, start_response)
        given = _given(environ.get("HTTP_AUTHORIZATION", ""))
        if given is None:
            return _ask(start_response)
        known = {name.encode(): hashed for name, hashed in users.items()}
        try:
            right = self._passwords.right(known, *given)
        except TooBusy:
            return _refuse(start_response, "503 Service Unavailable", ("Retry-After", "1"))
        if not right:
            return _ask(start_response)
        environ["REMOTE_USER"] = given[0].decode()
        return self._app(environ, start_response)


def _given(header: str) -> tuple[bytes, bytes] | None:
    scheme, _, encoded = header.partition(" ")
    return user_and_password(encoded.strip()) if scheme.lower() == "basic" else None


def _ask(start_response: StartResponse) -> Iterable[bytes]:
    return _refuse(start_response, "401 Unauthorized", ("WWW-Authenticate", 'Basic realm="stager-exporter"'))


def _refuse(start_response: StartResponse, status: str, header: tuple[str, str]) -> Iterable[bytes]:
    body = f"{status}\n".encode()
    start_response(
        status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))), header]
    )  # fmt: skip
    return [body]
