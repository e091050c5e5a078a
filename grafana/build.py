"""Writes `dashboards/*.json` from the Python that describes them: `python -m grafana.build` (`make dashboards`).

The files are committed, so that nobody needs this to load them; a test holds that they are what this would write.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from grafana.availability import AVAILABILITY
from grafana.panels import Dashboard, render
from grafana.remediation import REMEDIATION

FOLDER: Final = Path(__file__).parent / "dashboards"
ALL: Final[tuple[Dashboard, ...]] = (AVAILABILITY, REMEDIATION)


def main() -> None:
    """Write every dashboard. Raises OSError."""
    for dashboard in ALL:
        (FOLDER / f"{dashboard.uid}.json").write_text(render(dashboard), encoding="utf-8")


if __name__ == "__main__":
    main()
