"""`python -m tests.bench [--quick] [--only NAME …]`.

Exit 0: every target was met. 1: not. 2: it could not run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from tests.bench import latency, logs, loop, peers, pod_logs, probes, remediator, resident, scale
from tests.bench.errors import BenchError
from tests.bench.report import as_markdown, as_text, from_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.bench.report import Section

_MEASURES: Final[dict[str, Callable[..., Section]]] = {
    "logs": logs.measure,
    "pod-logs": pod_logs.measure,
    "probes": probes.measure,
    "latency": latency.measure,
    "scale": scale.measure,
    "memory": resident.measure,
    "remediator": remediator.measure,
    "loop": loop.measure,
}


def main() -> int:
    """Measure and print; what was measured at full length goes into docs/benchmarks.md."""
    parser = argparse.ArgumentParser(
        prog="make bench", description="What exporter and remediator cost, beside their peers."
    )
    parser.add_argument("--only", action="append", choices=_MEASURES, help="only this one; may be repeated")
    parser.add_argument("--quick", action="store_true", help="shorter runs: rougher figures, nothing is written")
    asked = parser.parse_args()
    try:
        found = peers.get()
    except BenchError as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 2
    sections = []
    for name in asked.only or _MEASURES:
        began = time.monotonic()
        try:
            section = _MEASURES[name](found, quick=asked.quick)
        except BenchError as error:
            print(f"make bench: {name}: {error}", file=sys.stderr)
            continue
        sections.append(replace(section, when=f"{datetime.now(UTC):%Y-%m-%d}, revision {peers.revision()}"))
        print(f"{as_text(section)}\n  ({time.monotonic() - began:.0f} s)\n", flush=True)
    if not asked.quick:
        _write(sections, found)
    if len(sections) < len(asked.only or _MEASURES):
        return 2
    return 0 if all(check.met for section in sections for check in section.checks) else 1


def _write(sections: Sequence[Section], found: peers.Peers) -> None:
    """Put the sections in the place of their older ones, and write the page once there is one of each.

    What was measured is kept beside the code, so that one measurement made anew does not cost the page the others.
    """
    kept = peers.ROOT / "tests/bench/results.json"
    results = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    results |= {section.name: asdict(section) for section in sections}
    kept.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    missing = [name for name in _MEASURES if name not in results]
    if missing:
        print(f"docs/benchmarks.md is not written: not measured yet: {', '.join(missing)}")
        return
    every = [from_json(results[name]) for name in _MEASURES]
    text = as_markdown(every, machine=peers.machine(), versions=peers.versions(found))
    (peers.ROOT / "docs/benchmarks.md").write_text(text, encoding="utf-8")
    print("written: docs/benchmarks.md")


if __name__ == "__main__":
    sys.exit(main())
