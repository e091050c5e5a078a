"""Each incident as it shows on the sockets of a running cluster, seen with nothing but the standard library."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from simulator.incidents import NotApplicableError
from tests.support.simulated import eventually, simulated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from simulator.cluster import Cluster

TIMEOUT = 0.5


class Eyes:
    """Looks at one foundation's ports."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        files = cluster.authority.write_client(folder)
        self.context = ssl.create_default_context(cafile=str(files.ca))
        self.context.load_cert_chain(files.cert, files.key)
        foundation = cluster.site().foundation
        self.host = foundation.layout.bbs_host(foundation.namespace)

    def ping(self, address: str) -> str:
        """One word for what BBS says."""
        request = b"POST /v1/ping HTTP/1.1\r\nHost: bbs\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        try:
            with (
                socket.create_connection((address, 8889), timeout=TIMEOUT) as plain,
                self.context.wrap_socket(plain, server_hostname=self.host) as connection,
            ):
                connection.sendall(request)
                answer = connection.recv(4096)
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "timeout"
        except ssl.SSLCertVerificationError:
            return "expired"
        except (ssl.SSLError, ConnectionResetError) as error:
            return "tls" if "WRONG_VERSION" in str(error) or "record layer" in str(error) else "rejected"
        return answer.split(b" ")[1].decode() if answer else "nothing"

    def pods(self) -> list[str]:
        return [self.ping(pod.ip) for pod in self.cluster.site().foundation.of("bbs")]

    def service(self) -> str:
        return self.ping(self.cluster.site().foundation.service_address)

    def locket(self, address: str) -> str:
        try:
            with (
                socket.create_connection((address, 8891), timeout=TIMEOUT) as plain,
                self.context.wrap_socket(plain, server_hostname="127.0.0.1"),
            ):
                return "answers"
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "timeout"
        except (ssl.SSLError, ConnectionResetError):
            return "reset"

    def lockets(self) -> list[str]:
        foundation = self.cluster.site().foundation
        role = "bbs" if foundation.layout.locket_in_bbs else "locket"
        return [self.locket(pod.ip) for pod in foundation.of(role)]

    def database(self) -> str:
        try:
            with socket.create_connection(
                (self.cluster.site().foundation.database_address, 5432), TIMEOUT
            ) as connection:
                connection.sendall(b"\x00\x00\x00\x08\x04\xd2\x16\x2f")
                return connection.recv(1).decode() or "nothing"
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "timeout"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with simulated() as running:
        yield running


@pytest.fixture
def eyes(cluster: Cluster, tmp_path: Path) -> Eyes:
    return Eyes(cluster, tmp_path)


def test_a_well_foundation(eyes: Eyes) -> None:
    assert eyes.pods() == ["200", "refused"]
    assert eyes.service() == "200"
    assert eyes.lockets() == ["answers", "answers"]
    assert eyes.database() == "S" or eyes.database() == "N"


@pytest.mark.parametrize(
    ("incident", "pods", "service"),
    [
        ("locket_hung", ["refused", "refused"], "refused"),
        ("locked_out", ["refused", "refused"], "refused"),
        ("stale_label", ["refused", "refused"], "refused"),
        ("hung", ["timeout", "refused"], "timeout"),
        ("zombie", ["timeout", "200"], None),
        ("split", ["200", "200"], "200"),
        ("unlabelled_active", ["200", "refused"], "refused"),
        ("network_path", ["200", "refused"], "refused"),
        ("api_down", ["200", "refused"], "200"),
        ("certificate", ["expired", "refused"], "refused"),
        ("client_rejected", ["rejected", "refused"], "rejected"),
        ("database_down", ["refused", "refused"], "refused"),
        ("database_error", ["200", "refused"], "200"),
        ("crashing", ["refused", "refused"], "refused"),
        ("migrating", ["503", "refused"], "refused"),
        ("not_bbs", ["tls", "refused"], "refused"),
        ("unknown", [], "refused"),
    ],
)
def test_incidents_show_and_heal(
    cluster: Cluster, eyes: Eyes, incident: str, pods: list[str], service: str | None
) -> None:
    cluster.start_incident(incident)
    assert cluster.incidents() == [incident]
    eventually(lambda: eyes.pods() == pods, f"{incident}: pods {pods}")
    if service is not None:
        eventually(lambda: eyes.service() == service, f"{incident}: Service {service}")
    cluster.heal_incident(incident)
    assert cluster.incidents() == []
    eventually(lambda: eyes.pods().count("200") == 1 and eyes.service() == "200", f"{incident}: healed")


def test_every_locket_hung_is_cured_by_deleting_the_pods(cluster: Cluster, eyes: Eyes) -> None:
    from simulator.api.resources import PODS
    from simulator.api.store import Deletion

    cluster.start_incident("locket_hung")
    eventually(lambda: eyes.service() == "refused", "nothing serves")
    assert eyes.lockets() == ["timeout", "timeout"]
    assert eyes.database() in ("S", "N")
    for name in ("diego-api-0", "diego-api-1"):
        cluster.store.delete(PODS, "cf", name, Deletion())
    eventually(lambda: eyes.service() == "200" and eyes.lockets() == ["answers", "answers"], "cured")
    assert cluster.incidents() == []


def test_a_database_that_accepts_and_is_silent(cluster: Cluster, eyes: Eyes) -> None:
    cluster.start_incident("database_silent")
    assert eyes.database() == "timeout"
    cluster.heal_incident("database_silent")
    cluster.start_incident("database_down")
    assert eyes.database() == "refused"


def test_two_labelled_pods_are_asked_in_turn(cluster: Cluster, eyes: Eyes) -> None:
    cluster.start_incident("zombie")
    eventually(lambda: len(cluster.site().foundation.service_plan().backends) == 2, "both labelled")
    assert sorted(eyes.service() for _ in range(4)) == ["200", "200", "timeout", "timeout"]


def test_a_service_can_swallow_connections(cluster: Cluster, eyes: Eyes) -> None:
    cluster.site().foundation.troubles.blackhole = True
    cluster.start_incident("unlabelled_active")
    eventually(lambda: eyes.service() == "timeout", "swallowed")
    cluster.heal_incident("unlabelled_active")
    eventually(lambda: eyes.service() == "200", "back")


def test_locket_in_pods_of_its_own(tmp_path: Path) -> None:
    with simulated("cfee-4") as cluster:
        eyes = Eyes(cluster, tmp_path)
        assert eyes.lockets() == ["answers", "answers"]
        cluster.start_incident("locket_down")
        eventually(lambda: eyes.lockets() == [] and eyes.service() == "refused", "no Locket, no BBS")
        cluster.heal_incident("locket_down")
        eventually(lambda: eyes.service() == "200", "back")


def test_an_incident_that_cannot_happen_leaves_no_trace(cluster: Cluster) -> None:
    with pytest.raises(NotApplicableError):
        cluster.start_incident("locket_down")
    assert cluster.incidents() == []


def test_two_clusters_do_not_meet(tmp_path: Path) -> None:
    with simulated(foundations=2) as one, simulated() as two:
        addresses = {site.foundation.service_address for site in [*one.sites.values(), *two.sites.values()]}
        assert len(addresses) == 3
        two.start_incident("network_path")
        one_eyes = Eyes(one, tmp_path)
        assert one_eyes.service() == "200"
        one.start_incident("locked_out", "demo-2")
        assert one.incidents("demo-1") == []
