"""What an operator comes upon around the chart, on a real API server: a definition that is there already, a second
release, another namespace, a token changed, a cluster without the Prometheus operator, and what is left at the end.

No program runs here: `test_chart_on_a_server.py` has that.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import pytest
import yaml

from foundation.kube.client import KubeClient
from foundation.kube.errors import Forbidden, KubeError, NotFound
from foundation.kube.paths import core_path, group_path, namespace_path, pods_path
from tests.support.api_server import account_kubeconfig
from tests.support.helm import CHART, HelmFailed, helm, render, the, values_arguments
from tests.support.simulated import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.conftest import Server

Json = dict[str, Any]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CRD = f"{CRDS}/remediations.stager-medic.dev"
TOKENS = ("alertmanager.token", "operator.token")


def there(admin: KubeClient, path: str) -> bool:
    try:
        admin.get(path)
    except NotFound:
        return False
    return True


def plain() -> Json:
    found: Json = yaml.safe_load((CHART / "files" / "crds" / "remediations.yaml").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def no_definition(admin: KubeClient) -> Iterator[None]:
    """A cluster that has never heard of it; at the end it has, as other tests count on it."""
    with contextlib.suppress(NotFound):
        admin.delete(CRD)
    eventually(lambda: not there(admin, CRD), "the definition is gone")
    yield
    if not there(admin, CRD):
        admin.create(CRDS, plain())
    where = group_path("stager-medic.dev", "v1alpha1", "default", "remediations")
    eventually(lambda: there(admin, where), "the definition is served")


Helm = Callable[..., str]


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Helm:
    """helm in a namespace; install and upgrade get the chart and values that need nothing else in the cluster."""

    def go(namespace: str, command: str, release: str, *more: str, **values: object) -> str:
        chart = []
        if command in ("install", "upgrade"):
            chart = [str(CHART), *values_arguments(("kubecf", "plain-prometheus"), values, tmp_path)]
        return helm(
            command, release, *chart, *more, "--namespace", namespace, kubeconfig=server.kubeconfig, timeout=120
        )

    return go


def secret(admin: KubeClient, namespace: str, release: str) -> Json:
    path = core_path(namespace, "secrets", f"{release}-stager-medic-remediator-credentials")
    return cast("Json", admin.get(path))


def tokens(admin: KubeClient, namespace: str, release: str) -> tuple[str, ...]:
    data = secret(admin, namespace, release)["data"]
    return tuple(base64.b64decode(data[key]).decode() for key in TOKENS)


def left_in(admin: KubeClient, namespace: str) -> set[str]:
    """What is in a namespace of what the chart makes; and what Kubernetes itself puts there is left out."""
    found = set()
    kinds = [("", "v1", kind) for kind in ("configmaps", "secrets", "serviceaccounts", "services")]
    kinds += [("apps", "v1", "deployments"), ("networking.k8s.io", "v1", "networkpolicies")]
    kinds += [("policy", "v1", "poddisruptionbudgets")]
    kinds += [("rbac.authorization.k8s.io", "v1", kind) for kind in ("roles", "rolebindings")]
    for group, version, kind in kinds:
        path = group_path(group, version, namespace, kind) if group else core_path(namespace, kind)
        for one in cast("list[Json]", admin.list_all(path)[0]):
            if one["metadata"]["name"] not in ("kube-root-ca.crt", "default"):
                found.add(f"{kind}/{one['metadata']['name']}")
    return found


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("no_definition")
def test_two_releases_share_one_definition_which_outlives_both(
    run: Helm, admin: KubeClient, namespaces: Callable[[], str]
) -> None:
    first, second = namespaces(), namespaces()
    run(first, "install", "medic")
    with pytest.raises(HelmFailed, match=r"remediations\.stager-medic\.dev.*invalid ownership metadata"):
        run(second, "install", "medic")
    assert left_in(admin, second) == set(), "a refused installation leaves nothing"
    run(second, "install", "medic", crds={"install": False})
    assert tokens(admin, first, "medic") != tokens(admin, second, "medic")
    request: Json = {
        "apiVersion": "stager-medic.dev/v1alpha1",
        "kind": "Remediation",
        "metadata": {"name": "story"},
        "spec": {"foundation": "kubecf", "playbook": "restart-diego-api"},
    }
    stories = group_path("stager-medic.dev", "v1alpha1", second, "remediations")
    admin.create(stories, request)

    run(first, "upgrade", "medic", crds={"install": False})
    assert there(admin, CRD), "it stays when it is switched off"
    run(first, "upgrade", "medic")
    assert "kept" in run(first, "uninstall", "medic")
    assert left_in(admin, first) == set()
    assert there(admin, f"{stories}/story"), "the other release's history is untouched"
    run(first, "install", "medic")
    for namespace in (first, second):
        run(namespace, "uninstall", "medic")
        assert left_in(admin, namespace) == set()
    assert there(admin, f"{stories}/story")


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("no_definition")
def test_a_definition_applied_by_hand_is_left_alone_or_taken(run: Helm, admin: KubeClient, namespace: str) -> None:
    admin.create(CRDS, plain())
    with pytest.raises(HelmFailed, match="invalid ownership metadata"):
        run(namespace, "install", "medic")
    run(namespace, "install", "medic", crds={"install": False})
    run(namespace, "uninstall", "medic")
    run(namespace, "install", "medic", "--take-ownership")
    kept = cast("Json", admin.get(CRD))["metadata"]["annotations"]
    assert kept["helm.sh/resource-policy"] == "keep"
    run(namespace, "uninstall", "medic")
    assert there(admin, CRD)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("definition")
def test_tokens_stay_and_one_is_changed_as_the_readme_says(run: Helm, admin: KubeClient, namespace: str) -> None:
    without = {"crds": {"install": False}}
    run(namespace, "install", "medic", **without)
    webhook, operator = tokens(admin, namespace, "medic")
    assert len(webhook) == len(operator) == 48
    person = {"name": "alice", "scopes": ["view"], "tokenSha256": ["0" * 64]}
    run(namespace, "upgrade", "medic", **without, remediator={"mode": "approval", "credentials": {"people": [person]}})
    assert tokens(admin, namespace, "medic") == (webhook, operator)
    entries = yaml.safe_load(base64.b64decode(secret(admin, namespace, "medic")["data"]["credentials.yml"]))
    assert [entry["name"] for entry in entries] == ["alertmanager", "operator", "alice"]

    path = core_path(namespace, "secrets", "medic-stager-medic-remediator-credentials")
    admin.patch(path, {"data": {"alertmanager.token": None}})
    run(namespace, "upgrade", "medic", **without)
    changed, kept = tokens(admin, namespace, "medic")
    assert changed != webhook
    assert len(changed) == 48
    assert kept == operator
    run(namespace, "rollback", "medic", "1")
    assert tokens(admin, namespace, "medic") == (webhook, operator), "as the README warns"
    run(namespace, "uninstall", "medic")


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("definition")
def test_beside_the_foundation_in_another_namespace(
    run: Helm, server: Server, admin: KubeClient, namespaces: Callable[[], str], tmp_path: Path
) -> None:
    medic, foundation = namespaces(), namespaces()
    run(medic, "install", "medic", foundation={"namespace": foundation}, crds={"install": False})
    assert {one.partition("/")[0] for one in left_in(admin, foundation)} == {"roles", "rolebindings"}
    assert not {one for one in left_in(admin, medic) if one.startswith("role")}
    for program in ("exporter", "remediator"):
        file = tmp_path / program
        account_kubeconfig(file, server.kubeconfig, admin, medic, f"medic-stager-medic-{program}")
        with KubeClient.connect(str(file), user_agent="e2e") as client:
            eventually(lambda client=client: readable(client, foundation), "the foundation is seen")  # type: ignore[misc]
            with pytest.raises(Forbidden):
                client.list_all(pods_path(medic))
            with pytest.raises(Forbidden):
                client.get(core_path(medic, "secrets", "medic-stager-medic-remediator-credentials"))
    run(medic, "uninstall", "medic")
    assert left_in(admin, medic) | left_in(admin, foundation) == set()


def readable(client: KubeClient, namespace: str) -> bool:
    try:
        client.list_all(pods_path(namespace))
    except Forbidden:
        return False
    return True


def test_prometheus_finds_its_targets_by_the_rights_that_it_is_given(
    admin: KubeClient, server: Server, namespaces: Callable[[], str], tmp_path: Path
) -> None:
    """By objects, as the server has no ServiceMonitors."""
    medic, monitoring = namespaces(), namespaces()
    account: Json = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "prometheus-k8s"}}
    admin.create(core_path(monitoring, "serviceaccounts"), account)
    given = {"serviceMonitor": {"prometheusAccount": {"name": "prometheus-k8s", "namespace": monitoring}}}
    manifests = render(values={"monitoring": given}, namespace=medic)
    file = account_kubeconfig(tmp_path / "kubeconfig", server.kubeconfig, admin, monitoring, "prometheus-k8s")
    with KubeClient.connect(str(file), user_agent="e2e") as prometheus:
        with pytest.raises(Forbidden):
            prometheus.list_all(pods_path(medic))
        for kind in ("Role", "RoleBinding"):
            path = group_path("rbac.authorization.k8s.io", "v1", medic, f"{kind.lower()}s")
            admin.create(path, the(manifests, kind, "prometheus"))
        eventually(lambda: readable(prometheus, medic), "it may")
        for path in (
            core_path(medic, "services"),
            core_path(medic, "endpoints"),
            group_path("discovery.k8s.io", "v1", medic, "endpointslices"),
        ):
            prometheus.list_all(path)
        with pytest.raises(Forbidden):
            prometheus.list_all(core_path(medic, "secrets"))


@pytest.mark.timeout(120)
def test_without_the_prometheus_operator_nothing_is_begun(
    server: Server, admin: KubeClient, namespace: str, tmp_path: Path
) -> None:
    if there(admin, "/apis/monitoring.coreos.com"):
        pytest.skip("this cluster has the Prometheus operator's definitions")
    given = values_arguments(("kubecf",), {"crds": {"install": False}}, tmp_path)
    with pytest.raises(HelmFailed, match=r"this cluster has no monitoring\.coreos\.com/.*plain-prometheus\.yaml"):
        helm("install", "medic", str(CHART), *given, "--namespace", namespace, kubeconfig=server.kubeconfig, timeout=60)
    assert left_in(admin, namespace) == set()


def test_the_pods_pass_where_the_namespace_is_restricted(admin: KubeClient, namespace: str) -> None:
    """Pod Security's strictest level, which refuses pods, and of Deployments would only warn."""
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    admin.patch(namespace_path(namespace), {"metadata": {"labels": label}})
    manifests = render("cfee2", namespace=namespace)
    pods = [the(manifests, "Pod", "preflight")]
    for name in ("exporter", "remediator"):
        template = the(manifests, "Deployment", name)["spec"]["template"]
        metadata = {**template["metadata"], "name": name}
        pods.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
    for pod in pods:
        pod["spec"]["serviceAccountName"] = "default"
        admin.create(pods_path(namespace), pod, dry_run=True)
    pods[1]["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(KubeError, match="violates PodSecurity"):
        admin.create(pods_path(namespace), pods[1], dry_run=True)
