"""Runs the tests of the verdict and of the recogniser against every mutant of their modules: `make mutants`.

Each mutant gets a process of its own, forked from one that has pytest loaded; no file is changed. First the tests of
the edges run, then the module's own, then, for what survives, all tests of the topic. Survivors that docs/mutation.md
explains are expected; any other makes the run fail. Hypothesis draws the same examples in every run, so that the
result is repeatable.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.abc
import importlib.util
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import prometheus_client  # noqa: F401 - loaded once, before the forks
import pytest

from tests.mutation.mutate import Mutant, mutants

if TYPE_CHECKING:
    import ast
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

ROOT = Path(__file__).parents[2]
EXPLAINED = ROOT / "docs" / "mutation.md"
SECONDS = 60
"""Of CPU that the quick tests may take, and five times that for all; more is an endless loop, and so found."""
MEMORY = 4 << 30


@dataclass(frozen=True, slots=True)
class Target:
    """One module and the tests that are to know it."""

    module: str
    quick: tuple[str, ...]
    every: tuple[str, ...]
    prose: bool = False

    @property
    def path(self) -> Path:
        return ROOT / (self.module.replace(".", "/") + ".py")


_LONG = (
    "test_forgetting_a_signal_never_allows_a_restart_and_no_restart_takes_a_pod_that_answers",
    "test_failed_line_cut_at_every_byte",
    "test_cutting_never_invents_anything",
)


def _logs(name: str, *quick: str) -> Target:
    files = tuple(f"tests/unit/logs/{file}" for file in quick)
    return Target(f"exporter.logs.{name}", files, ("tests/unit/logs",))


TARGETS = (
    Target("foundation.diagnosis", ("tests/unit/diagnosis",), ("tests/unit/diagnosis",), prose=True),
    _logs("recognise", "test_log_recognise.py"),
    _logs("prefix", "test_log_recognise.py"),
    _logs("scan", "test_log_scan.py", "test_log_account.py"),
    _logs("causes", "test_log_causes.py"),
    _logs("unwrap", "test_log_unwrap.py"),
    _logs("account", "test_log_account.py"),
    _logs("lines", "test_log_lines.py"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print one line per survivor and one per module; 1 where a survivor is not explained."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", help="last parts of module names; none: all")
    parser.add_argument("--only", default="", help="only mutants whose key contains this text")
    parser.add_argument("--again", type=Path, help="only mutants that this file, a former run's output, names")
    parser.add_argument("--quick", action="store_true", help="leave out the long tests: more survivors")
    parser.add_argument("--list", action="store_true", help="print the mutants, run nothing")
    options = parser.parse_args(arguments)
    explained = EXPLAINED.read_text(encoding="utf-8") if EXPLAINED.exists() else ""
    former = options.again.read_text(encoding="utf-8") if options.again else None
    unexplained = 0
    for target in TARGETS:
        short = target.module.rpartition(".")[2]
        if options.modules and short not in options.modules:
            continue
        found = [mutant for mutant in _mutants_of(target) if options.only in mutant.key]
        if former is not None:
            found = [mutant for mutant in found if f"`{short} {mutant.key}`" in former]
        if options.list:
            for mutant in found:
                print(f"{short}:{mutant.line} {mutant.key}")
            continue
        unexplained += _run(target, short, found, explained, only_quick=options.quick)
    return 1 if unexplained else 0


def _mutants_of(target: Target) -> list[Mutant]:
    names = vars(importlib.import_module(target.module))
    found = mutants(target.path.read_text(encoding="utf-8"), names, prose=target.prose)
    # The children load the project anew, with the mutant in it.
    for name in [name for name in sys.modules if name.startswith(("foundation", "exporter", "tests.support"))]:
        del sys.modules[name]
    return found


def _run(target: Target, short: str, found: list[Mutant], explained: str, *, only_quick: bool) -> int:
    begun = time.monotonic()
    if not _survives(target, None, only_quick=only_quick):
        print(f"{short}: the tests fail without any mutant; mend them first", file=sys.stderr)
        return 1
    survived = unexplained = 0
    for mutant in found:
        if _survives(target, mutant, only_quick=only_quick):
            known = f"`{short} {mutant.key}`" in explained
            survived += 1
            unexplained += not known
            place = f"{target.path.relative_to(ROOT)}:{mutant.line}"
            print(f"{'known' if known else 'new  '} {place} `{short} {mutant.key}`", flush=True)
    seconds = time.monotonic() - begun
    print(
        f"{short}: {len(found)} mutants, {len(found) - survived} killed, {survived} survived, "
        f"{unexplained} of them not explained; {seconds:.0f} s",
        flush=True,
    )
    return unexplained


def _survives(target: Target, mutant: Mutant | None, *, only_quick: bool) -> bool:
    # What finds most of them in the shortest time comes first.
    edges = tuple(str(path) for path in sorted((ROOT / target.every[0]).glob("test_mutants_*.py")))
    return (
        _passes(target, mutant, edges, quick=True)
        and _passes(target, mutant, target.quick, quick=True)
        and (only_quick or _passes(target, mutant, target.every, quick=False))
    )


def _passes(target: Target, mutant: Mutant | None, tests: Sequence[str], *, quick: bool) -> bool:
    child = os.fork()
    if child == 0:
        os._exit(_child(target, mutant, tests, quick=quick))
    _, status = os.waitpid(child, 0)
    return status == 0


def _child(target: Target, mutant: Mutant | None, tests: Sequence[str], *, quick: bool) -> int:
    seconds = SECONDS if quick else 5 * SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    signal.alarm(10 * seconds)  # a machine that is busy, or a deadlock
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    if mutant is not None:
        sys.meta_path.insert(0, _Finder(target, mutant.make()))
    hypothesis.settings.register_profile(
        "mutants",
        derandomize=True,
        database=None,
        deadline=None,
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("mutants")
    plugins = ("no:randomly", "no:xdist", "no:cov", "no:cacheprovider")
    options = ["-x", "-q", "--tb=no", "--no-header", "--assert=plain", "--rootdir", str(ROOT)]
    options += [word for name in plugins for word in ("-p", name)]
    if quick:
        options += ["-k", " and ".join(f"not {name}" for name in _LONG)]
    try:
        return int(pytest.main([*options, *tests]))
    except BaseException:  # noqa: BLE001 - whatever a mutant raises finds it
        return 1


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the mutant where its module is asked for."""

    def __init__(self, target: Target, tree: ast.Module) -> None:
        self._target = target
        self._tree = tree

    def find_spec(self, fullname: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != self._target.module:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=str(self._target.path))

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._tree, str(self._target.path), "exec"), vars(module))


if __name__ == "__main__":
    sys.exit(main())
