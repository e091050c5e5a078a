from __future__ import annotations

import ssl
import threading
from typing import TYPE_CHECKING

import pytest
import trustme
from kubernetes.client import Configuration

from foundation.kube.client import KubeClient, pod_path
from foundation.kube.errors import Unreachable
from foundation.kube.exec import run
from tests.support.scripted_api import ScriptedApi, chunks, exec_status, frame, reply, silence, websocket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POD = pod_path("cf", "api-0")


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def api(ca: trustme.CA) -> Iterator[ScriptedApi]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with ScriptedApi(context) as server:
        yield server


def client(api: ScriptedApi, trusted: trustme.CA, ca: trustme.CA, directory: Path) -> KubeClient:
    """A client that trusts one CA and shows a certificate of another (the same, in the good case)."""
    mine = ca.issue_cert("client@example.org")
    trusted.cert_pem.write_to_path(str(directory / "ca.pem"))
    mine.private_key_and_cert_chain_pem.write_to_path(str(directory / "client.pem"))
    conf = Configuration()
    conf.host, conf.ssl_ca_cert = api.url, str(directory / "ca.pem")
    conf.cert_file = conf.key_file = str(directory / "client.pem")
    return KubeClient(conf, connect_timeout=2, read_timeout=5)


def test_requests_streams_and_exec_with_certificates(api: ScriptedApi, ca: trustme.CA, tmp_path: Path) -> None:
    api.on("GET", POD, reply({"a": 1}))
    api.on("GET", POD + "/log", chunks(b"x"))
    api.on("GET", POD + "/exec", websocket([frame(1, b"hi"), frame(3, exec_status(0))]))
    with client(api, ca, ca, tmp_path) as kube:
        assert kube.get(POD) == {"a": 1}
        with kube.stream(POD + "/log") as stream:
            assert list(stream) == [b"x"]
        result = run(kube, "cf", "api-0", "api", ["true"], timeout=5)
    assert (result.stdout, result.exit_code) == (b"hi", 0)


@pytest.mark.parametrize("answer", [chunks(b"x", then="hang"), silence])
def test_close_unblocks_under_tls(api: ScriptedApi, ca: trustme.CA, tmp_path: Path, answer: object) -> None:
    api.on("GET", POD, answer)  # type: ignore[arg-type]
    with client(api, ca, ca, tmp_path) as kube:
        stream = kube.stream(POD, read_timeout=50)
        reader = threading.Thread(target=lambda: list(stream))
        reader.start()
        api.wait_for(1)
        stream.close()
        reader.join(5)
        assert not reader.is_alive()
        assert stream.ended == "closed"


def test_an_untrusted_server_gets_nothing(api: ScriptedApi, ca: trustme.CA, tmp_path: Path) -> None:
    with client(api, trustme.CA(), ca, tmp_path) as kube:
        with pytest.raises(Unreachable, match=r"certificate verify failed"):
            kube.get(POD)
        with pytest.raises(Unreachable, match=r"certificate verify failed"):
            run(kube, "cf", "api-0", "api", ["true"], timeout=5)
    assert api.seen == []


def test_verification_can_be_switched_off(api: ScriptedApi, ca: trustme.CA, tmp_path: Path) -> None:
    api.on("GET", POD, reply({}))
    api.on("GET", POD + "/exec", websocket([frame(3, exec_status(0))]))
    with client(api, trustme.CA(), ca, tmp_path) as made:
        conf = made.configuration
    conf.verify_ssl = False
    with KubeClient(conf) as kube:
        with pytest.warns(match="Unverified HTTPS"):
            kube.get(POD)
        assert run(kube, "cf", "api-0", "api", ["true"], timeout=5).exit_code == 0


def test_a_missing_ca_file_is_said(api: ScriptedApi, ca: trustme.CA, tmp_path: Path) -> None:
    with client(api, ca, ca, tmp_path) as kube:
        (tmp_path / "ca.pem").unlink()
        with pytest.raises(Unreachable, match="cannot get pods"):
            kube.get(POD)
        with pytest.raises(Unreachable, match="cannot get pods/exec"):
            run(kube, "cf", "api-0", "api", ["true"], timeout=5)
