"""Debian's packages, unpacked into a folder of the project: nothing is installed, and no root is needed.

apt-get downloads and dpkg-deb unpacks; where the machine has no package lists they are fetched into the same folder. Of
dependencies only those that are named are fetched, so the programs must be ones that need no more.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TOOLS: Final = Path(__file__).resolve().parents[1] / ".tools"
"""The project's folder for programs; git does not see it."""
_LIMIT: Final = 300.0
"""Seconds that a download may take."""


class PackageError(Exception):
    """A package cannot be had; one line with the reason."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    status: int
    said: str
    """Both its outputs."""


def run(command: Sequence[str], folder: Path) -> Ran:
    """Run a command in a folder; raises PackageError where it cannot be started or takes too long."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=_LIMIT)
    except OSError as error:
        raise PackageError(f"{command[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise PackageError(f"{' '.join(command[:2])}: not done within {_LIMIT:.0f} s") from None
    return Ran(done.returncode, done.stdout + done.stderr)


def programs_in(folder: Path) -> Path:
    """Where the programs of packages that were unpacked into `folder` are."""
    return folder / "debian" / "usr" / "bin"


def unpack(
    packages: Sequence[str],
    folder: Path = TOOLS,
    *,
    beside: Mapping[str, Sequence[str]] | None = None,
    execute: Callable[[Sequence[str], Path], Ran] = run,
) -> Path:
    """Unpack packages, each with a program of its own name, into `folder`; gives the folder of the programs.

    Those whose program is there already stay. `beside`: further packages that one is better with, left out where they
    cannot be had. `execute`: runs apt-get and dpkg-deb. Raises PackageError.
    """
    programs = programs_in(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            # Several processes may want them at once: the others find them when it is their turn.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if wanted := [package for package in packages if not os.access(programs / package, os.X_OK)]:
                _download(wanted, folder, beside or {}, execute)
    except OSError as error:
        raise PackageError(f"{error.filename or folder}: {error.strerror}") from None
    return programs


def _download(
    packages: Sequence[str],
    folder: Path,
    beside: Mapping[str, Sequence[str]],
    execute: Callable[[Sequence[str], Path], Ran],
) -> None:
    """Fetch and unpack; the machine's own package lists first, then, without them, lists in the folder."""
    archive = folder / "deb"
    archive.mkdir(exist_ok=True)
    lists: list[str] = []
    done = execute(["apt-get", "download", *packages], archive)
    if done.status:
        lists = _own_lists(folder)
        updated = execute(["apt-get", *lists, "update"], archive)
        if updated.status:
            raise PackageError(f"{_last(done)}; and package lists of its own: {_last(updated)}")
        done = execute(["apt-get", *lists, "download", *packages], archive)
    if done.status:
        raise PackageError(_last(done))
    for package in list(packages):
        more = beside.get(package, ())
        if more and not execute(["apt-get", *lists, "download", *more], archive).status:
            packages = [*packages, *more]
    for package in packages:
        file = max(archive.glob(f"{package}_*.deb"), key=lambda one: one.stat().st_mtime, default=None)
        if file is None:
            raise PackageError(f"apt-get download left no {package}_*.deb")
        unpacked = execute(["dpkg-deb", "-x", str(file), str(folder / "debian")], archive)
        if unpacked.status:
            raise PackageError(_last(unpacked))


def _own_lists(folder: Path) -> list[str]:
    """Give apt-get's options for package lists that need no root."""
    lists, cache = folder / "apt" / "lists", folder / "apt" / "cache"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    user = [f"-oAPT::Sandbox::User={os.environ.get('USER', 'root')}"] if os.geteuid() == 0 else []
    return [f"-oDir::State::lists={lists}", f"-oDir::Cache={cache}", *user]


def _last(done: Ran) -> str:
    """Give what a command complained of: apt's first line that is an error, else the last."""
    lines = done.said.strip().splitlines() or [f"exit {done.status}"]
    return next((line for line in lines if line.startswith("E:")), lines[-1])
