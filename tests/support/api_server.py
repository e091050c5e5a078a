"""A real API server for tests: etcd and kube-apiserver from one folder, on loopback, or a cluster that is given.

No kubelet, no controller manager, no scheduler: a pod is an object, and what its status says is what somebody wrote
there. Its data is in a temporary folder and goes with it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import trustme
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from foundation.kube.client import KubeClient
from foundation.kube.errors import KubeError
from foundation.kube.paths import core_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foundation.kube.client import Json

ASSETS, KUBECONFIG = "KUBEBUILDER_ASSETS", "E2E_KUBECONFIG"
HOW = (
    f"make e2e needs a real API server: set {ASSETS} to a folder with etcd and kube-apiserver (`setup-envtest use -p"
    f" path` gives one), or {KUBECONFIG} to the kubeconfig of a disposable cluster on which you are cluster-admin"
)
ADMIN = "the-administrator-of-a-server-on-loopback"
_STARTS_WITHIN = 90.0


def missing(environ: os._Environ[str] | dict[str, str]) -> str:
    """Why there is no API server to test against, in one line; empty where there is one."""
    if given := environ.get(KUBECONFIG):
        return "" if Path(given).is_file() else f"{KUBECONFIG}: {given} is no file. {HOW}"
    if not (folder := environ.get(ASSETS)):
        return HOW
    lost = [name for name in ("etcd", "kube-apiserver") if not os.access(Path(folder) / name, os.X_OK)]
    return f"{ASSETS}: {folder} has no {' and no '.join(lost)} that can be run. {HOW}" if lost else ""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has just now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


def kubeconfig(file: Path, server: str, ca: str, token: str, namespace: str = "default") -> Path:
    """Write one; gives its path."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "e2e", "cluster": {"server": server, "certificate-authority": ca}}],
        "users": [{"name": "e2e", "user": {"token": token}}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e", "namespace": namespace}}],
        "current-context": "e2e",
    }
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    file.chmod(0o600)
    return file


def account_kubeconfig(file: Path, like: Path, admin: KubeClient, namespace: str, account: str) -> Path:
    """A kubeconfig with a token of a ServiceAccount, for the same server as `like`'s first cluster."""
    body: Json = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 3600},
    }
    made = admin.create(core_path(namespace, "serviceaccounts", account, sub="token"), body)
    status = made["status"]
    assert isinstance(status, dict)
    kubeconfig(file, "", "", status["token"], namespace)
    written = yaml.safe_load(file.read_text(encoding="utf-8"))
    written["clusters"][0]["cluster"] = yaml.safe_load(like.read_text(encoding="utf-8"))["clusters"][0]["cluster"]
    file.write_text(yaml.safe_dump(written), encoding="utf-8")
    return file


class ApiServer:
    """The two processes. `stop` ends them; `restart` ends and starts the API server alone."""

    def __init__(self, folder: Path, assets: Path) -> None:
        self.folder, self._assets = folder, assets
        self._etcd_port, self._peer_port, self._port = free_port(), free_port(), free_port()
        self._ca = trustme.CA()
        self.ca = folder / "ca.crt"
        self._ca.cert_pem.write_to_path(self.ca)
        self._etcd: subprocess.Popen[bytes] | None = None
        self._api: subprocess.Popen[bytes] | None = None
        self._write_keys()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self._port}"

    def _write_keys(self) -> None:
        leaf = self._ca.issue_cert("127.0.0.1", "localhost")
        leaf.private_key_pem.write_to_path(self.folder / "tls.key")
        self.folder.joinpath("tls.crt").write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.folder.joinpath("sa.key").write_bytes(private)
        self.folder.joinpath("sa.pub").write_bytes(public)
        self.folder.joinpath("tokens.csv").write_text(f'{ADMIN},admin,admin,"system:masters"\n', encoding="utf-8")

    def start(self) -> None:
        """Returns when it is ready. Raises AssertionError with the end of its log where it never is."""
        self._etcd = self._run(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{self._etcd_port}",
            f"--advertise-client-urls=http://127.0.0.1:{self._etcd_port}",
            f"--listen-peer-urls=http://127.0.0.1:{self._peer_port}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{self._peer_port}",
            f"--initial-cluster=default=http://127.0.0.1:{self._peer_port}",
            "--unsafe-no-fsync",
        )
        self.start_api()

    def start_api(self) -> None:
        """The API server alone."""
        folder = self.folder
        self._api = self._run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--secure-port={self._port}",
            f"--cert-dir={folder / 'certs'}",
            f"--tls-cert-file={folder / 'tls.crt'}",
            f"--tls-private-key-file={folder / 'tls.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'sa.pub'}",
            f"--service-account-signing-key-file={folder / 'sa.key'}",
            "--service-cluster-ip-range=10.0.0.0/24",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            # Without a controller manager nobody makes the account `default` that this plugin would ask of each pod.
            "--disable-admission-plugins=ServiceAccount",
        )
        self._await_ready()

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{program}.log").open("ab") as log:
            return subprocess.Popen([self._assets / program, *arguments], stdout=log, stderr=log, cwd=self.folder)

    def _await_ready(self) -> None:
        ends = time.monotonic() + _STARTS_WITHIN
        with self.admin() as client:
            while True:
                for program, process in (("etcd", self._etcd), ("kube-apiserver", self._api)):
                    if process is None or process.poll() is not None:
                        raise AssertionError(f"{program} ended: {self._end_of(program)}")
                try:
                    client.get("/version")
                    client.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/system:discovery")
                    client.get("/api/v1/namespaces/default")
                except KubeError as error:
                    if time.monotonic() > ends:
                        raise AssertionError(f"not ready: {error}; {self._end_of('kube-apiserver')}") from error
                    time.sleep(0.1)
                else:
                    return

    def _end_of(self, program: str) -> str:
        lines = (self.folder / f"{program}.log").read_text(encoding="utf-8", errors="replace").splitlines()
        return " | ".join(lines[-4:])

    def admin(self) -> KubeClient:
        """A client that may do everything; the caller closes it."""
        return KubeClient.connect(str(self.admin_kubeconfig()), user_agent="e2e-admin")

    def admin_kubeconfig(self) -> Path:
        """A kubeconfig that may do everything."""
        return kubeconfig(self.folder / "admin.kubeconfig", self.url, str(self.ca), ADMIN)

    def compact(self) -> None:
        """Forget all history in etcd, as the API server does every five minutes."""
        head = self._etcd_asks("kv/range", {"key": "AA=="})["header"]
        assert isinstance(head, dict)
        self._etcd_asks("kv/compaction", {"revision": head["revision"], "physical": True})

    def _etcd_asks(self, path: str, body: dict[str, object]) -> dict[str, object]:
        url = f"http://127.0.0.1:{self._etcd_port}/v3/{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, object] = json.load(answer)
        return found

    def stop_api(self) -> None:
        """End the API server alone, as an upgrade of the control plane does."""
        _end([self._api])
        self._api = None

    def stop(self) -> None:
        """End both."""
        _end([self._api, self._etcd])
        self._api = self._etcd = None


def _end(processes: Sequence[subprocess.Popen[bytes] | None]) -> None:
    for process in processes:
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
