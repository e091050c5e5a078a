"""Alertmanager's webhook payload, version 4, as 0.25 to 0.34 send it: keys that are not known here are ignored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

MOST_ALERTS = 20_000
MOST_TRUNCATED = 10**9


class NotUnderstood(ValueError):  # noqa: N818
    """Not such a payload: one line on what is wrong where."""


def _utc(moment: datetime) -> datetime:
    """In UTC. Within hours of the calendar's ends there is none: the hour as written then, which is refused later."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return moment.replace(tzinfo=UTC)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Alert(_Part):
    """One alert of a notification."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    starts_at: Annotated[AwareDatetime, AfterValidator(_utc)] = Field(alias="startsAt")
    fingerprint: str = Field(default="", max_length=1000)


class Notification(_Part):
    """What Alertmanager posts."""

    version: Literal["4"]
    alerts: tuple[Alert, ...] = Field(max_length=MOST_ALERTS)
    truncated_alerts: int = Field(default=0, alias="truncatedAlerts", ge=0, le=MOST_TRUNCATED)
    """How many alerts `max_alerts` cut off: these are known to exist, and nothing else."""
    group_key: str = Field(default="", alias="groupKey")
    receiver: str = ""


def parse(body: bytes) -> Notification:
    """Raises NotUnderstood."""
    try:
        return Notification.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise NotUnderstood(f"{where}: {first['msg']}" if where else str(first["msg"])) from None
