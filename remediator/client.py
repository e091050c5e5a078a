"""The commands' way to a running remediator: its HTTP API, and nothing else.

Every request has a time limit, no redirect is followed (a token must not travel on), and no proxy of the environment is
used. An answer that is not the one hoped for is one of two exceptions, each with one line for a person. A request that
ended without an answer may have been carried out all the same: only looking again can tell.
"""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast
from urllib.parse import quote, urlencode, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, NameResolutionError, NewConnectionError, SSLError
from urllib3.util.ssl_ import create_urllib3_context

from foundation.kube.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from urllib3.response import BaseHTTPResponse

DEFAULT_URL = "http://127.0.0.1:9718"
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 45.0
"""The API server may make the remediator wait for up to 30 s."""
LARGEST_ANSWER = 128 << 20
_LONGEST_TOKEN_FILE = 64 << 10

Json: TypeAlias = dict[str, object]


class AccessProblem(ValueError):  # noqa: N818  it says what is wrong
    """A URL or a file that cannot be used: one line."""


class Unreachable(Exception):  # noqa: N818
    """No answer of a remediator: one line on where and why."""


class Refusal(Exception):  # noqa: N818
    """The remediator said no. `status` is HTTP's; the text is one line, in its own words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Access:
    """Where the remediator is, and what to show of oneself."""

    url: str = DEFAULT_URL
    token_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class Client:
    """One remediator, as one user. Use it in one thread; close it."""

    def __init__(self, access: Access) -> None:
        """Reads the files, opens no connection. Raises AccessProblem."""
        self.url = _checked(access.url)
        self._access = access
        self._headers = {"Accept": "application/json", "User-Agent": "stager-remediator-cli"}
        if access.token_file is not None:
            self._headers["Authorization"] = f"Bearer {_token(access.token_file)}"
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS)
        if self.url.startswith("https://"):
            self._pool = urllib3.PoolManager(ssl_context=_context(access), timeout=timeout, retries=False)
        elif access.ca_file or access.cert_file or access.key_file:
            raise AccessProblem(f"--ca-file, --cert-file and --key-file are of no use with {self.url}: give https://")
        else:
            self._pool = urllib3.PoolManager(timeout=timeout, retries=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection."""
        for key in self._pool.pools.keys():  # noqa: SIM118  # not a mapping that can be iterated
            pool = self._pool.pools.get(key)
            if pool is not None:
                pool.close()  # clear() alone leaves that to the garbage collector
        self._pool.clear()

    # --- what it can be asked -------------------------------------------------------------------------------------

    def remediations(self, foundation: str | None = None) -> list[Json]:
        """All, the newest first."""
        found = self.get("/api/v1/remediations", {} if foundation is None else {"foundation": foundation})
        return _objects(found, "remediations")

    def remediation(self, name: str, *, evidence: bool = False) -> Json:
        """One, by its whole name or by the end of it (`restart-diego-api.3`, `3`), where only one has that."""
        try:
            return self._one(name, evidence=evidence)
        except Refusal as refusal:
            if refusal.status != 404:
                raise
            names = [str(item.get("name")) for item in self.remediations()]
            fitting = [known for known in names if known.endswith(f".{name}")]
            if len(fitting) > 1:
                raise Refusal(404, f"{name} could be {' or '.join(fitting[:5])}: give the whole name") from None
            if not fitting:
                raise
        return self._one(fitting[0], evidence=evidence)

    def _one(self, name: str, *, evidence: bool) -> Json:
        return self.get(f"/api/v1/remediations/{quote(name, safe='')}", {"evidence": "1"} if evidence else {})

    def answer(self, name: str, verb: str, version: str) -> Json:
        """`approve` or `reject` what was seen at this resourceVersion."""
        return self.post(f"/api/v1/remediations/{quote(name, safe='')}/{verb}", {"resourceVersion": version})

    def acknowledge(self, name: str, reason: str) -> Json:
        """Close the breaker."""
        return self.post(f"/api/v1/remediations/{quote(name, safe='')}/acknowledge", {"reason": reason})

    def pause(self, reason: str, duration: str | None, foundation: str | None) -> list[Json]:
        """Gives foundation and until when, for each that is paused now."""
        body: Json = {"reason": reason}
        body |= {"for": duration} if duration is not None else {}
        body |= {"foundation": foundation} if foundation is not None else {}
        return _objects(self.post("/api/v1/pause", body), "paused")

    def resume(self, foundation: str | None) -> list[str]:
        """Gives the foundations whose pause ended."""
        found = self.post("/api/v1/resume", {} if foundation is None else {"foundation": foundation}).get("resumed")
        return [str(name) for name in found] if isinstance(found, list) else []

    def status(self, foundation: str | None = None) -> list[Json]:
        """What is in force, per foundation; of one that is not there a Refusal tells which are."""
        found = _objects(self.get("/api/v1/status"), "foundations")
        if foundation is None:
            return found
        chosen = [one for one in found if one.get("foundation") == foundation]
        if not chosen:
            names = ", ".join(str(one.get("foundation")) for one in found) or "none"
            raise Refusal(404, f"there is no foundation {foundation[:100]!r} (there are {names})")
        return chosen

    # --- requests -------------------------------------------------------------------------------------------------

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        """Raises Refusal, Unreachable."""
        return self._ask("GET", path + (f"?{urlencode(query)}" if query else ""), None)

    def post(self, path: str, body: Json) -> Json:
        """Raises Refusal, Unreachable."""
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: Json | None) -> Json:
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        response: BaseHTTPResponse | None = None
        try:
            response = self._pool.request(
                method,
                self.url + path,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                redirect=False,
                preload_content=False,
            )
            raw = response.read(LARGEST_ANSWER + 1)
        except (HTTPError, OSError, ValueError) as error:
            raise Unreachable(f"{self.url}: {_why(error)}{_maybe_done(method, error)}") from None
        finally:
            if response is not None:
                response.close()
        return self._read(response.status, response.headers.get("Content-Type", ""), raw)

    def _read(self, status: int, kind: str, raw: bytes) -> Json:
        try:
            found: object = json.loads(raw) if len(raw) <= LARGEST_ANSWER else None
        except (ValueError, RecursionError):
            found = None
        said = found.get("error") if isinstance(found, dict) else None
        if isinstance(said, str) and status >= 400:
            raise Refusal(status, self._hinted(status, one_line(said)))
        if status != 200 or not isinstance(found, dict):
            words = f"HTTP {status}, {kind.partition(';')[0] or 'no content type'}"
            raise Unreachable(f"{self.url} does not answer as a remediator does ({words}): is it the right address?")
        return cast("Json", found)

    def _hinted(self, status: int, said: str) -> str:
        if status == 401:
            access = self._access
            if access.token_file is None and access.cert_file is None:
                return f"{said}: give --token-file, or STAGER_REMEDIATOR_TOKEN_FILE"
            return f"{said}: {access.token_file or access.cert_file} was shown to {self.url}"
        if status == 503:
            return f"the remediator cannot read or write its state now, try again soon: {said}"
        return said


def _objects(found: Json, key: str) -> list[Json]:
    items = found.get(key)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AccessProblem(f"--url {url}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise AccessProblem(f"--url {one_line(url)}: expected http://HOST:PORT or https://HOST:PORT")
    if parts.username or parts.password:
        raise AccessProblem("--url: no user or password belongs there: use --token-file")
    if parts.query or parts.fragment:
        raise AccessProblem(f"--url {one_line(url)}: expected no ? and no #")
    return url.rstrip("/")


def _token(path: Path) -> str:
    """The first line of the file, as the remediator's own token files have one token per line."""
    try:
        with path.open("rb") as file:
            lines = file.read(_LONGEST_TOKEN_FILE).decode("ascii").split()
    except OSError as error:
        raise AccessProblem(f"--token-file {path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise AccessProblem(f"--token-file {path}: a token is printable ASCII") from None
    if not lines:
        raise AccessProblem(f"--token-file {path}: holds no token")
    if not lines[0].isprintable():
        raise AccessProblem(f"--token-file {path}: a token is printable ASCII")
    return lines[0]


def _context(access: Access) -> ssl.SSLContext:
    if (access.cert_file is None) is not (access.key_file is None):
        raise AccessProblem("--cert-file and --key-file go together")
    context = create_urllib3_context()
    if access.ca_file is None:
        context.load_default_certs()
    else:
        try:
            context.load_verify_locations(cafile=str(access.ca_file))
        except OSError as error:  # ssl.SSLError is one of them
            words = "holds no PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise AccessProblem(f"--ca-file {access.ca_file}: {words}") from None
    if access.cert_file is not None and access.key_file is not None:
        try:
            # The password is given so that an encrypted key is an error and no question on the terminal.
            context.load_cert_chain(str(access.cert_file), str(access.key_file), password="")
        except ssl.SSLError:
            words = f"--cert-file {access.cert_file}: no PEM certificate with its unencrypted key in {access.key_file}"
            raise AccessProblem(words) from None
        except OSError as error:
            words = f"--cert-file {access.cert_file}, --key-file {access.key_file}: {error.strerror}"
            raise AccessProblem(words) from None
    return context


def _why(error: Exception) -> str:
    if isinstance(error, MaxRetryError) and error.reason is not None:
        error = error.reason
    if isinstance(error, NameResolutionError | NewConnectionError):
        cause = error.__cause__
        return f"no connection: {getattr(cause, 'strerror', None) or one_line(str(cause or error))}"
    if isinstance(error, SSLError) and "WRONG_VERSION_NUMBER" in str(error):
        return "TLS failed: the other side does not speak it: is it http://?"
    if isinstance(error, SSLError):
        return f"TLS failed: {one_line(str(error))}"
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return f"no connection within {CONNECT_SECONDS:g} s"
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return f"no answer within {ANSWER_SECONDS:g} s"
    if isinstance(error, urllib3.exceptions.ProtocolError) and len(error.args) > 1:
        return f"the connection broke: {error.args[1]}"
    return one_line(str(error)) or type(error).__name__


def _maybe_done(method: str, error: Exception) -> str:
    """What a person must know where a change was sent and no answer came."""
    never = (NewConnectionError, urllib3.exceptions.ConnectTimeoutError, SSLError)
    if method == "GET" or isinstance(error, never):
        return ""
    return "; it may have been done all the same: look again"
