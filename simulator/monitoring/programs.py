"""Where the programs come from: the PATH, else Debian's packages unpacked into a folder of the project.

Nothing is installed and no root is needed: apt-get downloads, dpkg-deb unpacks, and where the machine has no package
lists they are fetched into the same folder. Of the packages' dependencies only those of Prometheus' page are fetched,
as far as they can be; Debian's Alertmanager has no page.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TOOLS: Final = Path(__file__).resolve().parents[2] / ".tools"
"""The project's folder for programs; git does not see it."""
NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "prometheus": ("prometheus",),
    "alertmanager": ("alertmanager", "prometheus-alertmanager"),
    "amtool": ("amtool",),
    "promtool": ("promtool",),
}
"""Each program's names, the maker's first, then Debian's."""
NEEDED: Final[Mapping[str, str]] = {"prometheus": "prometheus", "alertmanager": "prometheus-alertmanager"}
"""What it does not go without, and Debian's package of it."""
PAGE: Final = (
    "fonts-glyphicons-halflings",
    "libjs-bootstrap4",
    "libjs-d3",
    "libjs-eonasdan-bootstrap-datetimepicker",
    "libjs-jquery",
    "libjs-jquery-hotkeys",
    "libjs-moment",
    "libjs-moment-timezone",
    "libjs-mustache",
    "libjs-popper.js",
    "libjs-rickshaw",
)
"""What Prometheus' page is drawn with in Debian 12. Without it the page is plain, and still says everything."""
_LIMIT: Final = 300.0
"""Seconds that a download may take."""


class ProgramsError(Exception):
    """Prometheus or Alertmanager cannot be had; one line with the reason and what to do."""


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs' paths."""

    prometheus: Path
    alertmanager: Path
    amtool: Path | None = None
    promtool: Path | None = None
    origin: str = "PATH"
    """Where the two servers were found: PATH, or Debian's packages with their folder."""
    assets: Path | None = None
    """Prometheus' page, where Debian's was unpacked and would be looked for below /usr."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    status: int
    said: str
    """Both its outputs."""


def run(command: Sequence[str], folder: Path) -> Ran:
    """Run a command in a folder; raises ProgramsError where it cannot be started or takes too long."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=_LIMIT)
    except OSError as error:
        raise ProgramsError(f"{command[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise ProgramsError(f"{' '.join(command[:2])}: not done within {_LIMIT:.0f} s") from None
    return Ran(done.returncode, done.stdout + done.stderr)


def find_programs(
    folder: Path = TOOLS, *, path: str | None = None, execute: Callable[[Sequence[str], Path], Ran] = run
) -> Programs:
    """Give the programs; what the PATH lacks is downloaded into `folder`, once.

    `path`: searched instead of the environment's PATH. `execute`: runs apt-get and dpkg-deb. Raises ProgramsError.
    """
    unpacked = folder / "debian" / "usr" / "bin"
    found = {name: _search(names, path) for name, names in NAMES.items()}
    missing = [NEEDED[name] for name in NEEDED if found[name] is None]
    if missing:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / ".lock").open("w") as lock:
                # Several processes may want them at once: the others find them when it is their turn.
                fcntl.flock(lock, fcntl.LOCK_EX)
                if wanted := [package for package in missing if not _search((package,), str(unpacked))]:
                    _download(wanted, folder, execute)
        except OSError as error:
            raise _unobtainable(f"{error.filename or folder}: {error.strerror}") from None
        except ProgramsError as error:
            raise _unobtainable(str(error)) from None
        found = {name: found[name] or _search(names, str(unpacked)) for name, names in NAMES.items()}
    prometheus, alertmanager = found["prometheus"], found["alertmanager"]
    if prometheus is None or alertmanager is None:
        raise _unobtainable(f"Debian's packages {' and '.join(missing)} hold no such program")
    debian = unpacked in (prometheus.parent, alertmanager.parent)
    origin = f"Debian's packages, unpacked into {folder}" if debian else "PATH"
    assets = unpacked.parent / "share/prometheus/web" if prometheus.parent == unpacked else None
    return Programs(prometheus, alertmanager, found["amtool"], found["promtool"], origin, assets)


def _search(names: Sequence[str], path: str | None) -> Path | None:
    for name in names:
        if place := shutil.which(name, path=path):
            return Path(place)
    return None


def _download(packages: Sequence[str], folder: Path, execute: Callable[[Sequence[str], Path], Ran]) -> None:
    """Fetch and unpack; the machine's own package lists first, then, without them, lists in the folder."""
    archive = folder / "deb"
    archive.mkdir(exist_ok=True)
    lists: list[str] = []
    done = execute(["apt-get", "download", *packages], archive)
    if done.status:
        lists = _own_lists(folder)
        updated = execute(["apt-get", *lists, "update"], archive)
        if updated.status:
            raise ProgramsError(f"{_last(done)}; and package lists of its own: {_last(updated)}")
        done = execute(["apt-get", *lists, "download", *packages], archive)
    if done.status:
        raise ProgramsError(_last(done))
    if "prometheus" in packages and not execute(["apt-get", *lists, "download", *PAGE], archive).status:
        packages = [*packages, *PAGE]
    for package in packages:
        file = max(archive.glob(f"{package}_*.deb"), key=lambda one: one.stat().st_mtime, default=None)
        if file is None:
            raise ProgramsError(f"apt-get download left no {package}_*.deb")
        unpacked = execute(["dpkg-deb", "-x", str(file), str(folder / "debian")], archive)
        if unpacked.status:
            raise ProgramsError(_last(unpacked))


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


def _unobtainable(why: str) -> ProgramsError:
    return ProgramsError(
        f"Prometheus and Alertmanager are not on the PATH, and Debian's packages cannot be had: {why}; install both, "
        "or, on Debian and Ubuntu: apt-get install prometheus prometheus-alertmanager"
    )
