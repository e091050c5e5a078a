"""Values that cannot be meant are refused, in words that name the value and what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.helm import HelmFailed, render

Json = dict[str, Any]

BY_SCHEMA: list[tuple[str, Json, tuple[str, ...]]] = [
    ("unknown", {"remediater": {}}, ("additional properties 'remediater' not allowed",)),
    ("unknown below", {"remediator": {"repliccas": 3}}, ("/remediator", "'repliccas' not allowed")),
    ("unknown far below", {"exporter": {"web": {"tls": {"on": True}}}}, ("/exporter/web/tls", "'on' not allowed")),
    ("mode", {"remediator": {"mode": "automatic"}}, ("/remediator/mode", "'auto'")),
    ("a number as text", {"remediator": {"replicas": "two"}}, ("/remediator/replicas", "want integer")),
    ("no replicas", {"remediator": {"replicas": -1}}, ("/remediator/replicas", "minimum")),
    ("duration", {"probe": {"interval": "5"}}, ("/probe/interval", "does not match pattern")),
    ("layout", {"foundation": {"layout": "cfee-9"}}, ("/foundation/layout",)),
    ("depth", {"foundation": {"bbs": {"depth": "deep"}}}, ("/foundation/bbs/depth", "'ping'")),
    ("database", {"foundation": {"database": {"kind": "oracle"}}}, ("/foundation/database",)),
    ("no host", {"foundation": {"database": {"kind": "mysql"}}}, ("/foundation/database",)),
    ("name", {"foundation": {"name": "Prod Foundation"}}, ("/foundation/name",)),
    ("no limit", {"remediator": {"limits": []}}, ("/remediator/limits",)),
    ("protocol", {"logs": {"syslog": {"protocol": "sctp"}}}, ("/logs/syslog/protocol",)),
    ("scope", {"remediator": {"credentials": {"people": [{"name": "a", "scopes": ["root"]}]}}}, ("/people/0",)),
]  # fmt: skip

BY_SENSE: list[tuple[str, Json, str]] = [
    ("exec without names", {"exporter": {"exec": {"enabled": True}}}, "exporter.exec.pods: name the pods"),
    (
        "exec of a public port",
        {"remediator": {"exec": {"enabled": True, "pods": ["api-0"]}, "service": {"type": "LoadBalancer"}}},
        "remediator.exec.enabled with remediator.service.type LoadBalancer",
    ),
    (
        "exec of a public log port",
        {
            "exporter": {"exec": {"enabled": True, "pods": ["api-0"]}},
            "logs": {"syslog": {"enabled": True, "service": {"type": "NodePort"}}},
        },
        "exporter.exec.enabled with logs.syslog.service.type NodePort",
    ),
    ("logs by exec", {"logs": {"exec": {"enabled": True}}}, "logs.exec.enabled needs exporter.exec.enabled"),
    ("TLS without a secret", {"remediator": {"web": {"tls": {"enabled": True}}}}, "remediator.web.tls.secret: name"),
    ("no account", {"exporter": {"serviceAccount": {"create": False}}}, "exporter.serviceAccount.name: name"),
    (
        "one account",
        {name: {"serviceAccount": {"name": "one"}} for name in ("exporter", "remediator")},
        "the exporter would have the remediator's rights",
    ),
]


@pytest.mark.parametrize(
    ("values", "said"), [(values, said) for _, values, said in BY_SCHEMA], ids=[n for n, *_ in BY_SCHEMA]
)
def test_the_schema_names_the_value(values: Json, said: tuple[str, ...]) -> None:
    with pytest.raises(HelmFailed) as caught:
        render(values=values)
    text = str(caught.value)
    assert "values don't meet the specifications of the schema" in text
    assert [word for word in said if word not in text] == [], text
    assert len(text.splitlines()) <= 8, "it points at the value, and at nothing else"


@pytest.mark.parametrize(
    ("values", "said"), [(values, said) for _, values, said in BY_SENSE], ids=[n for n, *_ in BY_SENSE]
)
def test_what_does_not_go_together_is_said(values: Json, said: str) -> None:
    with pytest.raises(HelmFailed, match=said.replace(".", r"\.")):
        render(values=values)


def test_an_old_cluster_is_refused() -> None:
    with pytest.raises(HelmFailed, match=r"which is incompatible with Kubernetes v1\.18\.20"):
        render(kube="1.18.20")
