"""What an API server says when it refuses: a `Status` object with the reason that clients act on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.api.objects import Json
    from simulator.api.resources import Resource

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class ApiError(Exception):
    """An answer other than success."""

    def __init__(
        self, code: int, message: str, *, reason: str = "", details: Json | None = None, retry: int = 0
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason or _REASONS.get(code, "")
        self.details = details or {}
        self.retry = retry
        """Seconds for `Retry-After`, 0 for none."""

    def status(self) -> Json:
        """Give the `Status` object to send."""
        details = dict(self.details)
        if self.retry:
            details["retryAfterSeconds"] = self.retry
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "details": details,
            "code": self.code,
        }


def not_found(resource: Resource, name: str) -> ApiError:
    """The object does not exist."""
    return ApiError(404, f'{resource.qualified} "{name}" not found', details=_details(resource, name))


def already_exists(resource: Resource, name: str) -> ApiError:
    """A create met an object of that name."""
    return ApiError(
        409,
        f'{resource.qualified} "{name}" already exists',
        reason="AlreadyExists",
        details=_details(resource, name),
    )


def conflict(resource: Resource, name: str, why: str) -> ApiError:
    """A resourceVersion or a precondition does not hold."""
    return ApiError(
        409,
        f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}',
        details=_details(resource, name),
    )


def forbidden(resource: Resource, verb: str, namespace: str, name: str = "", subresource: str = "") -> ApiError:
    """The user lacks a permission: the text is RBAC's own."""
    what = f'{resource.qualified} "{name}"' if name else resource.qualified
    asked = f"{resource.plural}/{subresource}" if subresource else resource.plural
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    return ApiError(
        403,
        f'{what} is forbidden: User "simulated" cannot {verb} resource "{asked}" '
        f'in API group "{resource.group}" {where}',
        details={"kind": resource.plural, "group": resource.group},
    )


def too_old(asked: int, oldest: int) -> ApiError:
    """The history before a resourceVersion is gone."""
    return ApiError(410, f"too old resource version: {asked} ({oldest})")


def _details(resource: Resource, name: str) -> Json:
    details: Json = {"name": name, "kind": resource.plural}
    if resource.group:
        details["group"] = resource.group
    return details
