"""A server of the maker's as a process: started, waited for until it is ready, stopped, killed, started again.

Its output goes to a file; nobody has to read a pipe. It runs in a session of its own, so that Ctrl-C in a terminal is
for whoever started it. If that one is killed, the process stays: only `stop` ends it.
"""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

READY_LIMIT: Final = 60.0
"""Seconds until it must be ready."""
STOP_LIMIT: Final = 10.0
"""Seconds that it may take to end."""


class MonitoringError(Exception):
    """Prometheus or Alertmanager did not start, or refused what it was asked; one line."""


class Server:
    """One process with `/-/ready` at `url`. Not safe for several threads."""

    def __init__(self, name: str, command: Sequence[str], url: str, log: Path) -> None:
        self.name, self.url, self.log = name, url, log
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._from = 0
        """Where in the log this start's lines begin."""

    @property
    def pid(self) -> int:
        """The process' id; 0 where none runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else 0

    def start(self) -> None:
        """Start it, without waiting; raises MonitoringError where that cannot be done. A running one stays."""
        if self.pid:
            return
        self._end()
        try:
            with self.log.open("ab") as log:
                self._from = log.tell()
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        except OSError as error:
            raise MonitoringError(f"{self._command[0]}: {error.strerror}") from None

    def wait(self, limit: float = READY_LIMIT) -> None:
        """Wait until it is ready; raises MonitoringError with its last words where it ends or takes too long."""
        deadline = time.monotonic() + limit
        while not self._ready():
            if not self.pid:
                raise MonitoringError(f"{self.name} ended: {self.last_words()}; its log: {self.log}")
            if time.monotonic() > deadline:
                late = f"{self.name} is not ready after {limit:.0f} s"
                raise MonitoringError(f"{late}: {self.last_words()}; its log: {self.log}")
            time.sleep(0.05)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200) and bool(self.pid)
        except urllib.error.HTTPError as error:
            error.close()
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            pass
        return False

    def last_words(self) -> str:
        """Give the last error that it wrote since its start, else its last line."""
        try:
            with self.log.open("rb") as log:
                log.seek(self._from)
                lines = log.read().decode(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        errors = [line for line in lines if "level=error" in line]
        return (errors or lines or ["it said nothing"])[-1]

    def stop(self) -> None:
        """End it: asked first, killed where it takes its time. Safe to repeat."""
        if self._process is not None and self.pid:
            self._process.terminate()
        self._end()

    def kill(self) -> None:
        """End it at once, as a power cut would. Safe to repeat."""
        if self._process is not None and self.pid:
            self._process.kill()
        self._end()

    def _end(self) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(timeout=STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
