"""`python -m tests.bench [--quick] [--only NAME …]`.

Exit 0: every target was met. 1: not. 2: it could not run.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from tests.bench import latency, logs, peers, pod_logs, probes, resident, scale
from tests.bench.errors import BenchError
from tests.bench.report import as_markdown, as_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.report import Section

_MEASURES: Final[dict[str, Callable[..., Section]]] = {
    "logs": logs.measure,
    "pod-logs": pod_logs.measure,
    "probes": probes.measure,
    "latency": latency.measure,
    "scale": scale.measure,
    "memory": resident.measure,
}


def main() -> int:
    """Measure, print, and write docs/benchmarks.md where everything was measured at full length."""
    parser = argparse.ArgumentParser(prog="make bench", description="What the exporter costs, beside its peers.")
    parser.add_argument("--only", action="append", choices=_MEASURES, help="only this one; may be repeated")
    parser.add_argument("--quick", action="store_true", help="shorter runs: rougher figures, nothing is written")
    asked = parser.parse_args()
    try:
        found = peers.get()
        sections = []
        for name in asked.only or _MEASURES:
            began = time.monotonic()
            section = _MEASURES[name](found, quick=asked.quick)
            sections.append(section)
            print(f"{as_text(section)}\n  ({time.monotonic() - began:.0f} s)\n", flush=True)
    except BenchError as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 2
    if not asked.quick and not asked.only:
        text = as_markdown(
            sections,
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            machine=peers.machine(),
            versions=peers.versions(found),
        )
        path = peers.ROOT / "docs/benchmarks.md"
        path.write_text(text, encoding="utf-8")
        print(f"written: {path.relative_to(peers.ROOT)}")
    return 0 if all(check.met for section in sections for check in section.checks) else 1


if __name__ == "__main__":
    sys.exit(main())
