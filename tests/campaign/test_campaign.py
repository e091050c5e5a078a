"""Some trials of the campaign: enough to notice a guarantee that broke, few enough for every change.

`make campaign RUNS=1000` runs it long; docs/reliability.md says what was run and found.
"""

from __future__ import annotations

import os

import pytest

from tests.campaign.trial import plan, run

RUNS = int(os.environ.get("CAMPAIGN_RUNS", "10"))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", range(1, RUNS + 1))
def test_the_guarantees_hold(seed: int) -> None:
    result = run(plan(seed))
    assert result.violations == [], str(result.plan)


def test_plans_are_repeatable_and_varied() -> None:
    plans = [plan(seed) for seed in range(200)]
    assert plans == [plan(seed) for seed in range(200)]
    assert len({harm.name for one in plans for harm in one.harms}) > 20
    assert {one.layout for one in plans} == {"cfee-2", "scf-2.11", "kubecf"}
