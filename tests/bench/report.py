"""What a measurement found, in one form for the terminal and for docs/benchmarks.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

BUSY = 0.05
"""Above this share of the machine used by others, times of answers are not to be trusted."""


@dataclass(frozen=True, slots=True)
class Check:
    """One promise and what was measured of it."""

    what: str
    found: str
    target: str
    met: bool


@dataclass(frozen=True, slots=True)
class Section:
    """One measurement."""

    name: str
    """As `--only` takes it."""
    title: str
    how: str
    """How it was measured, in sentences."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()
    others: float = 0.0
    """The share of the machine that other work used meanwhile, from 0 to 1."""
    times: bool = False
    """Whether it measures how long answers take, which other work disturbs."""
    when: str = ""
    """The day, and the revision of the project."""

    @property
    def quiet(self) -> str:
        """A sentence on what else the machine did; says so where it spoils the times."""
        words = f"Other work used {self.others:.0%} of the machine meanwhile"
        return (
            f"{words}: BUSY MACHINE, the times are not reliable." if self.times and self.others > BUSY else f"{words}."
        )


def ratio_check(what: str, ours: float, peer: float, most: float, words: str) -> Check:
    """`ours` is to be at most `most` times `peer`'s; `words` says that limit."""
    ratio = ours / peer
    return Check(what, f"{ratio:.3f} (1/{1 / ratio:.1f})", f"at most {words}", ratio <= most)


def spread(values: Sequence[float]) -> str:
    """The smallest and the largest."""
    return f"{min(values):.2f} to {max(values):.2f}"


def from_json(value: dict[str, Any]) -> Section:
    """What `dataclasses.asdict` made of a section, and JSON of that."""
    lists = {name: tuple(value[name]) for name in ("columns", "notes")}
    rows = tuple(tuple(row) for row in value["rows"])
    checks = tuple(Check(**check) for check in value["checks"])
    return Section(**{**value, **lists, "rows": rows, "checks": checks})


def as_text(section: Section) -> str:
    """For a terminal."""
    table = [section.columns, *section.rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(section.columns))]
    lines = [f"== {section.title}"]
    lines += ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
    lines += [f"  -> {c.what}: {c.found}; target {c.target}: {'met' if c.met else 'MISSED'}" for c in section.checks]
    lines += [f"  {note}" for note in section.notes]
    return "\n".join([*lines, f"  {section.quiet}"])


def as_markdown(sections: Sequence[Section], *, machine: str, versions: Sequence[tuple[str, str]]) -> str:
    """The whole of docs/benchmarks.md."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; change nothing here by hand. Ratios matter more than absolute figures: both sides",
        "ran on the same machine, in turns (A B A B …), and the medians are shown. Processor time is user and system",
        "time of the whole tree of processes.",
        "",
        f"- Machine: {machine}",
        *(f"- {name}: {text}" for name, text in versions),
        "",
        "| what | measured | target | |",
        "|---|---|---|---|",
        *(
            f"| {c.what} | {c.found} | {c.target} | {'met' if c.met else '**missed**'} |"
            for section in sections
            for c in section.checks
        ),
    ]
    for section in sections:
        lines += [
            "",
            f"## {section.title}",
            "",
            section.how,
            "",
            f"Measured {section.when}.",
            "",
            f"| {' | '.join(section.columns)} |",
            f"|{'---|' * len(section.columns)}",
            *(f"| {' | '.join(row)} |" for row in section.rows),
            "",
            *(f"- {note}" for note in section.notes),
            f"- {section.quiet}",
        ]
    return "\n".join(lines) + "\n"
