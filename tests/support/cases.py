"""The ways in which the chart is rendered in tests: every preset, and every switch once the other way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.support.helm import render

Json = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One set of values."""

    name: str
    presets: tuple[str, ...] = ()
    values: Json = field(default_factory=dict)
    golden: bool = False
    """Whether what it renders is kept in tests/chart/golden, word for word."""

    def __str__(self) -> str:
        return self.name

    def render(self, **given: Any) -> list[Json]:
        """The manifests; further arguments as `tests.support.helm.render` has them."""
        return render(*self.presets, values=self.values, **given)


def _web(component: str, **more: object) -> Json:
    return {component: {"web": {"tls": {"enabled": True, "secret": f"{component}-tls", **more}}}}


_CLIENT_TLS = {
    "cert": {"secret": {"name": "prometheus-tls", "key": "tls.crt"}},
    "keySecret": {"name": "prometheus-tls", "key": "tls.key"},
}
_SECRET = {"foundation": {"bbs": {"certificate": {"secret": "secrets-2.17.1-1"}}}}
CASES = (
    Case("defaults", golden=True),
    Case("cfee2", ("cfee2",), _SECRET, golden=True),
    Case("scf", ("scf",), _SECRET, golden=True),
    Case("kubecf", ("kubecf",), golden=True),
    Case("kubecf-plain-prometheus", ("kubecf", "plain-prometheus")),
    Case(
        "everything",
        ("cfee2",),
        {
            **_SECRET,
            "commonLabels": {"team": "cf"},
            "imagePullSecrets": [{"name": "registry"}],
            "logs": {
                "pod": {"enabled": True},
                "exec": {"enabled": True},
                "syslog": {"enabled": True, "protocol": "udp"},
            },
            "exporter": {
                "replicas": 2,
                "exec": {"enabled": True},
                "web": {
                    "tls": {"enabled": True, "secret": "exporter-tls", "clientAuthType": "RequireAndVerifyClientCert"},
                    "basicAuthUsers": {"prometheus": "$2y$10$abcdefghijklmnopqrstuuGQ3JYGpQXn4nKr5pYx8Jb3cVb7Hl7uK"},
                },
            },
            "remediator": {
                "mode": "auto",
                "strategy": "one-by-one",
                "exec": {"enabled": True},
                "web": {"tls": {"enabled": True, "secret": "remediator-tls"}},
                "credentials": {
                    "people": [{"name": "alice", "scopes": ["view", "operate"], "tokenSha256": ["0" * 64]}]
                },
            },
            "monitoring": {
                "labels": {"release": "kube-prometheus-stack"},
                "serviceMonitor": {"tlsConfig": _CLIENT_TLS},
            },
        },
        golden=True,
    ),
    Case("auto", values={"remediator": {"mode": "auto"}}),
    Case("approval", values={"remediator": {"mode": "approval"}}),
    Case("mode-off", values={"remediator": {"mode": "off"}}),
    Case("no-evidence", values={"remediator": {"evidence": False, "mode": "auto"}}),
    Case("no-remediator", values={"remediator": {"enabled": False}}),
    Case("no-exporter", values={"exporter": {"enabled": False}}),
    Case("no-crds", values={"crds": {"install": False}}),
    Case("no-rbac", values={"rbac": {"create": False}}),
    Case("no-network-policies", values={"networkPolicy": {"enabled": False}}),
    Case("no-tests", values={"tests": {"enabled": False}}),
    Case("another-namespace", values={"foundation": {"namespace": "scf"}}),
    Case("own-secrets", values={"remediator": {"credentials": {"existingSecret": "mine", "webhookTokenKey": "hook"}}}),
    Case(
        "own-accounts",
        values={
            "exporter": {"serviceAccount": {"create": False, "name": "looks"}},
            "remediator": {"serviceAccount": {"create": False, "name": "acts"}},
        },
    ),
    Case("exporter-tls", values=_web("exporter")),
    Case(
        "remediator-mtls",
        values={
            **_web("remediator", clientAuthType="RequireAndVerifyClientCert"),
            "monitoring": {"serviceMonitor": {"tlsConfig": _CLIENT_TLS}},
        },
    ),
    Case(
        "overridden-layout",
        values={
            "foundation": {
                "layout": {"base": "kubecf", "service": {"port": 18889}, "roles": {"bbs": {"statefulset": "bbs"}}},
                "database": {"kind": "none"},
            }
        },
    ),
)


def case(name: str) -> Case:
    """One of them."""
    return next(one for one in CASES if one.name == name)
