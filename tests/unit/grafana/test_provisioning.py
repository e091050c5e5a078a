"""The files beside the dashboards: that they name what is there. Grafana and Docker themselves are not run."""

from __future__ import annotations

import subprocess
from typing import Any

import yaml

from tests.support.dashboards import ROOT
from tests.support.programs import program

GRAFANA = ROOT / "grafana"


def read(path: str) -> Any:
    return yaml.safe_load((GRAFANA / path).read_text(encoding="utf-8"))


def test_the_provider_reads_the_folder_that_compose_mounts() -> None:
    (provider,) = read("provisioning/dashboards/stager-medic.yml")["providers"]
    volumes = read("docker-compose.yml")["services"]["grafana"]["volumes"]
    assert f"./dashboards:{provider['options']['path']}:ro" in volumes
    assert not provider["allowUiUpdates"]


def test_the_data_source_reckons_with_the_scrape_interval() -> None:
    (source,) = read("provisioning/datasources/prometheus.yml")["datasources"]
    interval = read("compose/prometheus.yml")["global"]["scrape_interval"]
    assert (source["type"], source["jsonData"]["timeInterval"]) == ("prometheus", interval)


def test_every_file_that_compose_mounts_is_there() -> None:
    services = read("docker-compose.yml")["services"]
    assert set(services) == {"simulator", "exporter", "remediator", "prometheus", "alertmanager", "grafana"}
    for name, service in services.items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (GRAFANA / source).exists(), (name, source)
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), "nothing of a trial is open to the network"


def test_the_names_that_prometheus_scrapes_are_the_simulators_aliases() -> None:
    aliases = read("docker-compose.yml")["services"]["simulator"]["networks"]["default"]["aliases"]
    jobs = read("compose/prometheus.yml")["scrape_configs"]
    hosts = [target.split(":")[0] for job in jobs for entry in job["static_configs"] for target in entry["targets"]]
    assert sorted(hosts) == sorted(aliases)
    assert all(job["honor_labels"] for job in jobs)


def test_promtool_takes_the_configuration() -> None:
    command = [program("promtool"), "check", "config", "--syntax-only", str(GRAFANA / "compose" / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
