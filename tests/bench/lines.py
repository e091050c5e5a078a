"""Synthetic log lines of Cloud Controller: the recorded ones of tests/data, with fresh times and ids, in a busy mix.

The same seed and number give the same bytes. One line in a thousand is a failed push (503, 170010), with its own
request id; some lines are decoys that name the error where it does not count.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulator.debian import TOOLS
from tests.bench.peers import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEED: Final = 170010
_EVERY: Final = 1000
"""One line in so many is a failed push."""
_FAILED: Final = ("A05", "A07", "A10", "A11", "A14")
# Sample and weight in thousandths. A request is two lines; most are looks by people who are not logged in or by their
# dashboards, and few of them stage.
_ANONYMOUS: Final = 400
_MIX: Final = (
    ("A01", 40),
    ("A06", 440),
    ("B12", 6),
    ("A02", 2),
    ("A25", 40),
    ("A27", 64),
    ("A20", 1),
    ("B01", 1),
    ("B09", 6),
)
_GUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME: Final = re.compile(r'^\{"timestamp":[0-9.]+,')
_STATUSES: Final = ("200",) * 80 + ("201",) * 10 + ("204",) * 3 + ("401",) * 3 + ("404",) * 4
_PATHS: Final = ("/v2/info", "/v2/organizations", "/v2/spaces?q=name:dev", "/v3/apps", "/v2/events?page=1")


@dataclass(frozen=True, slots=True)
class LogFile:
    """A generated file and the truth about it."""

    path: Path
    lines: int
    size: int
    failed: int
    """Failed pushes in it: 503, StagerUnavailable."""


def make(lines: int, seed: int = SEED) -> LogFile:
    """The file with so many lines under `.tools/bench`; generated unless it is there already."""
    path = TOOLS / "bench" / f"cc-{lines}-{seed}.log"
    truth = path.with_suffix(".json")
    if not (path.exists() and truth.exists()):
        path.parent.mkdir(parents=True, exist_ok=True)
        failed = 0
        part = path.with_suffix(".part")
        with part.open("wb", buffering=1 << 20) as out:
            for line, counts in _generate(lines, seed):
                out.write(line)
                failed += counts
        part.rename(path)
        truth.write_text(json.dumps({"failed": failed}), encoding="utf-8")
    failed = int(json.loads(truth.read_text(encoding="utf-8"))["failed"])
    return LogFile(path, lines, path.stat().st_size, failed)


@dataclass(frozen=True, slots=True)
class _Template:
    """A line with a place for its time and for each different id."""

    text: str
    ids: tuple[str, ...]
    completed: bool


def _generate(lines: int, seed: int) -> Iterator[tuple[bytes, bool]]:
    dice = random.Random(seed)
    samples = _samples()
    common = [_template(samples[name]) for name, weight in _MIX for _ in range(weight)]
    common += [_template(_anonymous(samples["A01"], path)) for path in _PATHS for _ in range(_ANONYMOUS // len(_PATHS))]
    failed = [_template(samples[name]) for name in _FAILED]
    at = 1549101600.0
    for number in range(lines):
        counts = number % _EVERY == _EVERY // 2
        template = dice.choice(failed) if counts else common[int(dice.random() * len(common))]
        at += 0.0007 + 0.0006 * dice.random()
        values = {"at": f"{at:.7f}"}
        for name in template.ids:
            word = f"{dice.getrandbits(128):032x}"
            values[name] = f"{word[:8]}-{word[8:12]}-{word[12:16]}-{word[16:20]}-{word[20:]}"
        text = template.text % values
        if template.completed:
            text = text.replace("Completed 503", f"Completed {dice.choice(_STATUSES)}", 1)
        yield text.encode() + b"\n", counts


def _samples() -> dict[str, str]:
    rows = map(json.loads, (ROOT / "tests/data/log-samples.jsonl").read_text(encoding="utf-8").splitlines())
    return {row["id"]: row["line"] for row in rows}


def _anonymous(line: str, path: str) -> str:
    started = f'Started GET \\"{path}\\" for user: , ip'
    return re.sub(r'Started PUT \\".*?\\" for user: [^,]*, ip', lambda _: started, line, count=1)


def _template(line: str) -> _Template:
    places: dict[str, str] = {}

    def place(found: re.Match[str]) -> str:
        # The same id twice in a line (message and data) stays the same.
        return f"%({places.setdefault(found[0], f'id{len(places)}')})s"

    text = _GUID.sub(place, line.replace("%", "%%"))
    return _Template(_TIME.sub('{"timestamp":%(at)s,', text), tuple(places.values()), "Completed 503" in text)
