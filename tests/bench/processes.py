"""Processes and the processor time that they use. Linux only: it reads /proc.

A tree's time is read in clock ticks (10 ms), so what is measured must last for many of them.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from tests.bench.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024
_STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Ran:
    """One finished command."""

    cpu: float
    """Seconds of processor time, user and system, with every descendant that it waited for."""
    wall: float
    output: str


def run(command: Sequence[str], *, ok: tuple[int, ...] = (0,)) -> Ran:
    """Run a command to its end. Raises BenchError for another exit status than `ok`."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        process = _spawn(command, stdout=out, stderr=err)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in ok:
            raise BenchError(f"{command[0]}: exit {process.returncode}: {_last_line(err)}")
        out.seek(0)
        return Ran(used.ru_utime + used.ru_stime, wall, out.read().decode())


@dataclass(frozen=True, slots=True)
class _Stat:
    parent: int
    cpu: float
    """Own time and that of children which ended and were waited for, in seconds."""


class Daemon:
    """A process that runs until it is left; its standard output and error go to a file."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = list(command)
        self._log = tempfile.NamedTemporaryFile(prefix="bench-", suffix=".log")  # noqa: SIM115 - closed in __exit__
        self._process = _spawn(command, stdout=self._log, stderr=subprocess.STDOUT)
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def said(self) -> str:
        """Everything that it has written so far."""
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")

    def wait_for(self, look: Callable[[str], str | None], what: str, limit: float = 60.0) -> str:
        """Wait until `look` finds something in what it wrote. Raises BenchError after `limit` seconds."""
        return until(lambda: look(self.said()), f"{Path(self.command[0]).name}: {what}", limit=limit, alive=self.alive)

    def alive(self) -> None:
        """Raise BenchError if it has ended."""
        if self._process.poll() is not None:
            words = self.said().strip().splitlines()
            raise BenchError(f"{Path(self.command[0]).name} ended: {words[-1] if words else 'it said nothing'}")

    def cpu(self) -> float:
        """Seconds of processor time so far, with all descendants."""
        return tree_cpu(self.pid)

    def descendants(self) -> list[int]:
        """Its own PID and those of all its descendants."""
        return _tree(self.pid, _table())


def until(look: Callable[[], str | None], what: str, *, limit: float, alive: Callable[[], None]) -> str:
    """Wait for the first true answer of `look`. Raises BenchError after `limit` seconds, and what `alive` raises."""
    deadline = time.monotonic() + limit
    while not (found := look()):
        alive()
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not within {limit:g} s")
        time.sleep(0.05)
    return found


def tree_cpu(pid: int) -> float:
    """Seconds of processor time of a process and all its descendants."""
    table = _table()
    return sum(table[item].cpu for item in _tree(pid, table))


def memory(pid: int) -> dict[str, int]:
    """RSS, its peak and its proportional share (Pss) of one process, in kB, by the names that /proc gives them."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii", errors="replace")
    found = {}
    for line in (status + rollup).splitlines():
        name, _, rest = line.partition(":")
        if name in ("VmRSS", "VmHWM", "Pss"):
            found[name] = int(rest.split()[0])
    return found


class OtherWork:
    """How much of the machine others used between two moments."""

    def __init__(self) -> None:
        self._began, self._busy, self._own = time.monotonic(), _busy(), _own()

    def share(self) -> float:
        """The part of all processors' time since the start that went to processes not of this run, from 0 to 1."""
        passed = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        others = (_busy() - self._busy) - (_own() - self._own)
        return max(0.0, min(1.0, others / passed)) if passed else 0.0


def _busy() -> float:
    user, nice, system, _idle, _wait, irq, softirq, steal = (
        int(word) for word in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / _TICK


def _own() -> float:
    return tree_cpu(os.getpid())


def _spawn(command: Sequence[str], *, stdout: IO[bytes], stderr: IO[bytes] | int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
    except OSError as error:
        raise BenchError(f"{command[0]}: {error.strerror}") from error


def _table() -> dict[int, _Stat]:
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                # The name, in parentheses, may hold anything.
                words = (folder / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            except OSError:
                continue  # it ended meanwhile
            found[int(folder.name)] = _Stat(int(words[1]), sum(int(word) for word in words[11:15]) / _TICK)
    return found


def _tree(pid: int, table: dict[int, _Stat]) -> list[int]:
    if pid not in table:
        raise BenchError(f"process {pid} ended while it was measured")
    found = [pid]
    for parent in found:  # grows while it is gone through
        found += [child for child, stat in table.items() if stat.parent == parent]
    return found


def _last_line(file: IO[bytes]) -> str:
    file.seek(0)
    words = file.read().decode(errors="replace").strip().splitlines()
    return words[-1] if words else "it said nothing"
