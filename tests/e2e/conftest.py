"""Tests against a real API server: only when they are asked for by name (`make e2e`), and never without a server."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from foundation.kube.client import KubeClient
from foundation.kube.errors import Conflict, KubeError, NotFound
from foundation.kube.paths import core_path, group_path, namespace_path
from tests.support.api_server import ASSETS, KUBECONFIG, ApiServer, missing
from tests.support.helm import CHART
from tests.support.simulated import eventually

if TYPE_CHECKING:
    from foundation.kube.client import Json

_HERE = Path(__file__).parent
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def _asked_for(config: pytest.Config) -> bool:
    return any(Path(argument.partition("::")[0]).resolve().is_relative_to(_HERE) for argument in config.args)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`make test` leaves this folder alone."""
    return True if collection_path.is_relative_to(_HERE) and not _asked_for(config) else None


def pytest_configure(config: pytest.Config) -> None:
    """Without a server nothing here can be told: say how to get one."""
    if _asked_for(config) and (problem := missing(os.environ)):
        raise pytest.UsageError(problem)


@dataclass(frozen=True)
class Server:
    """The API server of this session."""

    kubeconfig: Path
    """Its administrator's."""
    own: ApiServer | None
    """Where we started it ourselves."""

    def connect(self) -> KubeClient:
        return KubeClient.connect(str(self.kubeconfig), user_agent="e2e-admin")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if given := os.environ.get(KUBECONFIG):
        yield Server(Path(given), None)
        return
    own = ApiServer(tmp_path_factory.mktemp("api-server"), Path(os.environ[ASSETS]).resolve())
    try:
        own.start()
        yield Server(own.admin_kubeconfig(), own)
    finally:
        own.stop()


@pytest.fixture
def admin(server: Server) -> Iterator[KubeClient]:
    with server.connect() as client:
        yield client


@pytest.fixture(scope="session")
def definition(server: Server) -> Json:
    """The CustomResourceDefinition as `kubectl apply --server-side` puts it there, served."""
    body: Json = yaml.safe_load((CHART / "files" / "crds" / "remediations.yaml").read_text(encoding="utf-8"))
    with server.connect() as client:
        try:
            client.create(CRDS, body)
        except Conflict:
            path = f"{CRDS}/remediations.stager-medic.dev"
            client.patch(path, {"spec": body["spec"]})

        def served() -> bool:
            try:
                client.get(group_path("stager-medic.dev", "v1alpha1", "default", "remediations"))
            except NotFound:
                return False
            return True

        eventually(served, "the definition is served")
    return body


Namespaces = Callable[[], str]


@pytest.fixture
def namespaces(admin: KubeClient) -> Iterator[Namespaces]:
    """Makes namespaces that go away with the test. Where nobody finalises them, they stay Terminating."""
    made: list[str] = []

    def make() -> str:
        name = f"e2e-{secrets.token_hex(4)}"
        admin.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        made.append(name)
        return name

    yield make
    for name in made:
        try:
            for item in admin.list_all(core_path(name, "pods"))[0]:
                metadata = item["metadata"]
                assert isinstance(metadata, dict)
                admin.delete(core_path(name, "pods", metadata["name"]), grace=0)
            admin.delete(namespace_path(name))
        except KubeError as problem:
            if not isinstance(problem, (NotFound, Conflict)):
                raise


@pytest.fixture
def namespace(namespaces: Namespaces) -> str:
    return namespaces()
