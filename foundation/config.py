"""The part of the configuration that exporter and remediator share: the foundations and how to look at them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from foundation.durations import Duration, PositiveDuration
from foundation.layout import Layout, LayoutError, layouts, override
from foundation.probes.result import Stage


class Part(BaseModel):
    """A section of the configuration: unknown keys are refused, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    if path == Path() or "\0" in str(path):
        raise ValueError("expected a path")
    try:
        path = path.expanduser()
    except RuntimeError as problem:
        raise ValueError(f"{path}: {problem}") from None
    folder = info.context.get("folder") if isinstance(info.context, dict) else None
    return folder / path if isinstance(folder, Path) else path


LocalPath = Annotated[Path, AfterValidator(_beside_the_file)]
"""A path on this machine. A relative one is relative to the folder of the configuration file that it stands in."""
Whole = Annotated[int, Field(strict=True)]
"""A whole number, written as one: neither `true` nor a text of digits."""
Switch = Annotated[bool, Field(strict=True)]
"""true or false, and nothing that could stand for either."""


def _dns_label(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name):
        raise ValueError(f"expected 1 to 63 lower-case letters, digits and dashes, not {name[:80]!r}")
    return name


DnsLabel = Annotated[str, AfterValidator(_dns_label)]
"""A name as Kubernetes takes it for a namespace (RFC 1123)."""


def _layout(value: object) -> object:
    """`auto`, a name, or a mapping of overrides with `base`."""
    if value == "auto" or isinstance(value, Layout):
        return value
    try:
        if isinstance(value, str):
            return override(value, {})
        if isinstance(value, dict) and isinstance(value.get("base"), str):
            changes = {key: item for key, item in value.items() if key != "base"}
            return override(value["base"], changes)
    except LayoutError as problem:
        raise ValueError(str(problem)) from None
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(map(str, first["loc"]))
        what = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}: {what}" if where else what) from None
    raise ValueError(f"expected auto, one of {', '.join(layouts())}, or a mapping with `base`")


class BbsConfig(Part):
    """How deep BBS is probed, and with which credentials."""

    depth: Stage = Stage.PING
    ca_file: LocalPath | None = None
    cert_file: LocalPath | None = None
    key_file: LocalPath | None = None
    connections: Whole = Field(default=3, ge=1, le=10)
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
    port: Whole | None = Field(default=None, gt=0, lt=65536)
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

    name: DnsLabel
    """The value of the label `foundation`; a DNS label, as object names are made of it."""
    namespace: DnsLabel
    layout: Annotated[Layout | Literal["auto"], BeforeValidator(_layout)] = "auto"
    kubeconfig: LocalPath | None = None
    context: str | None = None
    bbs: BbsConfig = BbsConfig()
    settle: Duration = 120.0
    database: DatabaseConfig | None = None
    exec: Switch = False
    """May run `nc` and `tail` in api pods, and `nc` to the database in a BBS pod while nothing serves."""
    max_pods: Whole = Field(default=5, ge=1, le=50)


class ProbeConfig(Part):
    """When to probe, for all foundations."""

    interval: PositiveDuration = 5.0
    timeout: Annotated[PositiveDuration, Field(le=60)] = 3.0
    """Over all stages of one probe."""


def unique_names(foundations: tuple[FoundationConfig, ...]) -> tuple[FoundationConfig, ...]:
    """Raises ValueError where there is none, or two have one name."""
    if not foundations:
        raise ValueError("at least one foundation is required")
    names = [foundation.name for foundation in foundations]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two foundations are named {name}")
    return foundations
