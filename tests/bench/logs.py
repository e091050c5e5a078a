"""Log files: `stager-exporter logs` against mtail's one-shot run, both counting the failed pushes of the same file."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from tests.bench import lines
from tests.bench.errors import BenchError
from tests.bench.processes import OtherWork, Ran, run
from tests.bench.report import Section, ratio_check, spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.peers import Peers

LINES: Final = 1_000_000
QUICK_LINES: Final = 200_000
# One pattern that begins with a fixed text: Go's regexp is fastest on those.
PATTERN: Final = '"message":"Request failed: 503: .*CF-StagerUnavailable'
_PROGRAM: Final = f"counter stager_unavailable\n/{PATTERN}/ {{\n  stager_unavailable++\n}}\n"


def mtail(peers: Peers, file: lines.LogFile) -> Ran:
    """One run of mtail over a file. Raises BenchError if it counts anything but the truth."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        program = Path(folder, "stager.mtail")
        program.write_text(_PROGRAM, encoding="utf-8")
        command = [str(peers.mtail), "--one_shot", "--one_shot_format", "prometheus", "--log_dir", folder]
        ran = run([*command, "--progs", str(program), "--logs", str(file.path)])
    _agree("mtail", ran.output, r"^stager_unavailable\S* (\S+)$", file)
    return ran


def measure(peers: Peers, *, quick: bool) -> Section:
    """CPU per line of both and of `grep -c`."""
    file = lines.make(QUICK_LINES if quick else LINES)
    rounds = 3 if quick else 5
    candidates: dict[str, Callable[[], Ran]] = {
        "stager-exporter logs": lambda: _ours(file),
        "mtail --one_shot": lambda: mtail(peers, file),
        "grep -c": lambda: _grep(file),
    }
    others = OtherWork()
    _grep(file)  # brings the file into the page cache
    found: dict[str, list[Ran]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, once in candidates.items():
            found[name].append(once())
    cpu = {name: median(ran.cpu for ran in runs) * 1e6 / file.lines for name, runs in found.items()}
    ours, peer, floor = cpu.values()
    rows = tuple(
        (
            name,
            f"{cpu[name]:.2f}",
            spread([ran.cpu * 1e6 / file.lines for ran in runs]),
            f"{median(ran.wall for ran in runs):.2f}",
            f"{cpu[name] / peer:.3f}",
        )
        for name, runs in found.items()
    )
    return Section(
        name="logs",
        title="Log files",
        how=(
            f"{file.lines:,} synthetic lines of Cloud Controller ({file.size / 1e6:.0f} MB, seed {lines.SEED}), of "
            f"which {file.failed} are failed pushes (503, 170010). All three counted {file.failed}. mtail counts these "
            "alone, with one pattern; the exporter also counts every other error by name and cause, completed requests "
            f"by status, and staging requests. The start of the process is included. {rounds} rounds."
        ),
        columns=("", "CPU per line, µs", "from … to", "wall, s", "CPU against mtail"),
        rows=rows,
        checks=(ratio_check("CPU per log line of a file, against mtail", ours, peer, 1 / 6, "1/6"),),
        notes=(
            f"`grep -c` is the floor: the exporter needs {ours / floor:.1f} times its time, mtail {peer / floor:.1f}.",
        ),
        others=others.share(),
    )


def _ours(file: lines.LogFile) -> Ran:
    ran = run([str(Path(sys.executable).with_name("stager-exporter")), "logs", str(file.path)])
    _agree("stager-exporter logs", ran.output, r"^cf_cc_stager_unavailable_total\S* (\S+)$", file)
    return ran


def _grep(file: lines.LogFile) -> Ran:
    os.environ["LC_ALL"] = "C"
    ran = run(["grep", "-c", PATTERN, str(file.path)])
    _agree("grep", ran.output, r"^(\d+)$", file)
    return ran


def _agree(who: str, output: str, pattern: str, file: lines.LogFile) -> None:
    total = sum(float(value) for value in re.findall(pattern, output, re.MULTILINE))
    if total != file.failed:
        raise BenchError(f"{who} counted {total:g} failed pushes in {file.path.name}, where {file.failed} are")
