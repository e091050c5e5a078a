"""A remediator's configuration for a simulated cluster, and notifications as Alertmanager posts them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import yaml

from remediator.words import PLAYBOOK

if TYPE_CHECKING:
    from pathlib import Path

    from foundation.kube.client import Json
    from simulator.cluster import Cluster

TOKEN = "token-of-somebody-who-may-do-everything"


def write_config(cluster: Cluster, folder: Path, *, identity: str = "", **playbook: object) -> Path:
    """Everything that the remediator needs for this cluster; gives the configuration's path."""
    config = yaml.safe_load(cluster.write(folder).read_text())
    (folder / "kubeconfig").write_text(yaml.safe_dump(cluster.kubeconfig(identity)))
    config["remediator"] = {
        "web": {"listen": "127.0.0.1:0"},
        "credentials_file": "credentials.yml",
        "playbooks": {PLAYBOOK: {"mode": "auto", **playbook}},
    }
    config["probe"] = {"interval": "200ms", "timeout": "1s"}
    (folder / "token").write_text(TOKEN)
    (folder / "credentials.yml").write_text("- {name: root, scopes: [webhook, view, operate], token_file: token}\n")
    file = folder / "remediator.yml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    return file


def alert(fingerprint: str = "8f3c1a2b4d5e6f70", status: str = "firing", **labels: str) -> Json:
    """One alert that began a minute ago."""
    began = datetime.now(UTC) - timedelta(minutes=1)
    return {
        "status": status,
        "labels": {"alertname": "DiegoRestartWouldHelp", **labels},
        "annotations": {"summary": "x"},
        "startsAt": began.strftime("%Y-%m-%dT%H:%M:%S.123456789Z"),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": fingerprint,
    }


def write_payload(folder: Path, *alerts: Json, truncated: int = 0) -> Path:
    """A stored notification."""
    file = folder / "payload.json"
    body = {"version": "4", "receiver": "stager-remediator", "truncatedAlerts": truncated, "alerts": alerts}
    file.write_text(json.dumps(body))
    return file
