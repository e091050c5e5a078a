"""What can go wrong between this process and the Kubernetes API server, as one small family of exceptions.

They carry the API server's own words: those name the missing permission or the violated rule better than we can.
They do not decide what a caller does next: `retry` only says whether the same request may succeed later unchanged.
"""

# ruff: noqa: N818 -- the names say what happened; KubeError, which all of them are, has the suffix.

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_MESSAGE = 500
_LONGEST_WAIT = 86400
"""Seconds: what a server asks to wait beyond that is no wait but a slip."""


def one_line(text: str) -> str:
    """The text on one line of at most 500 characters, without control characters."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= _LONGEST_MESSAGE else flat[: _LONGEST_MESSAGE - 1] + "…"


@dataclass(frozen=True, slots=True)
class Target:
    """What a request was about, in RBAC's words, so that an operator can compare it with a Role."""

    verb: str
    resource: str
    """Plural, with its subresource: `pods`, `pods/exec`; the path itself where it names no resource."""
    namespace: str = ""
    name: str = ""

    @classmethod
    def of(cls, verb: str, path: str) -> Target:
        """Read resource, namespace and name from an API path such as `/api/v1/namespaces/cf/pods/x/log`."""
        parts = [unquote(p) for p in path.partition("?")[0].split("/") if p]
        skip = {"api": 2, "apis": 3}.get(parts[0], 0) if parts else 0
        if not skip or len(parts) <= skip:
            return cls(verb, path)
        rest, namespace = parts[skip:], ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        return cls(verb, "/".join([rest[0], *rest[2:]]), namespace, rest[1] if len(rest) > 1 else "")

    def __str__(self) -> str:
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource}{' ' + self.name if self.name else ''}{where}"


class ConfigurationProblem(ValueError):
    """No usable way to reach an API server is configured; one line that says what was looked for."""


class KubeError(Exception):
    """A request that did not give what was asked for. `str()` is one line for an operator."""

    status: int | None
    """The HTTP status (or the `code` of a watch's ERROR event); None where there was no answer."""
    reason: str
    """Kubernetes' machine-readable reason (`Forbidden`, `AlreadyExists`), else HTTP's."""
    message: str
    """The API server's words; where it said nothing, ours."""
    verb: str
    resource: str
    namespace: str
    name: str
    retry: bool
    """Whether the same request may succeed later. After `Unreachable` a write may nevertheless have been done."""
    retry_after: float | None
    """Seconds the server asked to wait."""

    def __init__(
        self,
        message: str,
        *,
        target: Target,
        status: int | None = None,
        reason: str = "",
        retry: bool = False,
        retry_after: float | None = None,
    ) -> None:
        self.message = one_line(message)
        self.status, self.reason = status, reason
        self.verb, self.resource = target.verb, target.resource
        self.namespace, self.name = target.namespace, target.name
        self.retry, self.retry_after = retry, retry_after
        said = f"{status or ''} {reason}".strip()
        super().__init__(f"cannot {target}: {said + ': ' if said else ''}{self.message}")


class Unreachable(KubeError):
    """No connection, no answer in time, a broken connection, or TLS that failed."""


class Unauthorized(KubeError):
    """401: the credentials are missing, expired or unknown."""


class Forbidden(KubeError):
    """403: the account lacks `verb` on `resource`."""


class NotFound(KubeError):
    """404."""


class Conflict(KubeError):
    """409: another writer was first, the object exists already, or a precondition did not hold."""


class Gone(KubeError):
    """410: the resourceVersion or continue token is too old; list anew."""


class Invalid(KubeError):
    """422: the object broke a rule of its schema or of admission."""


class TooManyRequests(KubeError):
    """429: throttled, or an eviction that a PodDisruptionBudget does not allow now."""


class ServerError(KubeError):
    """Any 5xx."""


class NotUnderstood(KubeError):
    """An answer that is not JSON or not of the shape that Kubernetes promises."""


_BY_STATUS: Mapping[int, type[KubeError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}


def from_status(target: Target, status: int, answer: object, retry_after: float | None = None) -> KubeError:
    """The error for an HTTP status and the `Status` object that came with it, if `answer` is one."""
    words = answer if isinstance(answer, dict) else {}
    reason, message, details = words.get("reason"), words.get("message"), words.get("details")
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    asked = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    if retry_after is None and isinstance(asked, int | float) and 0 < asked <= _LONGEST_WAIT:
        retry_after = float(asked)
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else KubeError)
    return kind(
        message if isinstance(message, str) and message.strip() else "the server gave no reason",
        target=target,
        status=status,
        reason=one_line(reason)[:100] if isinstance(reason, str) and reason else phrase,
        retry=status == 429 or status >= 500,
        retry_after=retry_after,
    )


def from_answer(target: Target, status: int, headers: Mapping[str, str], body: bytes) -> KubeError:
    """The error for a whole HTTP answer, whose body may be a Status object, plain text (a proxy's) or nothing."""
    try:
        answer: object = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        answer = {"message": body[:2000].decode("utf-8", "replace")}
    wait = headers.get("Retry-After") or headers.get("retry-after") or ""
    return from_status(
        target, status, answer, float(wait) if wait.isascii() and wait.isdigit() and len(wait) < 6 else None
    )
