"""The peers: Debian's mtail and blackbox_exporter, unpacked into `.tools/` beside the project, and not installed."""

from __future__ import annotations

import os
import platform
import ssl
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from simulator.debian import PackageError, unpack
from tests.bench.errors import BenchError

ROOT: Final = Path(__file__).resolve().parents[2]
_PACKAGES: Final = ("mtail", "prometheus-blackbox-exporter")


@dataclass(frozen=True, slots=True)
class Peers:
    """The programs."""

    mtail: Path
    blackbox: Path


def get() -> Peers:
    """The peers; what is missing is downloaded and unpacked. Raises BenchError where that fails."""
    try:
        programs = unpack(_PACKAGES)
    except PackageError as error:
        raise BenchError(
            f"the peers {' and '.join(_PACKAGES)} cannot be had from Debian's archive: {error}; "
            "run this on Debian or Ubuntu"
        ) from None
    return Peers(mtail=programs / "mtail", blackbox=programs / "prometheus-blackbox-exporter")


def versions(peers: Peers) -> list[tuple[str, str]]:
    """What was compared, and what it ran on."""
    return [
        ("stager-medic", version("stager-medic")),
        ("Python", f"{platform.python_version()}, {ssl.OPENSSL_VERSION}"),
        *((name, version(name)) for name in ("gunicorn", "prometheus-client", "urllib3", "kubernetes")),
        ("mtail", f"{_first_line([str(peers.mtail), '--version'])} (Debian)"),
        ("blackbox_exporter", f"{_first_line([str(peers.blackbox), '--version'])} (Debian)"),
        ("grep", _first_line(["grep", "--version"])),
    ]


def machine() -> str:
    """Processor, its number, memory, system: what one needs to judge absolute figures."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    kilobytes = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    system = next(
        (line.partition("=")[2].strip('"') for line in _lines("/etc/os-release") if line.startswith("PRETTY_NAME")), ""
    )
    release = platform.release().split("-")[0]
    return f"{os.cpu_count()} x {model}, {kilobytes / 2**20:.0f} GiB, {system or 'unknown system'}, Linux {release}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def revision() -> str:
    """The project's commit, marked where files were changed since."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude", "*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    line = ((done.stdout or done.stderr).splitlines() or ["unknown"])[0]
    # Go programs add how they were built.
    return line.split(" git revision")[0].split(" (branch")[0]
