"""What must fit together in what is rendered: selectors, ports, probes, policies, mounts, and how little a pod may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.cases import CASES, Case, case
from tests.support.helm import of_kind, render, the

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Json = dict[str, Any]
COMPONENTS = ("exporter", "remediator")


def pod_templates(manifests: Sequence[Json]) -> Iterator[tuple[str, Json, Json]]:
    """Name, metadata and specification of every pod that comes of these."""
    for one in manifests:
        if one["kind"] == "Deployment":
            template = one["spec"]["template"]
            yield one["metadata"]["name"], template["metadata"], template["spec"]
        elif one["kind"] == "Pod":
            yield one["metadata"]["name"], one["metadata"], one["spec"]


def chosen(selector: Mapping[str, str], manifests: Sequence[Json]) -> list[str]:
    """The names of what a label selector matches."""
    return [name for name, metadata, _ in pod_templates(manifests) if selector.items() <= metadata["labels"].items()]


@pytest.mark.parametrize("one", CASES, ids=str)
def test_every_selector_finds_its_own_pods_and_no_others(one: Case) -> None:
    manifests = one.render()
    for found in manifests:
        selector, spec = None, found.get("spec", {})
        if found["kind"] in ("Deployment", "PodDisruptionBudget"):
            selector = spec["selector"]["matchLabels"]
        elif found["kind"] == "Service":
            selector = spec["selector"]
        elif found["kind"] == "NetworkPolicy":
            selector = spec["podSelector"]["matchLabels"]
        if selector is None:
            continue
        names = chosen(selector, manifests)
        assert len(names) == 1, f"{found['kind']} {found['metadata']['name']} selects {names}"
        assert found["metadata"]["labels"]["app.kubernetes.io/component"] in names[0]
        assert "app.kubernetes.io/version" not in selector, "a selector never changes between releases"
        assert "helm.sh/chart" not in selector


@pytest.mark.parametrize("one", CASES, ids=str)
def test_services_probes_and_policies_name_ports_that_are_there(one: Case) -> None:
    manifests = one.render()
    ports: dict[str, set[str]] = {}
    for name, _, spec in pod_templates(manifests):
        (container,) = spec["containers"]
        ports[name] = {port["name"] for port in container.get("ports", ())}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in container:
                where = container[probe].get("httpGet") or container[probe]["tcpSocket"]
                assert where["port"] in ports[name]
    for found in manifests:
        if found["kind"] == "Service":
            (name,) = chosen(found["spec"]["selector"], manifests)
            assert {port["targetPort"] for port in found["spec"]["ports"]} <= ports[name]
        if found["kind"] == "NetworkPolicy":
            (name,) = chosen(found["spec"]["podSelector"]["matchLabels"], manifests)
            assert {port["port"] for rule in found["spec"]["ingress"] for port in rule["ports"]} == ports[name]
    for monitor in of_kind(manifests, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        absent = [item["key"] for item in monitor["spec"]["selector"].get("matchExpressions", ())]
        services = [
            service
            for service in of_kind(manifests, "Service")
            if wanted.items() <= service["metadata"]["labels"].items()
            and not set(absent) & set(service["metadata"]["labels"])
        ]
        assert len(services) == 1, monitor["metadata"]["name"]
        served = {port["name"] for port in services[0]["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= served


@pytest.mark.parametrize("one", CASES, ids=str)
def test_no_pod_may_more_than_it_needs(one: Case) -> None:
    for name, _, spec in pod_templates(one.render()):
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC", "initContainers"))
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context.get("privileged") in (None, False)
            assert set(container["resources"]["limits"]) == set(container["resources"]["requests"]) == {"cpu", "memory"}
            assert not any("secretKeyRef" in str(entry) for entry in container.get("env", ())), "secrets are files"
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in spec["volumes"]}
            writable = [mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
            assert writable == ["tmp"]
        for volume in spec["volumes"]:
            assert set(volume) - {"name"} <= {"configMap", "secret", "emptyDir"}, "nothing of the node"
            if "secret" in volume and volume["name"] in ("bbs", "tls"):
                assert volume["secret"]["items"], "the platform's Secret holds every other secret too"


@pytest.mark.parametrize("one", CASES, ids=str)
def test_accounts_are_mounted_where_they_are_used_alone(one: Case) -> None:
    manifests = one.render()
    assert all(account["automountServiceAccountToken"] is False for account in of_kind(manifests, "ServiceAccount"))
    made = {account["metadata"]["name"] for account in of_kind(manifests, "ServiceAccount")}
    bound = {who["name"] for binding in of_kind(manifests, "RoleBinding") for who in binding["subjects"]}
    used = {name: spec["serviceAccountName"] for name, _, spec in pod_templates(manifests)}
    assert made <= set(used.values())
    if of_kind(manifests, "Role"):
        assert bound == set(used.values())
    exporters = {account for name, account in used.items() if "exporter" in name}
    assert not exporters & {account for name, account in used.items() if "exporter" not in name}


@pytest.mark.parametrize("component", COMPONENTS)
def test_probes_follow_tls(component: str) -> None:
    def probes(**tls: object) -> list[Json]:
        web = {"tls": {"enabled": True, "secret": "certificate", **tls}} if tls else {}
        values = {component: {"web": web}, "monitoring": {"serviceMonitor": {"tlsConfig": {"serverName": "x"}}}}
        (container,) = the(render(values=values), "Deployment", component)["spec"]["template"]["spec"]["containers"]
        return [container[name] for name in ("startupProbe", "livenessProbe", "readinessProbe")]

    assert {probe["httpGet"]["scheme"] for probe in probes()} == {"HTTP"}
    assert {probe["httpGet"]["scheme"] for probe in probes(minVersion="TLS13")} == {"HTTPS"}
    assert [probe["httpGet"]["path"] for probe in probes()] == ["/livez", "/livez", "/readyz"]
    # A kubelet has no client certificate: an HTTPS probe would restart a healthy pod for ever.
    assert all(probe["tcpSocket"] for probe in probes(clientAuthType="RequireAndVerifyClientCert"))


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_changed_configuration_restarts_and_a_changed_token_does_not(component: str) -> None:
    def annotations(**values: object) -> Json:
        found: Json = the(render(values=values), "Deployment", component)["spec"]["template"]["metadata"]["annotations"]
        return found

    assert annotations() == annotations()
    assert annotations() != annotations(probe={"interval": "9s"})


def test_one_token_reaches_alertmanager_and_the_remediator() -> None:
    for values in ({}, {"remediator": {"credentials": {"existingSecret": "mine", "webhookTokenKey": "hook"}}}):
        manifests = render(values=values)
        (receiver,) = the(manifests, "AlertmanagerConfig")["spec"]["receivers"]
        (hook,) = receiver["webhookConfigs"]
        where = hook["httpConfig"]["authorization"]["credentials"]
        volumes = the(manifests, "Deployment", "remediator")["spec"]["template"]["spec"]["volumes"]
        (credentials,) = [volume for volume in volumes if volume["name"] == "credentials"]
        assert credentials["secret"]["secretName"] == where["name"]
        if not values:
            import base64

            secret = the(manifests, "Secret", "credentials")
            assert secret["metadata"]["name"] == where["name"]
            entries = yaml.safe_load(base64.b64decode(secret["data"]["credentials.yml"]))
            (webhook,) = [entry for entry in entries if entry["scopes"] == ["webhook"]]
            assert webhook["token_file"] == where["key"]
            assert len(base64.b64decode(secret["data"][where["key"]])) >= 32
        service = the(manifests, "Service", "remediator")
        port = service["spec"]["ports"][0]["port"]
        assert hook["url"] == f"http://{service['metadata']['name']}.cf.svc:{port}/api/v1/alertmanager"
        assert hook["maxAlerts"] == 0


def test_the_policies_open_what_is_needed_and_no_more() -> None:
    def policy(name: str, *presets: str, **values: object) -> Json:
        found: Json = the(render(*presets, values=values), "NetworkPolicy", name)["spec"]
        return found

    mysql = {"database": {"kind": "mysql", "host": "database"}}
    remediator = policy("remediator", "kubecf", foundation=mysql)
    assert remediator["policyTypes"] == ["Ingress", "Egress"]
    egress = {port["port"] for rule in remediator["egress"] for port in rule["ports"]}
    assert egress == {53, 443, 6443, 8889, 8891, 3306}
    assert all(
        rule.get("to") for rule in remediator["egress"] if {8889, 8891} & {port["port"] for port in rule["ports"]}
    )
    (web,) = remediator["ingress"]
    peers = [item["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for item in web["from"]]
    assert sorted(peers) == ["alertmanager", "prometheus"]
    (web,) = policy("exporter", "kubecf")["ingress"]
    assert [item["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for item in web["from"]] == ["prometheus"]
    assert policy("preflight", "kubecf")["ingress"] == []
    nobody = policy("remediator", networkPolicy={"prometheus": [], "alertmanager": [], "pages": []})
    assert nobody.get("ingress") in (None, []), "no peers is nobody, where an empty `from` would be everybody"
    names = [rule["ports"][0]["port"] for rule in policy("exporter", "cfee2")["ingress"]]
    assert sorted(names) == ["syslog", "web"]
    none = policy("remediator", foundation={"database": {"kind": "none"}})
    assert {port["port"] for rule in none["egress"] for port in rule["ports"]} == {53, 443, 6443, 8889, 8891}


def test_switches_take_away_what_they_say() -> None:
    everything = {(one["kind"], one["metadata"]["name"]) for one in render()}

    def gone(**values: object) -> set[str]:
        return {
            kind for kind, _ in everything - {(one["kind"], one["metadata"]["name"]) for one in render(values=values)}
        }

    assert gone(crds={"install": False}) == {"CustomResourceDefinition"}
    assert gone(rbac={"create": False}) == {"Role", "RoleBinding"}
    assert gone(networkPolicy={"enabled": False}) == {"NetworkPolicy"}
    assert gone(tests={"enabled": False}) == {"Pod", "NetworkPolicy"}
    assert gone(monitoring={"serviceMonitor": {"enabled": False}}) == {"ServiceMonitor"}
    assert gone(monitoring={"prometheusRule": {"enabled": False}}) == {"PrometheusRule"}
    assert gone(monitoring={"alertmanagerConfig": {"enabled": False}}) == {"AlertmanagerConfig"}
    assert gone(monitoring={"dashboards": {"enabled": False}}) == {"ConfigMap"}
    assert gone(remediator={"podDisruptionBudget": {"enabled": False}}) == {"PodDisruptionBudget"}
    assert gone(remediator={"replicas": 1}) == {"PodDisruptionBudget"}
    off = {one["metadata"]["name"] for one in render(values={"remediator": {"enabled": False}})}
    assert not [name for name in off if "remediator" in name and "remediations" not in name and "dashboard" not in name]


def test_the_definition_is_kept_and_is_the_plain_file() -> None:
    from tests.support.helm import CHART

    found = the(case("defaults").render(), "CustomResourceDefinition")
    assert found["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    plain = yaml.safe_load((CHART / "files" / "crds" / "remediations.yaml").read_text(encoding="utf-8"))
    assert found["spec"] == plain["spec"]
    assert found["metadata"]["name"] == plain["metadata"]["name"]
