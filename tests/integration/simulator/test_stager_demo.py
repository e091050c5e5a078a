"""`stager-demo` as a process: what it writes, that it stays, and that it ends when told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import yaml

from foundation.config import FoundationConfig
from simulator.cluster import Cluster, Options
from simulator.layouts import LAYOUT_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = [sys.executable, "-W", "error", "-c", "from simulator.cli import main; main()"]


@contextmanager
def demo(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    process = subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said: dict[str, str] = {}
        for line in process.stdout:
            if line.startswith("Ctrl-C"):
                break
            words = line.split()
            if len(words) > 1:
                said[" ".join(words[:-1])] = words[-1]
        yield process, said
    finally:
        process.kill()
        process.communicate()


def state(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return dict(json.load(answer))


def test_it_runs_until_told_to_stop(tmp_path: Path) -> None:
    with demo("--state-dir", str(tmp_path), "--incident", "split", "--foundations", "2") as (process, said):
        shown = state(said["control"])["foundations"]
        assert isinstance(shown, dict)
        assert {name: found["incidents"] for name, found in shown.items()} == {"demo-1": ["split"], "demo-2": ["split"]}
        config = yaml.safe_load((tmp_path / "exporter.yml").read_text())
        assert [found["namespace"] for found in config["foundations"]] == ["cf-1", "cf-2"]
        assert {path.name for path in tmp_path.iterdir()} == {
            "kubeconfig", "exporter.yml", "ca.crt", "client.crt", "client.key",
            "remediator.yml", "credentials.yml", "alertmanager.token", "viewer.token", "operator.token",
            "remediation.yml",
        }  # fmt: skip
        assert (
            yaml.safe_load((tmp_path / "kubeconfig").read_text())["clusters"][0]["cluster"]["server"]
            == said["Kubernetes API"]
        )
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) == 0


def test_faults_of_use_are_one_line_and_exit_2(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Cluster(Options(traffic=False)) as cluster:
        taken = cluster.url.removeprefix("http://")
        for arguments, text in (
            (["--incident", "locket_down"], "layout cfee-2 has no Locket pods of its own"),
            (["--listen", taken], f"cannot listen on {taken}: Address already in use"),
            (["--listen", "nowhere"], "expected ADDRESS:PORT"),
            (["--incident", "lunch"], "'lunch' is not one of"),
        ):
            done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=30, check=False)
            assert done.returncode == 2, done.stderr
            assert text in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("layout", LAYOUT_NAMES)
def test_the_exporters_configuration_is_one_that_it_accepts(layout: str, tmp_path: Path) -> None:
    with Cluster(Options(traffic=False, layout=layout)) as cluster:
        config = yaml.safe_load(cluster.write(tmp_path).read_text())
    (found,) = config["foundations"]
    read = FoundationConfig.model_validate(found)
    assert read.name == "demo"
    assert read.database is not None
    assert read.bbs.ca_file == tmp_path / "ca.crt"
