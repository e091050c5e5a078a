"""What a foundation is made of on each platform, as data: `layouts/*.yaml`, one per row of the known releases.

Nothing else in the house names a pod, a label or a port. `recognise` reads a layout off the pods that are there; it
does not guess: no match and two matches are both errors that say what was found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from types import MappingProxyType
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

Labels = Mapping[str, str]


class LayoutError(ValueError):
    """No layout fits, or two do: one line with what was found and what to set."""


class NotReady(StrEnum):
    """What "running, but not ready beyond the start budget" says, per platform."""

    CRASH = "crash"
    """SCF 2.11 and later: a process inside the container is down."""
    READY = "ready"
    """KubeCF: what a stuck Locket looks like, since readiness reads the lock through it."""
    PASSIVE = "passive"
    """CFEE 1.x: passive pods are not ready by design."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RoleLayout(_Part):
    """The pods of one role."""

    statefulset: str = Field(min_length=1)
    any_of: tuple[dict[str, str], ...] = Field(min_length=1)
    """Label sets, any of which selects the pod: older releases carry other labels."""
    containers: tuple[str, ...] = ()
    """Those in which BBS or Locket run."""
    bbs_only: tuple[str, ...] = ()
    """Those of them whose restart restarts BBS and no Locket."""

    @model_validator(mode="after")
    def _refuse_an_empty_selector(self) -> Self:
        if any(not labels for labels in self.any_of):
            raise ValueError("an empty selector would match every pod")
        return self

    def selects(self, labels: Labels) -> bool:
        """Whether a pod with these labels belongs to the role."""
        return _matches(self.any_of, labels)


class ActiveLabel(_Part):
    """The label by which the platform marks the active pod."""

    key: str = Field(min_length=1)
    value: str = Field(min_length=1)

    def marks(self, labels: Labels) -> bool:
        """Whether a pod with these labels is marked active."""
        return labels.get(self.key) == self.value


class ServiceLayout(_Part):
    """BBS as Cloud Controller reaches it."""

    host: str = Field(min_length=1)
    """`{namespace}` stands for the foundation's namespace. Also the name that the certificate must carry."""
    port: int = Field(gt=0, lt=65536)
    address: str | None = None
    """Connect here instead of resolving `host`; the certificate is checked against `host` all the same."""


class LogLayout(_Part):
    """Where Cloud Controller's log can be read."""

    source: Literal["pod", "exec"]
    role: Literal["api"]
    container: str | None = None
    path: str | None = None


class RoleLayouts(_Part):
    """The roles of a foundation. Without `locket`, Locket runs in the BBS pods."""

    bbs: RoleLayout
    api: RoleLayout
    locket: RoleLayout | None = None

    def items(self) -> tuple[tuple[str, RoleLayout], ...]:
        """The roles that exist, by name."""
        pairs = (("bbs", self.bbs), ("api", self.api), ("locket", self.locket))
        return tuple((name, role) for name, role in pairs if role is not None)


class Layout(_Part):
    """One platform's layout."""

    name: str
    title: str
    roles: RoleLayouts
    absent: tuple[tuple[dict[str, str], ...], ...] = ()
    """Pods that must not exist for this layout to be recognised."""
    recognise_active_label: bool | None = None
    """Where two releases differ only in it: whether a BBS pod must carry `skiff-role-active`."""
    active_label: ActiveLabel | None
    service: ServiceLayout
    bbs_port: int = Field(default=8889, gt=0, lt=65536)
    locket_port: int = Field(default=8891, gt=0, lt=65536)
    locket_server_name: str
    """A name that Locket's certificate carries on every pod; needed for reading the lock only."""
    not_ready_means: NotReady
    restart: tuple[Literal["locket", "bbs"], ...]
    """All roles in which BBS or Locket run, in the order in which they are restarted."""
    strategy: Literal["all", "one-by-one"]
    log: LogLayout

    @model_validator(mode="after")
    def _restart_every_role_locket_first(self) -> Self:
        # The verdicts name pods of both roles, and a BBS that starts beside a stuck Locket hangs in its first call.
        wanted = ("bbs",) if self.roles.locket is None else ("locket", "bbs")
        if self.restart != wanted:
            raise ValueError(f"restart: expected [{', '.join(wanted)}] where these are the roles, Locket first")
        return self

    def role_of(self, labels: Labels) -> str | None:
        """The role of a pod with these labels, or None."""
        return next((name for name, role in self.roles.items() if role.selects(labels)), None)


@dataclass(frozen=True, slots=True)
class Recognised:
    """A layout and what it was recognised by."""

    layout: Layout
    by: str


def _read() -> Mapping[str, Layout]:
    found = {}
    for file in sorted(resources.files("foundation.layouts").iterdir(), key=lambda item: item.name):
        if file.name.endswith(".yaml"):
            layout = Layout.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
            found[layout.name] = layout
    return MappingProxyType(found)


_LAYOUTS = _read()
"""A constant: the files are part of the program, and nothing can change what was read of them."""


def layouts() -> Mapping[str, Layout]:
    """All known layouts by name."""
    return _LAYOUTS


def locket_statefulsets() -> frozenset[str]:
    """What Locket's StatefulSet is called where Locket has pods of its own."""
    return frozenset(item.roles.locket.statefulset for item in _LAYOUTS.values() if item.roles.locket is not None)


def override(base: str, changes: Mapping[str, object]) -> Layout:
    """A known layout with some fields replaced, merged mapping by mapping.

    Raises LayoutError for an unknown base, pydantic.ValidationError for fields that do not exist or do not fit.
    """
    if base not in layouts():
        raise LayoutError(f"{base!r} is no layout (there are {', '.join(layouts())})")
    return Layout.model_validate(_merged(layouts()[base].model_dump(), changes))


def recognise(pods: Sequence[Labels]) -> Recognised:
    """The one layout that fits the labels of the namespace's pods.

    Raises LayoutError when none fits, naming what is there, or when two do, naming both.
    """
    fitting = [layout for layout in layouts().values() if _fits(layout, pods)]
    if len(fitting) == 1:
        return Recognised(fitting[0], _by(fitting[0], pods))
    if fitting:
        names = " and ".join(layout.name for layout in fitting)
        raise LayoutError(f"the pods fit the layouts {names}: set `layout` to one of them")
    roles = sorted({role for labels in pods if (role := _component(labels))})
    found = f"roles found: {', '.join(roles[:12])}" if roles else "none of its pods carries a role's label"
    raise LayoutError(
        f"no layout fits the namespace's {len(pods)} pods ({found}); every layout needs a BBS pod and an api pod: "
        f"check `namespace`, or set `layout` to one of {', '.join(layouts())}"
    )


def _fits(layout: Layout, pods: Sequence[Labels]) -> bool:
    if not all(any(role.selects(labels) for labels in pods) for _, role in layout.roles.items()):
        return False
    if any(_matches(any_of, labels) for any_of in layout.absent for labels in pods):
        return False
    if layout.recognise_active_label is None:
        return True
    marked = any("skiff-role-active" in labels for labels in pods if layout.roles.bbs.selects(labels))
    return marked is layout.recognise_active_label


def _by(layout: Layout, pods: Sequence[Labels]) -> str:
    counts = []
    for name, role in layout.roles.items():
        chosen = [labels for labels in pods if role.selects(labels)]
        key, value = next(
            (key, value) for any_of in role.any_of for key, value in any_of.items() if chosen[0].get(key) == value
        )
        counts.append(f"{len(chosen)} {name} pod{'s' if len(chosen) != 1 else ''} with {key}={value}")
    if layout.roles.locket is None:
        counts.append("no Locket pods of their own")
    return ", ".join(counts)


def _component(labels: Labels) -> str | None:
    keys = ("app.kubernetes.io/component", "skiff-role-name", "quarks.cloudfoundry.org/instance-group-name")
    return next((labels[key] for key in keys if key in labels), None)


def _matches(any_of: Sequence[Labels], labels: Labels) -> bool:
    return any(all(labels.get(key) == value for key, value in wanted.items()) for wanted in any_of)


def _merged(base: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
