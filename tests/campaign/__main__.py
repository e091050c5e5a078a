"""`python -m tests.campaign --runs 100 --first 1 --jobs 2`: trials by seed, each with what it found."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tests.campaign.trial import Result, plan, run


def main() -> None:
    """Run them, print a line each, exit 1 where a guarantee did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--without", default="", help="leave a rule of the protocol out on purpose")
    given = parser.parse_args()
    phases: Counter[str] = Counter()
    harms: Counter[str] = Counter()
    violated = deletions = 0

    def one(seed: int) -> Result:
        return run(replace(plan(seed), without=given.without))

    with ThreadPoolExecutor(given.jobs) as pool:
        for result in pool.map(one, range(given.first, given.first + given.runs)):
            phases.update(result.phases)
            harms.update(harm.name for harm in result.plan.harms)
            violated += bool(result.violations)
            deletions += len(result.deleted)
            ended = ", ".join(result.phases) or "nothing"
            print(f"{result.plan} -> {ended}; deleted {len(result.deleted)} ({result.seconds:.0f} s)", flush=True)
            for violation in result.violations:
                print(f"    VIOLATED {violation} [{result.folder}]", flush=True)
    print(f"{given.runs} trials, {violated} with violations, {deletions} pods deleted")
    print("ended: " + ", ".join(f"{name} {count}" for name, count in phases.most_common()))
    print("harm: " + ", ".join(f"{name} {count}" for name, count in harms.most_common()))
    sys.exit(1 if violated else 0)


if __name__ == "__main__":
    main()
