"""The chart's programs as a kubelet would run them, on this machine: rendered arguments, ConfigMaps and Secrets.

Of what is rendered only places change: `/etc/stager-medic` becomes a temporary folder, and fixed ports of all addresses
become a free one of 127.0.0.1. Credentials for the API server come by KUBECONFIG instead of the mounted account. What
only a kubelet and a container give is not here: the file system's rights, the user, probes, limits.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import yaml

from tests.campaign.world import Process
from tests.support.helm import the

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Json = dict[str, Any]
_ROOT = "/etc/stager-medic"


def _program(name: str) -> list[str]:
    (entry,) = entry_points(group="console_scripts", name=name)
    return ["-c", f"from {entry.module} import {entry.attr}; {entry.attr}()"]


def _secret(manifests: Sequence[Json], given: Mapping[str, Mapping[str, bytes]], name: str) -> Mapping[str, bytes]:
    if name in given:
        return given[name]
    return {key: base64.b64decode(text) for key, text in (the(manifests, "Secret", name).get("data") or {}).items()}


class Program:
    """One container of a rendered pod, as a process."""

    def __init__(
        self,
        manifests: Sequence[Json],
        pod: Json,
        folder: Path,
        *,
        kubeconfig: Path,
        secrets: Mapping[str, Mapping[str, bytes]] | None = None,
    ) -> None:
        """`pod` is the pod's specification; `secrets` are those that the chart does not make."""
        (container,) = pod["containers"]
        self.root = folder / container["name"]
        self._mounts(manifests, secrets or {}, pod, container)
        arguments = [one.replace(_ROOT, str(self.root)) for one in map(str, container.get("args", ()))]
        self.process = Process([*_program(container["command"][0]), *arguments], {"KUBECONFIG": str(kubeconfig)})
        self._port = 0

    def _mounts(
        self, manifests: Sequence[Json], secrets: Mapping[str, Mapping[str, bytes]], pod: Json, container: Json
    ) -> None:
        volumes = {one["name"]: one for one in pod["volumes"]}
        for mount in container["volumeMounts"]:
            if not mount["mountPath"].startswith(_ROOT):
                continue
            where = self.root / mount["mountPath"].removeprefix(_ROOT).lstrip("/")
            where.mkdir(parents=True)
            volume = volumes[mount["name"]]
            if "configMap" in volume:
                (data,) = (
                    one["data"]
                    for one in manifests
                    if one["kind"] == "ConfigMap" and one["metadata"]["name"] == volume["configMap"]["name"]
                )
                files = {key: _on_loopback(text).encode() for key, text in data.items()}
            else:
                held = _secret(manifests, secrets, volume["secret"]["secretName"])
                items = volume["secret"].get("items") or [{"key": key, "path": key} for key in held]
                files = {one["path"]: held[one["key"]] for one in items}
            for name, content in files.items():
                (where / name).write_bytes(content)
                (where / name).chmod(0o400)

    @property
    def config(self) -> Json:
        """Its configuration as it reads it."""
        (file,) = (self.root / "config").glob("*r.yml")
        found: Json = yaml.safe_load(file.read_text())
        return found

    def said(self) -> str:
        """All that it has logged."""
        return "\n".join(self.process.lines)

    def port(self) -> int:
        """Where it listens, once it does; 0 before. Fails where it has ended."""
        for line in () if self._port else tuple(self.process.lines):
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if isinstance(said, dict) and "port" in said:
                    self._port = int(said["port"])
        assert self._port or self.process.alive, f"it ended: {self.said()[-2000:]}"
        return self._port

    def ask(self, path: str, body: Json | None = None, token: str = "") -> tuple[int, str]:
        """One request; status and text. (0, why) where there is no answer."""
        if not self.port():
            return 0, "it does not listen yet"
        connection = http.client.HTTPConnection("127.0.0.1", self.port(), timeout=20)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            if body is None:
                connection.request("GET", path, headers=headers)
            else:
                headers["Content-Type"] = "application/json"
                connection.request("POST", path, json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError as problem:
            return 0, str(problem)
        finally:
            connection.close()

    def series(self) -> dict[str, float]:
        """The metrics, by name with labels; empty while it does not serve."""
        status, text = self.ask("/metrics")
        if status != 200:
            return {}
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in lines}

    def end(self) -> None:
        """Kill it, and reap it."""
        self.process.end()


def _on_loopback(text: str) -> str:
    return re.sub(r'(listen: )"?:\d+"?', r"\g<1>127.0.0.1:0", text)


def pod_of(manifests: Sequence[Json], component: str) -> Json:
    """The pod specification of the Deployment of that component."""
    found: Json = the(manifests, "Deployment", component)["spec"]["template"]["spec"]
    return found
