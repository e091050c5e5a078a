from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from foundation.probes.credentials import Credentials
from simulator.servers.bbs import BBSServer
from simulator.servers.certificates import Authority, ClientFiles, ServerTLS
from simulator.servers.locket import LocketServer

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "bbs.service.cf.internal"


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority.create()


@pytest.fixture(scope="session")
def tls(authority: Authority) -> ServerTLS:
    return authority.server([NAME, "127.0.0.1"])


@pytest.fixture(scope="session")
def files(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> ClientFiles:
    return authority.write_client(tmp_path_factory.mktemp("client"))


@pytest.fixture
def credentials(files: ClientFiles) -> Credentials:
    return Credentials(files.ca, files.cert, files.key)


@pytest.fixture
def bbs(tls: ServerTLS) -> Iterator[BBSServer]:
    server = BBSServer("127.0.0.1", 0, tls)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def locket(tls: ServerTLS) -> Iterator[LocketServer]:
    server = LocketServer("127.0.0.1", 0, tls, owner="diego-api-0")
    server.start()
    yield server
    server.stop()
