"""Values that point a preset at a simulated foundation: where things are, and how long nothing may take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from simulator.cluster import DATABASE_PORT
from simulator.layouts import layout_named
from tests.support.helm import CHART

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.cluster import Cluster

Json = dict[str, Any]
PLATFORMS = ("cfee2", "scf", "kubecf")
CERTIFICATE = "certificate-of-the-foundation"


def preset(name: str) -> Json:
    """What stands in a preset."""
    found: Json = yaml.safe_load((CHART / "presets" / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def layout_of(platform: str) -> str:
    """The layout that a preset names."""
    found = preset(platform)["foundation"]["layout"]
    assert isinstance(found, str)
    return found


def values(platform: str, cluster: Cluster, **more: object) -> Json:
    """For this cluster, whose layout is the preset's."""
    site = cluster.site()
    layout = layout_named(cluster.options.layout)
    service = {"host": layout.bbs_host(site.foundation.namespace), "address": site.foundation.service_address}
    return {
        "foundation": {
            "layout": {"base": layout_of(platform), "service": service},
            "settle": "2s",
            "bbs": {"certificate": {"secret": CERTIFICATE}},
            "database": {
                "kind": "postgresql",
                "host": site.foundation.database_address,
                "port": DATABASE_PORT,
                "interval": "2s",
            },
        },
        "probe": {"interval": "500ms", "timeout": "1s"},
        **more,
    }


def secrets(platform: str, cluster: Cluster, folder: Path) -> dict[str, dict[str, bytes]]:
    """The platform's own Secret, under the keys that its preset names."""
    files = cluster.authority.write_client(folder)
    keys = preset(platform)["foundation"]["bbs"]["certificate"]
    return {
        CERTIFICATE: {
            keys["caKey"]: files.ca.read_bytes(),
            keys["certKey"]: files.cert.read_bytes(),
            keys["keyKey"]: files.key.read_bytes(),
        }
    }
