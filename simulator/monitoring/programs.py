"""Where the programs come from: the PATH, else Debian's packages unpacked into a folder of the project.

Of the packages' dependencies only those of Prometheus' page are fetched, as far as they can be; Debian's Alertmanager
has no page.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from simulator.debian import TOOLS, PackageError, Ran, programs_in, run, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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


def find_programs(
    folder: Path = TOOLS, *, path: str | None = None, execute: Callable[[Sequence[str], Path], Ran] = run
) -> Programs:
    """Give the programs; what the PATH lacks is downloaded into `folder`, once.

    `path`: searched instead of the environment's PATH. `execute`: runs apt-get and dpkg-deb. Raises ProgramsError.
    """
    unpacked = programs_in(folder)
    found = {name: _search(names, path) for name, names in NAMES.items()}
    missing = [NEEDED[name] for name in NEEDED if found[name] is None]
    if missing:
        try:
            unpack(missing, folder, beside={"prometheus": PAGE}, execute=execute)
        except PackageError as error:
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


def _unobtainable(why: str) -> ProgramsError:
    return ProgramsError(
        f"Prometheus and Alertmanager are not on the PATH, and Debian's packages cannot be had: {why}; install both, "
        "or, on Debian and Ubuntu: apt-get install prometheus prometheus-alertmanager"
    )
