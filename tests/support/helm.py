"""helm as a child process, and the chart as it renders. Nothing here reaches a cluster unless it is given one."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "stager-medic"
OLDEST, NEWEST = "1.19.16", "1.37.2"
"""The Kubernetes releases between which the chart is supported."""
OPERATOR = tuple(
    f"monitoring.coreos.com/{one}"
    for one in ("v1/ServiceMonitor", "v1/PodMonitor", "v1/PrometheusRule", "v1alpha1/AlertmanagerConfig")
)
"""What a cluster with the Prometheus operator offers."""
RELEASE, NAMESPACE = "medic", "cf"


class HelmFailed(AssertionError):  # noqa: N818  it says what happened
    """helm ended with an error; the text is what it wrote."""


@cache
def program() -> str:
    """Where helm is: the repository's own tools first, then the PATH. Fails with how to get it."""
    own = ROOT / ".tools" / "bin" / "helm"
    found = str(own) if own.is_file() else shutil.which("helm")
    assert found is not None, "helm 3 is not here: `.ci/helm` builds it (Go 1.26 or newer), or put it on the PATH"
    return found


def helm(*arguments: str, kubeconfig: Path | None = None, timeout: float = 50) -> str:
    """Run it, give its standard output. Raises HelmFailed with what it wrote instead."""
    with tempfile.TemporaryDirectory() as home:
        places = {f"HELM_{name}_HOME": home for name in ("CACHE", "CONFIG", "DATA")}
        environ = {**os.environ, **places, "KUBECONFIG": str(kubeconfig or Path(home) / "none")}
        done = subprocess.run(
            [program(), *arguments], env=environ, capture_output=True, text=True, timeout=timeout, check=False
        )
    if done.returncode:
        raise HelmFailed(f"helm {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def values_arguments(presets: Sequence[str | Path], values: Mapping[str, object] | None, folder: Path) -> list[str]:
    """The command-line arguments for presets (by name) and values."""
    given: list[str] = []
    for preset in presets:
        file = Path(preset) if "/" in str(preset) else CHART / "presets" / f"{preset}.yaml"
        given += ["--values", str(file)]
    if values:
        written = folder / "values.json"
        written.write_text(json.dumps(values), encoding="utf-8")
        given += ["--values", str(written)]
    return given


def render(
    *presets: str | Path,
    values: Mapping[str, object] | None = None,
    release: str = RELEASE,
    namespace: str = NAMESPACE,
    kube: str = NEWEST,
    apis: Sequence[str] = OPERATOR,
    chart: Path = CHART,
    fresh: bool = False,
) -> list[Json]:
    """Every manifest of the chart, hooks included. Raises HelmFailed.

    The same is rendered once in a process, unless it is to be `fresh`: what is drawn by chance then stays the same.
    """
    given = ["--namespace", namespace, "--kube-version", kube, "--include-crds"]
    for api in apis:
        given += ["--api-versions", api]
    made = _rendered.__wrapped__ if fresh else _rendered
    files = tuple(str(one) for one in presets)
    return copy.deepcopy(made(release, str(chart), files, json.dumps(values), tuple(given)))


@cache
def _rendered(release: str, chart: str, presets: tuple[str, ...], values: str, given: tuple[str, ...]) -> list[Json]:
    with tempfile.TemporaryDirectory() as folder:
        more = values_arguments(presets, json.loads(values), Path(folder))
        out = helm("template", release, chart, *given, *more)
    return [found for found in yaml.load_all(out, Loader=yaml.CSafeLoader) if found]


def of_kind(manifests: Sequence[Json], kind: str, name: str = "") -> list[Json]:
    """Those of a kind, whose name ends in `name`."""
    return [one for one in manifests if one["kind"] == kind and one["metadata"]["name"].endswith(name)]


def the(manifests: Sequence[Json], kind: str, name: str = "") -> Json:
    """The one of a kind, whose name ends in `name`; fails where there is none or another."""
    found = of_kind(manifests, kind, name)
    assert len(found) == 1, f"{kind} …{name}: {[one['metadata']['name'] for one in of_kind(manifests, kind)]}"
    return found[0]
