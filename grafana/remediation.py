"""The dashboard of the hand: what it does now, what it did and how long that took, what it refused, what waits.

A run ends in one replica of the remediator, so its counters are summed over them; gauges are read by all from the same
ledger, so the largest is shown, and of the runs that limits still allow the smallest.
"""

from __future__ import annotations

from typing import Final

from grafana.common import MARKS, RESTARTS, F, firing, variables
from grafana.panels import Dashboard, Row, Target, bars, lines, stat, table

RATE: Final = "$__rate_interval"
DURATION: Final = "stager_remediation_duration_seconds"
STEP: Final = "stager_remediation_step_duration_seconds"
NORMAL: Final = ((None, "green"), (300.0, "orange"), (900.0, "red"))
"""A hung Locket takes up to its grace of 600 s to be deleted; everything else is a matter of seconds."""


def recovered(share: float) -> str:
    """A quantile of the time from the accepted request to the verified recovery, over the time shown."""
    buckets = f"sum by (le, foundation, playbook) (increase({DURATION}_bucket{{{F}}}[$__range]))"
    return f"histogram_quantile({share}, {buckets}) >= 0"


NOW: Final = Row(
    "State: what does it do, and what waits for a person?",
    (
        stat(
            "Runs now", "Whether a Remediation is under way.",
            f"max by (foundation) (stager_remediation_running{{{F}}})", "{{foundation}}",
            words={0: ("no", "blue"), 1: ("yes", "orange")}, empty="no remediator",
        ),
        stat(
            "Waits for approval", "A Remediation that starts only when a person approves it, and expires: "
            "stager-remediator approve NAME.",
            f"max by (foundation) (stager_remediation_awaiting_approval{{{F}}})", "{{foundation}}",
            words={0: ("nothing", "green"), 1: ("a person is asked", "purple")}, empty="no remediator",
        ),
        stat(
            "Breaker", "Open: a run failed, and nothing more runs until a person acknowledges it: stager-remediator "
            "acknowledge NAME --reason R.",
            f"max by (foundation) (stager_remediator_breaker_open{{{F}}})", "{{foundation}}",
            words={0: ("closed", "green"), 1: ("open", "red")}, empty="no remediator",
        ),
        stat(
            "Paused", "A person has paused it: stager-remediator resume.",
            f"max by (foundation) (stager_remediator_paused{{{F}}})", "{{foundation}}",
            words={0: ("no", "green"), 1: ("paused", "orange")}, empty="no remediator",
        ),
        stat(
            "Reads its state", "Whether every replica could read the ledger a moment ago. Without it, nothing is done.",
            f"min by (foundation) (stager_remediator_ready{{{F}}})", "{{foundation}}",
            words={0: ("no", "red"), 1: ("yes", "green")}, empty="no remediator",
        ),
        stat(
            "Would a restart help?", "The exporter's verdict, upon which the remediator is asked. It looks twice "
            "itself before it acts.",
            f"foundation_restart:diego_verdict_restart:max{{{F}}} == 1", "{{foundation}}: {{restart}}",
            name=True, colours=RESTARTS, empty="no exporter",
        ),
        lines(
            "State over time", "1 while it is so.", "none",
            Target(f"max by (foundation) (stager_remediation_running{{{F}}})", "{{foundation}}: runs"),
            Target(f"max by (foundation) (stager_remediation_awaiting_approval{{{F}}})", "{{foundation}}: waits"),
            Target(f"max by (foundation) (stager_remediator_breaker_open{{{F}}})", "{{foundation}}: breaker open"),
            Target(f"max by (foundation) (stager_remediator_paused{{{F}}})", "{{foundation}}: paused"),
            width=16, height=7, stepped=True, limits=(0, 1), decimals=0, empty="no remediator",
        ),
        firing("DiegoRestartWouldHelp|StagerRemediat.+", 8, 7),
    ),
)  # fmt: skip

RUNS: Final = Row(
    "Runs: what did it do, and did it help?",
    (
        bars(
            "Outcomes", "Ended Remediations in the time shown. NotNeeded: it had healed. WouldNotHelp: its own looks "
            "forbade it. Expired: nobody approved in time.",
            "short",
            Target(
                f"sum by (foundation, playbook, outcome) (increase(stager_remediations_total{{{F}}}[$__range]))",
                "{{foundation}}: {{playbook}} {{outcome}}", instant=True,
            ),
            width=8, decimals=0, empty="no remediator",
        ),
        lines(
            "Outcomes over time", "As they ended.",
            "short",
            Target(
                f"sum by (foundation, playbook, outcome) (increase(stager_remediations_total{{{F}}}[{RATE}]))",
                "{{foundation}}: {{outcome}}",
            ),
            width=16, stacked=True, empty="no remediator",
        ),
        stat(
            "Time to recover, median", "From the accepted request to the verified recovery, of the runs that succeeded "
            "in the time shown; read from buckets of 10 s to 30 min.",
            recovered(0.5), "{{foundation}}: {{playbook}}", unit="s", steps=NORMAL, decimals=0, height=6,
            empty="no run succeeded",
        ),
        stat(
            "Time to recover, 9 of 10", "As before: nine of ten runs were not slower.",
            recovered(0.9), "{{foundation}}: {{playbook}}", unit="s", steps=NORMAL, decimals=0, height=6,
            empty="no run succeeded",
        ),
        bars(
            "Time to recover: how many runs took how long", "Runs that succeeded in the time shown, by the upper end "
            "of their bucket in seconds.",
            "short",
            Target(
                f"sum by (le) (increase({DURATION}_bucket{{{F}}}[$__range]))", "{{le}}", instant=True, form="heatmap"
            ),
            width=8, height=6, decimals=0, empty="no remediator",
        ),
        lines(
            "Pods deleted", "By role. Never a replacement: only pods that were recorded when the run began.",
            "short",
            Target(
                f"sum by (foundation, role) (increase(stager_remediator_pods_deleted_total{{{F}}}[{RATE}]))",
                "{{foundation}}: {{role}}",
            ),
            width=8, height=6, stacked=True, empty="no remediator",
        ),
        bars(
            "Time in each step", "The mean in the time shown, over all foundations. `delete` takes as long as the "
            "pods' grace: a wedged Locket ignores TERM.",
            "s",
            Target(
                f"sum by (step) (increase({STEP}_sum[$__range])) "
                f"/ (sum by (step) (increase({STEP}_count[$__range])) > 0)",
                "{{step}}", instant=True,
            ),
            width=12, steps=((None, "green"), (60, "orange"), (300, "red")), empty="no step was run",
        ),
        bars(
            "Time in each step, 9 of 10", "Nine of ten were not slower, over all foundations; read from buckets of "
            "0.1 s to 15 min.",
            "s",
            Target(
                f"histogram_quantile(0.9, sum by (le, step) (increase({STEP}_bucket[$__range]))) >= 0", "{{step}}",
                instant=True,
            ),
            width=12, steps=((None, "green"), (60, "orange"), (300, "red")), empty="no step was run",
        ),
    ),
)  # fmt: skip

REFUSALS: Final = Row(
    "Refusals: why did it not act?",
    (
        bars(
            "Refused, by reason", "Alerts that asked for a remediation and were refused, in the time shown, over all "
            "foundations. breaker and paused wait for a person; cooldown, backoff and limit for time; unknown_… and "
            "bad_alert for a correction of the rules.",
            "short",
            Target(
                'sum by (reason) (increase(stager_remediator_alerts_total{outcome="refused"}[$__range]))', "{{reason}}",
                instant=True,
            ),
            width=8, decimals=0, steps=((None, "green"), (0.5, "orange")), empty="no remediator",
        ),
        lines(
            "Alerts, by what became of them", "A repeat of what runs already is a duplicate; one that has ended is "
            "ignored.",
            "short",
            Target(
                f"sum by (outcome, reason) (increase(stager_remediator_alerts_total[{RATE}]))", "{{outcome}} {{reason}}"
            ),
            width=16, stacked=True, empty="no remediator",
        ),
        stat(
            "Runs left", "How many runs each limit still allows. The page of the remediator says until when.",
            f"min by (foundation, playbook, per) (stager_remediation_runs_left{{{F}}})",
            "{{foundation}}: {{playbook}} per {{per}}", width=12, decimals=0,
            steps=((None, "red"), (1, "green")), empty="no remediator",
        ),
        stat(
            "Left out by Alertmanager", "Alerts that a notification did not carry, in the time shown. Set max_alerts "
            "to 0 on the receiver.",
            "sum(increase(stager_remediator_truncated_alerts_total[$__range]))", "all", width=6, decimals=0,
            steps=((None, "green"), (0.5, "red")), empty="no remediator",
        ),
        stat(
            "Refused for a limit", "In the time shown, over all foundations: cooldown, backoff and limits.",
            "sum(increase(stager_remediator_alerts_total"
            '{outcome="refused",reason=~"cooldown|backoff|limit"}[$__range]))',
            "all", width=6, decimals=0, steps=((None, "green"), (0.5, "orange")), empty="no remediator",
        ),
    ),
)  # fmt: skip

TRUST: Final = Row(
    "Can it be reached, and does it work?",
    (
        lines(
            "Notifications, by the status answered", "200: stored, or refused with a reason. 401, 403: credentials. "
            "503: the state could not be read or written, and Alertmanager comes again.",
            "cpm",
            Target(f"sum by (status) (rate(stager_remediator_notifications_total[{RATE}])) * 60", "{{status}}"),
            width=8, stacked=True, empty="no remediator",
        ),
        lines(
            "Requests without the right to", "No or wrong credentials, or a scope that is missing. A few are a "
            "mistyped password; many are somebody who tries.",
            "cpm",
            Target(f"sum(rate(stager_remediator_auth_failures_total[{RATE}])) * 60", "all"),
            width=8, steps=((None, "green"), (1, "orange"), (10, "red")), empty="no remediator",
        ),
        lines(
            "State not readable or writable", "Times that Kubernetes did not give or take the state. What cannot be "
            "read counts as `no`: nothing is done.",
            "cpm",
            Target(f"sum(rate(stager_remediator_state_errors_total[{RATE}])) * 60", "all"),
            width=8, steps=((None, "green"), (1, "orange"), (10, "red")), empty="no remediator",
        ),
        table(
            "Remediators", "Versions that run, and how many of each. Any number may: they share one ledger.",
            Target(
                "count by (version, revision, python) (stager_remediator_build_info)", "{{version}}", instant=True,
                form="table",
            ),
            hidden=("Time",), width=24, height=5, empty="no remediator",
        ),
    ),
)  # fmt: skip

REMEDIATION: Final = Dashboard(
    uid="stager-remediation",
    title="Stager: remediation",
    description="What the remediator does, did and refused, how long it took, and what waits for a person.",
    span="7d",
    variables=variables("stager_remediation_running"),
    annotations=MARKS,
    pages={
        "Availability": "/d/stager-availability",
        "Remediator": "${remediator}",
        "Exporter": "${exporter}",
        "Runbooks": "${runbooks}",
    },
    rows=(NOW, RUNS, REFUSALS, TRUST),
)  # fmt: skip
