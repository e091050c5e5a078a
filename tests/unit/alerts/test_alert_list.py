"""The README's list of alerts: all of them, with the severities and waits that the rules have."""

from __future__ import annotations

import re
from typing import Final

from tests.support.alert_rules import ROOT, alerts

ROW: Final = re.compile(r"^\| \[(\w+)\]\(alerts/runbooks/(\w+)\.md\) \| ([^|]+) \| ([^|]+) \| [^|]+ \|$", re.MULTILINE)
UNITS: Final = {"s": "s", "m": "min", "h": "h"}


def test_the_readme_lists_each_alert_as_it_is() -> None:
    rows = ROW.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert all(name == page for name, page, _, _ in rows)
    assert sorted(name for name, *_ in rows) == sorted({alert.name for alert in alerts()})
    for name, _, severities, wait in rows:
        rules = [alert for alert in alerts() if alert.name == name]
        assert severities.split(", ") == list(dict.fromkeys(rule.labels["severity"] for rule in rules)), name
        hold = rules[0].hold
        assert wait == (f"{hold[:-1]} {UNITS[hold[-1]]}" if hold else "at once"), name
