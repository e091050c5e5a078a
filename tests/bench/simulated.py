"""A simulated cluster in a process of its own (`stager-demo`), and an exporter that watches it in another."""

from __future__ import annotations

import http.client
import json
import re
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import yaml

from tests.bench.errors import BenchError
from tests.bench.processes import Daemon, until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_BIN = Path(sys.executable).parent
PROMETHEUS: Final = {
    "Accept": "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Accept-Encoding": "gzip",
}
"""What Prometheus asks with."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a server."""

    status: int
    body: bytes
    seconds: float


def send(url: str, method: str, body: object, kind: str = "application/json") -> None:
    """One request that changes something. Raises BenchError where it is refused or not answered."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": kind}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()
    except OSError as error:
        raise BenchError(f"{method} {url}: {error}") from error


class Client:
    """One connection that is kept, as a Prometheus keeps it."""

    def __init__(self, port: int, headers: Mapping[str, str] | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = dict(headers or {})

    def get(self, path: str) -> Answer:
        """One request. Raises BenchError where there is no answer."""
        began = time.perf_counter()
        try:
            self._connection.request("GET", path, headers=self._headers)
            response = self._connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise BenchError(f"GET {path}: {error}") from error
        return Answer(response.status, body, time.perf_counter() - began)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Simulation:
    """`stager-demo` at the speed of real life."""

    def __init__(self, foundations: int = 1, *, speed: float = 1.0, layout: str = "cfee-2") -> None:
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        command = [str(_BIN / "stager-demo"), "--foundations", str(foundations), "--speed", str(speed)]
        try:
            self._process = self._stack.enter_context(
                Daemon([*command, "--layout", layout, "--state-dir", str(self.folder)])
            )
            self._process.wait_for(lambda said: "yes" if "Ctrl-C ends it" in said else None, "started", 120)
        except BaseException:
            self._stack.close()
            raise
        said = self._process.said()
        self._control = _found(r"^control +(\S+)$", said)
        self.api = _found(r"^Kubernetes API +(\S+)$", said)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def cpu(self) -> float:
        """Seconds of processor time that the simulation itself has used."""
        return self._process.cpu()

    def state(self) -> dict[str, Any]:
        """What the simulator says of itself."""
        with urllib.request.urlopen(self._control, timeout=30) as answer:
            return dict(json.load(answer))

    def faults(self, **changes: object) -> None:
        """Switch faults of the API server."""
        self._call("POST", "/faults", changes)

    def incident(self, name: str, *, heal: bool = False) -> None:
        """Start or heal an incident in the first foundation."""
        foundation = next(iter(self.state()["foundations"]))
        self._call("DELETE" if heal else "POST", f"/foundations/{foundation}/incidents/{name}", None)

    def config(self, change: Callable[[dict[str, Any]], None] | None = None) -> Path:
        """An exporter's configuration: the contract's defaults of 5 s and 3 s, on a port of its own choice."""
        settings = yaml.safe_load((self.folder / "exporter.yml").read_text(encoding="utf-8"))
        settings["probe"] = {"interval": "5s", "timeout": "3s"}
        settings["exporter"]["web"]["listen"] = "127.0.0.1:0"
        for foundation in settings["foundations"]:
            foundation["settle"] = "120s"
        if change is not None:
            change(settings)
        path = self.folder / "bench.yml"
        path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        return path

    def _call(self, method: str, path: str, body: object) -> None:
        send(self._control + path, method, body)


class Exporter:
    """`stager-exporter serve`, ready: every foundation was looked at once."""

    def __init__(self, config: Path, *, without: str = "") -> None:
        """`without`: a package that is made to look as if it were not installed."""
        command = [str(_BIN / "stager-exporter")]
        if without:
            hide = f"import sys; sys.modules[{without!r}] = None; from exporter.cli import main; main()"
            command = [sys.executable, "-c", hide]
        self._process = Daemon([*command, "serve", "--config", str(config)])

    def __enter__(self) -> Self:
        try:
            self.port = int(self._process.wait_for(lambda said: _match(r'"port": ?(\d+)', said), "listens"))
            self.client = Client(self.port)
            ready = lambda: "yes" if self.client.get("/readyz").status == 200 else None  # noqa: E731
            until(ready, "the exporter is ready", limit=60, alive=self._process.alive)
        except BaseException:
            self._process.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._process.__exit__()

    def cpu(self) -> float:
        """Seconds of processor time so far, both its processes."""
        return self._process.cpu()

    @property
    def pids(self) -> tuple[int, int]:
        """The main process, and the worker that does everything."""
        main, worker = self._process.descendants()
        return main, worker

    def said(self) -> str:
        """Its log."""
        return self._process.said()


def _match(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else None


def _found(pattern: str, text: str) -> str:
    found = _match(pattern, text)
    if found is None:
        raise BenchError(f"the simulator said nothing like {pattern}")
    return found
