"""The part of the configuration that exporter and remediator share: the foundations and how to look at them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from foundation.durations import Duration, PositiveDuration
from foundation.layout import Layout, LayoutError, layouts, override
from foundation.probes.result import Stage


class Part(BaseModel):
    """A section of the configuration: unknown keys are refused, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _layout(value: object) -> object:
    """`auto`, a name, or a mapping of overrides with `base`."""
    if value == "auto" or isinstance(value, Layout):
        return value
    try:
        if isinstance(value, str):
            return override(value, {})
        if isinstance(value, dict) and "base" in value:
            changes = {key: item for key, item in value.items() if key != "base"}
            return override(str(value["base"]), changes)
    except LayoutError as problem:
        raise ValueError(str(problem)) from None
    except ValidationError as problem:
        first = problem.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    raise ValueError(f"expected auto, one of {', '.join(layouts())}, or a mapping with `base`")


class BbsConfig(Part):
    """How deep BBS is probed, and with which credentials."""

    depth: Stage = Stage.PING
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    connections: int = Field(default=3, ge=1, le=10)
    """Fresh connections to the Service in each look: two labelled pods answer in turn."""

    @model_validator(mode="after")
    def _refuse_what_cannot_be_probed(self) -> Self:
        if self.depth is Stage.DNS:
            raise ValueError("depth: expected tcp, tls, ping or read")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        return self


class DatabaseConfig(Part):
    """The SQL server behind BBS and Locket; `kind: none` leaves it out on purpose."""

    kind: Literal["postgresql", "mysql", "none"]
    host: str | None = None
    port: int | None = Field(default=None, gt=0, lt=65536)
    interval: PositiveDuration = 60.0
    """The shortest time between two looks at it, which are made only while nothing serves."""

    @model_validator(mode="after")
    def _know_where_it_is(self) -> Self:
        if self.kind != "none" and not self.host:
            raise ValueError("host is required, unless kind is none")
        return self

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, the port being the kind's own where none is given."""
        return self.host or "", self.port or (3306 if self.kind == "mysql" else 5432)


class FoundationConfig(Part):
    """One Cloud Foundry foundation."""

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    """The value of the label `foundation`; a DNS label, as object names are made of it."""
    namespace: str = Field(min_length=1)
    layout: Annotated[Layout | Literal["auto"], BeforeValidator(_layout)] = "auto"
    kubeconfig: Path | None = None
    context: str | None = None
    bbs: BbsConfig = BbsConfig()
    settle: Duration = 120.0
    database: DatabaseConfig | None = None
    exec: bool = False
    max_pods: int = Field(default=5, ge=1, le=50)


class ProbeConfig(Part):
    """When to probe, for all foundations."""

    interval: PositiveDuration = 5.0
    timeout: PositiveDuration = 3.0


def unique_names(foundations: tuple[FoundationConfig, ...]) -> tuple[FoundationConfig, ...]:
    """Raises ValueError where there is none, or two have one name."""
    if not foundations:
        raise ValueError("at least one foundation is required")
    names = [foundation.name for foundation in foundations]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two foundations are named {name}")
    return foundations
