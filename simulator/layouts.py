"""The shapes of foundation that can be simulated: what the platform makes, not what the product expects to find.

Written down apart from `foundation/layouts` on purpose: the simulated names come from the platforms' own sources
(fissile's Kubernetes generator, quarks-operator), so that a wrong name in the product's layouts is seen. The lists of
containers are shortened to those that matter here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

CC_LOG = "/var/vcap/sys/log/cloud_controller_ng/cloud_controller_ng.log"
CLOCK_LOG = "/var/vcap/sys/log/cloud_controller_clock/cloud_controller_clock.log"


@dataclass(frozen=True, slots=True)
class RoleSpec:
    """One StatefulSet."""

    name: str
    containers: tuple[str, ...]
    replicas: int = 2
    ordered: bool = False
    """`podManagementPolicy: OrderedReady`: a pod is made only once those before it are ready."""


@dataclass(frozen=True, slots=True)
class LayoutSpec:
    """One platform's release line."""

    name: str
    bbs: RoleSpec
    api: RoleSpec
    clock: RoleSpec
    locket: RoleSpec | None = None
    """None: Locket runs in the BBS pods."""
    active_key: str = ""
    """The label of the active pod; empty: there is none."""
    active_value: str = "true"
    passive_value: str = ""
    """What a passive pod carries; empty: no label."""
    service: str = "diego-api"
    host: str = ""
    """The name under which CC reaches BBS; empty: the Service's."""
    kubecf: bool = False
    stale_labels: bool = False
    """The label keeps its value where a process of the pod is down: fissile before February 2019."""

    @property
    def locket_in_bbs(self) -> bool:
        """Tell whether each BBS has a Locket beside it."""
        return self.locket is None

    @property
    def roles(self) -> tuple[tuple[str, RoleSpec], ...]:
        """Give the StatefulSets with the part that they play."""
        found = [("api", self.api), ("bbs", self.bbs), ("clock", self.clock)]
        if self.locket is not None:
            found.append(("locket", self.locket))
        return tuple(found)

    def labels(self, role: RoleSpec, ordinal: int) -> dict[str, str]:
        """Give the labels that a pod is born with."""
        if self.kubecf:
            return {
                "quarks.cloudfoundry.org/deployment-name": "kubecf",
                "quarks.cloudfoundry.org/instance-group-name": role.name,
                "quarks.cloudfoundry.org/pod-ordinal": str(ordinal),
                "quarks.cloudfoundry.org/az-index": "0",
                "quarks.cloudfoundry.org/quarks-statefulset-name": role.name,
            }
        return {
            "app.kubernetes.io/component": role.name,
            "app.kubernetes.io/instance": "cf",
            "app.kubernetes.io/managed-by": "Tiller",
            "app.kubernetes.io/name": "cf",
            "app.kubernetes.io/version": "1.0",
            "helm.sh/chart": "cf-2.0",
            "skiff-role-name": role.name,
        }

    def selector(self, role: RoleSpec) -> dict[str, str]:
        """Give what the StatefulSet selects its pods by."""
        if self.kubecf:
            return {"quarks.cloudfoundry.org/instance-group-name": role.name}
        return {"skiff-role-name": role.name}

    def bbs_host(self, namespace: str) -> str:
        """Give the name under which CC reaches BBS."""
        return self.host or f"{self.service}.{namespace}.svc.cluster.local"


_AGENT = "loggregator-agent"
_CLOCK = RoleSpec("cc-clock", ("cc-clock", _AGENT), replicas=1)
_CFEE_2 = LayoutSpec(
    name="cfee-2",
    bbs=RoleSpec("diego-api", ("diego-api", _AGENT), ordered=True),
    api=RoleSpec("api", ("api", _AGENT)),
    clock=_CLOCK,
    active_key="skiff-role-active",
    passive_value="false",
    stale_labels=True,
)
_CFEE_3 = replace(_CFEE_2, name="cfee-3", api=RoleSpec("api-group", ("api-group", _AGENT)), service="diego-api-bbs")
_DIEGO_LOCKET = RoleSpec("diego-locket", ("diego-locket", _AGENT))
_KUBECF = LayoutSpec(
    name="kubecf",
    bbs=RoleSpec("diego-api", ("bbs-bbs", "locket-locket", "silk-controller-silk-controller", "logs")),
    api=RoleSpec(
        "api",
        ("cloud-controller-ng-cloud-controller-ng", "cloud-controller-ng-nginx", "cc-uploader-cc-uploader", "logs"),
    ),
    clock=RoleSpec("scheduler", ("cloud-controller-clock-cloud-controller-clock", "logs"), replicas=1),
    active_key="quarks.cloudfoundry.org/pod-active",
    active_value="active",
    host="bbs.service.cf.internal",
    kubecf=True,
)

_LAYOUTS = (
    replace(_CFEE_2, name="cfee-1", locket=_DIEGO_LOCKET, active_key="", passive_value="", stale_labels=False),
    replace(_CFEE_2, name="scf-2.11", locket=_DIEGO_LOCKET),
    _CFEE_2,
    _CFEE_3,
    replace(_CFEE_3, name="cfee-4", locket=RoleSpec("locket", ("locket", _AGENT)), stale_labels=False),
    _KUBECF,
    replace(
        _KUBECF,
        name="kubecf-next",
        bbs=RoleSpec("diego-api", ("bbs-bbs", "silk-controller-silk-controller", "logs")),
        locket=RoleSpec("locket", ("locket-locket", "logs")),
    ),
)

LAYOUT_NAMES = tuple(layout.name for layout in _LAYOUTS)


def layout_named(name: str) -> LayoutSpec:
    """Give a layout; raises ValueError for a name that is not one of LAYOUT_NAMES."""
    for layout in _LAYOUTS:
        if layout.name == name:
            return layout
    raise ValueError(f"unknown layout {name!r}; known: {', '.join(LAYOUT_NAMES)}")
