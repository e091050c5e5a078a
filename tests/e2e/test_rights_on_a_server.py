"""The Roles exactly as the chart renders them: each right works, what no right covers is refused, and each missing one
is named, by the API server's own authoriser.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, cast

import pytest
import yaml
from click.testing import CliRunner

from foundation.cluster import ListedCluster
from foundation.kube.client import KubeClient
from foundation.kube.errors import Conflict, Forbidden, KubeError, NotFound
from foundation.kube.exec import run
from foundation.kube.paths import core_path, group_path, pods_path
from remediator.cli import main
from tests.support.api_server import account_kubeconfig
from tests.support.helm import render, the
from tests.support.mirrored import Mirror
from tests.support.rbac import Right, rights, without
from tests.support.remediator_files import write_config
from tests.support.simulated import eventually, simulated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from simulator.cluster import Cluster
    from tests.e2e.conftest import Namespaces, Server

Json = dict[str, Any]
RBAC = "rbac.authorization.k8s.io"
ACCOUNTS = ("exporter", "remediator")
EVERYTHING: Json = {
    "exporter": {"exec": {"enabled": True}},
    "remediator": {"mode": "auto", "exec": {"enabled": True}},
    "logs": {"pod": {"enabled": True}},
}


class Installed:
    """The accounts, Roles and bindings of a rendered chart in a namespace, and clients that are these accounts."""

    def __init__(self, server: Server, admin: KubeClient, namespace: str, folder: Path, values: Json) -> None:
        self.namespace, self._admin, self._folder = namespace, admin, folder
        self.manifests = render("cfee2", values=values, namespace=namespace)
        self._server = server
        for one in self.manifests:
            if one["kind"] == "ServiceAccount":
                admin.create(core_path(namespace, "serviceaccounts"), one)
            elif one["kind"] in ("Role", "RoleBinding"):
                admin.create(group_path(RBAC, "v1", namespace, one["kind"].lower() + "s"), one)

    def role(self, account: str) -> Json:
        return the(self.manifests, "Role", account)

    def kubeconfig(self, account: str) -> Path:
        """With a token of the account, as its pod would have it."""
        name = the(self.manifests, "ServiceAccount", account)["metadata"]["name"]
        file = self._folder / f"{account}.kubeconfig"
        return account_kubeconfig(file, self._server.kubeconfig, self._admin, self.namespace, name)

    def put_role(self, role: Json) -> None:
        path = group_path(RBAC, "v1", self.namespace, "roles", role["metadata"]["name"])
        self._admin.patch(path, {"rules": role["rules"]})

    def may(self, client: KubeClient, right: Right, name: str = "") -> bool:
        """What the authoriser says."""
        resource, _, sub = right.resource.partition("/")
        asked = {
            "namespace": self.namespace, "verb": right.verb, "group": right.group, "resource": resource,
            "subresource": sub, "name": name or (right.names[0] if right.names else ""),
        }  # fmt: skip
        body: Json = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in asked.items() if value}},
        }
        path = group_path("authorization.k8s.io", "v1", None, "selfsubjectaccessreviews")
        return bool(cast("Json", client.create(path, body))["status"]["allowed"])


@pytest.fixture
def installed(
    server: Server, admin: KubeClient, namespace: str, tmp_path: Path, definition: Json
) -> Callable[..., Installed]:
    def make(values: Json = EVERYTHING) -> Installed:
        return Installed(server, admin, namespace, tmp_path, values)

    return make


def connect(installed: Installed, account: str) -> KubeClient:
    return KubeClient.connect(str(installed.kubeconfig(account)), user_agent=f"e2e-{account}")


@pytest.mark.parametrize("account", ACCOUNTS)
def test_each_right_holds_and_nothing_beyond(installed: Callable[..., Installed], account: str) -> None:
    found = installed()
    given = rights(found.role(account))
    with connect(found, account) as client:
        eventually(lambda: found.may(client, given[0]), "the Role is known to the authoriser")
        assert [str(one) for one in given if not found.may(client, one)] == []
        named = [
            one
            for one in given
            if one.names and not any(o.verb == one.verb and o.resource == one.resource and not o.names for o in given)
        ]
        assert named, "pods/exec is limited by name"
        assert [str(one) for one in named if found.may(client, one, "another-pod-0")] == []
        held = {(one.verb, one.group, one.resource) for one in given}
        universe = [
            Right(verb, resource, group)
            for group, resource in (
                ("", "secrets"), ("", "pods"), ("", "pods/exec"), ("", "pods/log"), ("", "pods/eviction"),
                ("", "pods/status"), ("", "pods/ephemeralcontainers"), ("", "configmaps"), ("", "events"),
                ("", "services"), ("", "serviceaccounts"), ("", "serviceaccounts/token"), ("apps", "statefulsets"),
                ("apps", "deployments"), ("apps", "statefulsets/scale"), (RBAC, "roles"), (RBAC, "rolebindings"),
                ("stager-medic.dev", "remediations"), ("stager-medic.dev", "remediations/status"),
            )
            for verb in ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
        ]  # fmt: skip
        beyond = [one for one in universe if (one.verb, one.group, one.resource) not in held]
        assert len(beyond) > 100
        assert [str(one) for one in beyond if found.may(client, one)] == []


@pytest.mark.parametrize("account", ACCOUNTS)
def test_each_right_that_is_taken_away_is_refused_by_name(installed: Callable[..., Installed], account: str) -> None:
    found = installed()
    role = found.role(account)
    with connect(found, account) as client:
        for right in rights(role):
            covered = any(
                (one.verb, one.resource, one.group) == (right.verb, right.resource, right.group) and not one.names
                for one in rights(role)
                if one != right
            )
            found.put_role(without(role, right))
            # A right on one name may be covered by the same right on all.
            eventually(lambda right=right, covered=covered: found.may(client, right) is covered, f"without {right}")  # type: ignore[misc]
            if not covered and (said := refusal(client, found.namespace, right)):
                resource = right.resource
                assert f"cannot {right.verb}" in said, said
                assert f'cannot {right.verb} resource "{resource}" in API group "{right.group}"' in said, said
                assert f'in the namespace "{found.namespace}"' in said, said
                assert f"{account}" in said, said


def refusal(client: KubeClient, namespace: str, right: Right) -> str:
    """What the project's own code is told where it uses this right; empty where only a watch or a stream would."""
    resource, _, sub = right.resource.partition("/")
    name = right.names[0] if right.names else "x"
    api, one = (
        (core_path(namespace, resource), core_path(namespace, resource, name, sub=sub or None))
        if not right.group
        else (
            group_path(right.group, _version(right.group), namespace, resource),
            group_path(right.group, _version(right.group), namespace, resource, name, sub=sub or None),
        )
    )
    body: Json = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "resourceVersion": "1"}}
    deeds: dict[str, Callable[[], object]] = {
        "list": lambda: client.list_all(api),
        "get": lambda: client.get(one),
        "create": lambda: client.create(api, body),
        "update": lambda: client.replace(one, body),
        "patch": lambda: client.patch(one, {}),
        "delete": lambda: client.delete(one),
    }
    if right.verb not in deeds or resource + sub == "podsexec":
        return ""
    with pytest.raises(Forbidden) as caught:
        deeds[right.verb]()
    return str(caught.value)


def _version(group: str) -> str:
    return "v1alpha1" if group == "stager-medic.dev" else "v1"


class TestPreflight:
    """The command, under the account that `helm test` gives it, against a foundation in the real API server."""

    @pytest.fixture
    def cluster(self) -> Iterator[Cluster]:
        with simulated() as running:
            yield running

    def told(self, config: Path) -> tuple[int, list[Json], str]:
        done = CliRunner().invoke(main, ["preflight", "--config", str(config), "--json"])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, json.loads(done.stdout)["checks"], done.stdout

    def write(self, cluster: Cluster, installed: Installed, folder: Path, mode: str = "auto") -> Path:
        file = write_config(cluster, folder, mode=mode)
        document = yaml.safe_load(file.read_text())
        account = str(installed.kubeconfig("remediator"))
        document["foundations"][0] |= {"namespace": installed.namespace, "kubeconfig": account, "exec": True}
        file.write_text(yaml.safe_dump(document))
        return file

    def test_with_every_right(
        self,
        cluster: Cluster,
        installed: Callable[..., Installed],
        server: Server,
        admin: KubeClient,
        tmp_path: Path,
    ) -> None:
        found = installed()
        config = self.write(cluster, found, tmp_path)
        with Mirror(cluster, admin, found.namespace, bound=server.own is not None):
            eventually(lambda: _all_well(self.told(config)[1]), "everything that can be well here is")
            code, checks, out = self.told(config)
        by_name = {one["check"]: one for one in checks}
        assert by_name["permissions"]["result"] == "ok", out
        assert by_name["CRD"]["result"] == "ok", out
        assert "is served with every field needed" in by_name["CRD"]["text"]
        # There is no kubelet to ask for a log: told as what it is, and not as a missing right.
        assert by_name["evidence"]["result"] == "warn", out
        assert code == 0, out

    def test_each_missing_right_is_named(
        self,
        cluster: Cluster,
        installed: Callable[..., Installed],
        server: Server,
        admin: KubeClient,
        tmp_path: Path,
    ) -> None:
        found = installed()
        config = self.write(cluster, found, tmp_path)
        role = found.role("remediator")
        silent = []
        with Mirror(cluster, admin, found.namespace, bound=server.own is not None), connect(found, "remediator") as me:
            for right in rights(role):
                found.put_role(without(role, right))
                if any(
                    (one.verb, one.resource, one.group) == (right.verb, right.resource, right.group) and not one.names
                    for one in rights(role)
                    if one != right
                ):
                    continue
                eventually(lambda right=right: not found.may(me, right), f"without {right}")  # type: ignore[misc]
                _, checks, _ = self.told(config)
                full = f"{right.resource}.{right.group}" if right.group else right.resource
                texts = [one["text"] for one in checks if one["check"] == "permissions"]
                if not any(right.verb in text and full in text and "not permitted" in text for text in texts):
                    silent.append((str(right), texts))
        assert silent == []


def _all_well(checks: Sequence[Json]) -> bool:
    return not [one for one in checks if one["result"] == "FAIL"]


def test_the_exporters_own_code_says_which_right_is_missing(
    installed: Callable[..., Installed], admin: KubeClient
) -> None:
    found = installed()
    role = found.role("exporter")
    with connect(found, "exporter") as client:
        cluster = ListedCluster(client, found.namespace, monotonic=time.monotonic, wall=time.time)

        def problem() -> str:
            cluster.refresh()
            return cluster.problem()

        eventually(lambda: not problem(), "the Role is known to the authoriser")
        found.put_role(without(role, next(one for one in rights(role) if str(one) == "list pods")))
        assert 'cannot list resource "pods"' in eventually(problem, "the right is gone")


def test_other_namespaces_are_closed(
    installed: Callable[..., Installed], namespaces: Namespaces, admin: KubeClient
) -> None:
    found, other = installed(), namespaces()
    for account in ACCOUNTS:
        with connect(found, account) as client:
            eventually(lambda client=client: _readable(client, found.namespace), "the Role is known")  # type: ignore[misc]
            with pytest.raises(Forbidden, match=f'in the namespace "{other}"'):
                client.list_all(pods_path(other))
            with pytest.raises(Forbidden, match="secrets is forbidden"):
                client.list_all(core_path(found.namespace, "secrets"))
            with pytest.raises(Forbidden, match="at the cluster scope"):
                client.list_all("/api/v1/pods")


def _readable(client: KubeClient, namespace: str) -> bool:
    try:
        client.list_all(pods_path(namespace))
    except (Forbidden, NotFound, Conflict):
        return False
    return True


class TestExec:
    """Commands in pods: no kubelet runs any here, so a right that is there shows as a refusal of another kind."""

    NAME = "api-0"

    def attempt(self, client: KubeClient, namespace: str, name: str) -> str:
        try:
            return str(run(client, namespace, name, "api", ["true"], timeout=10))
        except KubeError as error:
            return str(error)

    @pytest.fixture
    def found(self, installed: Callable[..., Installed], admin: KubeClient) -> Installed:
        made = installed()
        for name in (self.NAME, "another-0"):
            spec = {"containers": [{"name": "api", "image": "x"}], "nodeName": "no-kubelet-here"}
            body: Json = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
            admin.create(pods_path(made.namespace), body)
        return made

    @pytest.mark.parametrize("account", ACCOUNTS)
    def test_only_in_the_pods_that_are_named(self, found: Installed, account: str) -> None:
        with connect(found, account) as client:
            eventually(lambda: "403" not in self.attempt(client, found.namespace, self.NAME), "the Role is known")
            assert "no-kubelet-here" in self.attempt(client, found.namespace, self.NAME)
            refused = self.attempt(client, found.namespace, "another-0")
        assert "cannot get pods/exec another-0" in refused
        assert "403" in refused
        assert 'resource "pods/exec"' in refused

    def test_without_either_verb_it_is_refused(self, found: Installed, server: Server) -> None:
        """Which of the two is asked for depends on the API server's age and on how exec is asked for: by GET here."""
        role = found.role("exporter")
        with connect(found, "exporter") as client:
            eventually(lambda: "403" not in self.attempt(client, found.namespace, self.NAME), "the Role is known")
            refused = []
            for verb in ("get", "create"):
                right = next(one for one in rights(role) if str(one) == f"{verb} pods/exec")
                found.put_role(without(role, right))
                eventually(lambda right=right: not found.may(client, right), f"without {right}")  # type: ignore[misc]
                said = self.attempt(client, found.namespace, self.NAME)
                if f'cannot {verb} resource "pods/exec"' in said:
                    refused.append(verb)
        assert "get" in refused
