"""Values as people give them: odd names, nulls, labels, certificates; and what the notes after an installation say."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.helm import CHART, OPERATOR, HelmFailed, of_kind, render, the
from tests.support.rbac import Right, rights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Json = dict[str, Any]
A_CLUSTER = "v1/Pod"
"""What only a Helm that looks into a cluster knows."""


def certificate(**keys: str) -> Json:
    return {"foundation": {"bbs": {"certificate": {"secret": "everything-of-the-foundation", **keys}}}}


def credentials(**given: object) -> Json:
    return {"remediator": {"credentials": given}}


ALICE = {"name": "alice", "scopes": ["view"], "tokenSha256": ["0" * 64]}
COSTLY = {"name": "carl", "scopes": ["view"], "passwordBcrypt": f"$2b$31${'a' * 53}"}
REFUSED: list[tuple[str, Json, str]] = [
    ("one key for two tokens", credentials(webhookTokenKey="operator.token"), "operator.token is taken"),
    ("a token in the file of all", credentials(webhookTokenKey="credentials.yml"), "credentials.yml is taken"),
    ("all for Alertmanager", credentials(existingSecret="x", webhookTokenKey="credentials.yml"), "holds all"),
    ("people nowhere", credentials(existingSecret="x", people=[ALICE]), "people: they would be left out"),
    ("a second operator", credentials(people=[{**ALICE, "name": "operator"}]), "would be named operator"),
    ("alice twice", credentials(people=[ALICE, ALICE]), "would be named alice"),
    ("nothing of a Secret", certificate(caKey="", certKey=""), "caKey and certKey are both empty"),
    ("no private key", certificate(keyKey=""), "certificate.keyKey: name the key"),
    ("everybody's account", {"remediator": {"serviceAccount": {"create": False, "name": "default"}}}, "not `default`"),
    ("a label of ours", {"commonLabels": {"app.kubernetes.io/name": "x"}}, "commonLabels: app.kubernetes.io/name is"),
    ("a pod's label", {"exporter": {"podLabels": {"helm.sh/chart": "x"}}}, "exporter.podLabels: helm.sh/chart is"),
    ("a label twice", {"commonLabels": {"a": "1"}, "monitoring": {"labels": {"a": "2"}}}, "a is in commonLabels"),
    (
        "every alert asks",
        {"monitoring": {"prometheusRule": {"alertLabels": {"remediate": "restart-diego-api"}}}},
        "remediate is the rules' own",
    ),
    (
        "an account of nowhere",
        {"monitoring": {"serviceMonitor": {"prometheusAccount": {"name": "prometheus-k8s"}}}},
        "prometheusAccount.namespace: name",
    ),
    ("a name that breaks out", {"fullnameOverride": "a\nb: c"}, "at '/fullnameOverride'"),
    ("a class that breaks out", {"exporter": {"priorityClassName": "a\nhostNetwork: true"}}, "/priorityClassName"),
    ("no share", {"exporter": {"podDisruptionBudget": {"maxUnavailable": "some"}}}, "/maxUnavailable"),
    ("no key", {"remediator": {"web": {"tls": {"certKey": ""}}}}, "/remediator/web/tls/certKey"),
    ("a database's URL", {"foundation": {"database": {"kind": "mysql", "host": "mysql://db"}}}, "/foundation/database"),
    ("a database's port", {"foundation": {"database": {"kind": "mysql", "host": "db:3306"}}}, "/foundation/database"),
    ("a hash for ever", credentials(people=[COSTLY]), "/people/0/passwordBcrypt"),
    ("a name on two lines", credentials(people=[{**ALICE, "name": "a\nb"}]), "/people/0/name"),
    ("a section away", {"remediator": None}, "missing property 'remediator'"),
    ("a value away", {"remediator": {"mode": None}}, "at '/remediator': missing property 'mode'"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "said"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_what_cannot_be_meant_is_refused_by_name(values: Json, said: str) -> None:
    with pytest.raises(HelmFailed) as caught:
        render(values=values)
    assert said in str(caught.value)


def test_a_service_cannot_begin_with_a_digit() -> None:
    with pytest.raises(HelmFailed, match=r"called 1st-stager-medic-….*set fullnameOverride"):
        render(release="1st")
    assert the(render(release="1st", values={"fullnameOverride": "first"}), "Service", "first-exporter")


def test_a_release_with_dots_makes_names_without() -> None:
    assert {one["metadata"]["name"] for one in of_kind(render(release="a.b"), "Service")} == {
        "a-b-stager-medic-exporter",
        "a-b-stager-medic-remediator",
    }


@pytest.mark.parametrize(
    "long", [{"release": "r" * 53}, {"values": {"fullnameOverride": "f" * 60}}], ids=("release", "name")
)
def test_the_longest_names_fit(long: Json) -> None:
    """A Service's name has 63 letters at the most, and Helm allows 53 for a release."""
    names = [one["metadata"]["name"] for one in of_kind(render("cfee2", **long), "Service")]
    assert len(names) == 3
    assert all(len(name) <= 63 for name in names), names


@pytest.mark.parametrize("odd", ["123", "1e3", "true", "null", "0x1f"])
def test_a_name_that_looks_like_something_else_stays_a_name(odd: str) -> None:
    values: Json = {
        "nameOverride": odd,
        "foundation": {"name": odd, "bbs": {"certificate": {"secret": odd, "caKey": odd, "certKey": odd}}},
        "exporter": {"serviceAccount": {"create": False, "name": odd}, "priorityClassName": odd},
        "remediator": {
            "credentials": {"existingSecret": odd, "webhookTokenKey": odd},
            "web": {"tls": {"enabled": True, "secret": odd, "caKey": odd}},
        },
        "commonLabels": {"odd": odd},
    }

    def wrong(thing: object, where: str) -> Iterator[str]:
        if isinstance(thing, dict):
            for key, value in thing.items():
                if not isinstance(key, str):
                    yield f"{where}: the key {key!r}"
                named = key in ("name", "namespace", "secretName", "serviceAccountName", "key", "priorityClassName")
                if (named or where.endswith("abels")) and not isinstance(value, (str, dict)):
                    yield f"{where}.{key}: {value!r}"
                yield from wrong(value, f"{where}.{key}")
        elif isinstance(thing, list):
            for one in thing:
                yield from wrong(one, where)

    manifests = render(values=values, namespace=odd, release="m")
    found = [bad for one in manifests if one["kind"] != "CustomResourceDefinition" for bad in wrong(one, one["kind"])]
    assert found == []


def test_of_the_platforms_secret_only_the_named_keys_are_mounted() -> None:
    def items(**keys: str) -> list[str]:
        pod = the(render(values=certificate(**keys)), "Deployment", "remediator")["spec"]["template"]["spec"]
        (volume,) = [one["secret"] for one in pod["volumes"] if one["name"] == "bbs"]
        return [one["key"] for one in volume["items"]]

    assert items() == ["ca.crt", "tls.crt", "tls.key"]
    assert items(certKey="") == ["ca.crt"]
    assert items(certKey="", keyKey="") == ["ca.crt"]
    assert items(caKey="") == ["tls.crt", "tls.key"]


def test_a_section_that_is_set_to_null_is_missed_by_name() -> None:
    """Helm takes a null for "away": without these, a template would fail with a nil pointer."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    lax: list[str] = []

    def look(part: Json, given: Json, where: str) -> None:
        part = schema["definitions"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        if part.get("additionalProperties") is not False or "requests" in given:
            return
        lax.extend(f"{where}.{key}" for key, value in given.items()
                   if value is not None and key != "global" and key not in part.get("required", ()))  # fmt: skip
        for key, value in given.items():
            if isinstance(value, dict):
                look(part["properties"][key], value, f"{where}.{key}")

    look(schema, values, "")
    assert lax == []


def test_what_openshift_chooses_can_be_left_to_it() -> None:
    nobody = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    for one in of_kind(render(values={"podSecurityContext": nobody}), "Deployment"):
        context = one["spec"]["template"]["spec"]["securityContext"]
        assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


class TestTheOperator:
    def test_is_missed_in_words(self) -> None:
        with pytest.raises(HelmFailed, match=r"no monitoring\.coreos\.com/.*presets/plain-prometheus\.yaml"):
            render(apis=(A_CLUSTER,))
        with pytest.raises(HelmFailed, match=r"v1beta1/AlertmanagerConfig.*alertmanagerConfig\.enabled: false"):
            render(
                apis=(A_CLUSTER, *OPERATOR), values={"monitoring": {"alertmanagerConfig": {"apiVersion": "v1beta1"}}}
            )

    def test_is_not_missed_where_it_is_or_is_not_wanted(self) -> None:
        assert of_kind(render(apis=(A_CLUSTER, *OPERATOR)), "ServiceMonitor")
        assert not of_kind(render("plain-prometheus", apis=(A_CLUSTER,)), "ServiceMonitor")
        assert of_kind(render(apis=()), "ServiceMonitor"), "helm template knows of no cluster"

    def test_prometheus_gets_rights_where_it_is_named(self) -> None:
        account = {"name": "prometheus-k8s", "namespace": "monitoring"}
        values: Json = {
            "monitoring": {"serviceMonitor": {"prometheusAccount": account}},
            "foundation": {"namespace": "x"},
        }
        manifests = render(values=values)
        role = the(manifests, "Role", "prometheus")
        assert role["metadata"]["namespace"] == "cf", "where the Services are, and not where the foundation is"
        assert set(rights(role)) == {
            Right(verb, resource, group)
            for verb in ("get", "list", "watch")
            for resource, group in [("services", ""), ("endpoints", ""), ("pods", ""),
                                    ("endpointslices", "discovery.k8s.io")]
        }  # fmt: skip
        binding = the(manifests, "RoleBinding", "prometheus")
        assert binding["roleRef"]["name"] == role["metadata"]["name"]
        assert binding["subjects"] == [{"kind": "ServiceAccount", **account}]
        for without in ({"rbac": {"create": False}}, {"monitoring": {"serviceMonitor": {"enabled": False}}}):
            assert not of_kind(render(values={**values, **without}), "Role", "prometheus")
        assert not of_kind(render(), "Role", "prometheus")


def test_the_api_server_is_let_through_where_ibm_cloud_has_it() -> None:
    """There the Service `kubernetes` leads to port 2040, and policies see the port behind a Service."""
    for name in ("exporter", "remediator", "preflight"):
        rules = the(render("cfee2"), "NetworkPolicy", name)["spec"]["egress"]
        assert 2040 in {port["port"] for rule in rules for port in rule["ports"]}


@pytest.fixture
def notes(tmp_path: Path) -> Callable[..., str]:
    """What is told after an installation: rendered as a manifest, since `helm template` leaves the notes out."""
    chart = tmp_path / "stager-medic"
    shutil.copytree(CHART, chart)
    told = '{{ include (print $.Template.BasePath "/NOTES.txt") . | toJson }}'
    manifest = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: told, labels: {{}}}}\ndata: {{notes: {told}}}\n"
    (chart / "templates" / "told.yaml").write_text(manifest, encoding="utf-8")

    def tell(*presets: str, **values: object) -> str:
        found: str = the(render(*presets, values=values, chart=chart), "ConfigMap", "told")["data"]["notes"]
        return found

    return tell


HASH = "$2y$10$abcdefghijklmnopqrstuuGQ3JYGpQXn4nKr5pYx8Jb3cVb7Hl7uK"


class TestNotes:
    def test_say_what_is_half_set_up(self, notes: Callable[..., str]) -> None:
        password = {"web": {"basicAuthUsers": {"prometheus": HASH}}}
        assert "Prometheus has none: set monitoring.serviceMonitor.basicAuth" in notes(exporter=password)
        reference = {"username": {"name": "p", "key": "u"}, "password": {"name": "p", "key": "p"}}
        known = {"serviceMonitor": {"basicAuth": reference}}
        assert "basicAuth" not in notes(exporter=password, monitoring=known)
        short, full = ({"kind": "mysql", "host": host} for host in ("database", "database.scf.svc"))
        assert "say database.scf.svc" in notes(foundation={"namespace": "scf", "database": short})
        assert "looked up" not in notes(foundation={"namespace": "scf", "database": full})
        assert "looked up" not in notes(foundation={"database": short})

    def test_say_that_the_trigger_would_not_be_led_anywhere(self, notes: Callable[..., str]) -> None:
        off: Json = {"prometheusRule": {"enabled": False}}
        assert "label namespace=cf only" in notes(monitoring=off)
        assert "REPAIRED" not in notes(monitoring={**off, "alertmanagerConfig": {"namespaceLabel": False}})
        assert "REPAIRED" not in notes()

    def test_without_the_operator_are_configurations_that_can_be_read(self, notes: Callable[..., str]) -> None:
        tls = {"enabled": True, "secret": "tls-secret", "clientAuthType": "RequireAndVerifyClientCert"}
        text = notes(
            "plain-prometheus",
            exporter={"web": {"tls": tls, "basicAuthUsers": {"prometheus": HASH}}},
            remediator={"web": {"tls": tls}},
        )
        assert HASH not in text
        prometheus = yaml.safe_load(text.partition("in prometheus.yml\n")[2].partition("\nThis file is")[0])
        assert prometheus["rule_files"] == ["stager-medic.rules.yml"]
        exporter, remediator = prometheus["scrape_configs"]
        assert exporter["basic_auth"]["username"] == "prometheus"
        assert "basic_auth" not in remediator
        for name, job in (("exporter", exporter), ("remediator", remediator)):
            assert job["scheme"] == "https"
            assert job["tls_config"]["server_name"] == f"medic-stager-medic-{name}.cf.svc"
            assert {"ca_file", "cert_file", "key_file"} <= set(job["tls_config"])
            assert job["honor_labels"] is True
        alertmanager = yaml.safe_load(text.partition("the route before all others\n")[2].partition("\nThe token")[0])
        (hook,) = alertmanager["receivers"][0]["webhook_configs"]
        assert hook["url"] == "https://medic-stager-medic-remediator.cf.svc:9718/api/v1/alertmanager"
        assert {"ca_file", "cert_file", "key_file"} == set(hook["http_config"]["tls_config"])
        plain = notes("plain-prometheus")
        assert "tls_config" not in plain
        assert "basic_auth" not in plain
