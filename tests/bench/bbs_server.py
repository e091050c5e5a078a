"""The simulator's BBS alone, as a process of its own, with keys of a chosen kind.

`python -m tests.bench.bbs_server FOLDER rsa|ecdsa` writes `ca.crt`, `client.crt` and `client.key` into FOLDER and
prints its port. The names are those of the layout that the probes' measurement uses.
"""

from __future__ import annotations

import argparse
import ssl
import threading
from pathlib import Path
from typing import Final

from trustme import CA, KeyType

from simulator.servers.bbs import BBSMode, BBSServer
from simulator.servers.certificates import ServerTLS

HOST: Final = "bbs.service.cf.internal"
ADDRESS: Final = "127.0.0.1"


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("keys", choices=("rsa", "ecdsa"))
    asked = parser.parse_args()
    kind = KeyType[asked.keys.upper()]
    ca = CA(key_type=kind)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(context)
    ca.issue_cert(HOST, common_name=HOST, key_type=kind).configure_cert(context)
    client = ca.issue_cert("diego-client", common_name="diego-client", key_type=kind)
    (asked.folder / "ca.crt").write_bytes(ca.cert_pem.bytes())
    (asked.folder / "client.crt").write_bytes(b"".join(part.bytes() for part in client.cert_chain_pems))
    (asked.folder / "client.key").write_bytes(client.private_key_pem.bytes())
    server = BBSServer(ADDRESS, 0, ServerTLS(context, context, context), BBSMode.SERVES)
    server.start()
    print(f"ready {server.port}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
