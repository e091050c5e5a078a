"""The dashboard for "can anybody push, and if not, why": state first, then impact, then cause, then trust.

What alerts/rules.yml records is read as recorded, so that a panel shows what an alert judges.

Several replicas of the exporter may be scraped. As for the alerts, what is up for one of them is up; where they
disagree the panel of the state says so, and what is not recorded shows the worst. What they count of the logs is the
largest of their rates for each pod, since each replica that follows a log reads all of it: where syslog spreads one log
over several replicas, that shows too little.
"""

from __future__ import annotations

from typing import Final

from grafana.common import MARKS, OK_FAILS, RESTARTS, VERDICTS, YES_NO, F, firing, variables
from grafana.panels import Annotation, Dashboard, Row, Target, bars, lines, stat, states, table

RATE: Final = "$__rate_interval"
UP: Final = f"foundation:diego_bbs_up:max{{{F}}}"
LOW: Final = f"min by (foundation) (diego_bbs_up{{{F}}})"
MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR


def logged(metric: str, own: str, by: str = "") -> str:
    """Rate per second of a counter that log lines feed, by foundation and `by`; `own`: the metric's further labels."""
    kept = ", ".join(filter(None, ("foundation", by)))
    replicas = ", ".join(filter(None, ("foundation", "pod", own)))
    return f"sum by ({kept}) (max by ({replicas}) (rate({metric}{{{F}}}[{RATE}])))"


FAILED: Final = logged("cf_cc_stager_unavailable_total", "cause")
ASKED: Final = logged("cf_cc_stage_requests_total", "")

STATE: Final = Row(
    "State: is staging possible?",
    (
        stat(
            "Staging possible",
            "Whether BBS answers through the Service that Cloud Controller uses, on every fresh connection. `not "
            "known`: the exporter runs and has no fresh look at it.",
            f"({UP} + {LOW}) / 2 "
            f'or 0 * min by (foundation) (stager_exporter_collector_success{{{F},collector="snapshot"}}) - 1',
            "{{foundation}}", words={**YES_NO, 0.5: ("replicas disagree", "orange")}, empty="no exporter",
        ),
        stat(
            "Not possible for",
            "How long ago BBS was last seen to answer, to half a minute; never more than the time shown above.",
            f"(time() - max_over_time(timestamp({UP} == 1)[$__range:30s]) and on (foundation) {UP} == 0) "
            f"or (1 - {UP}) * $__range_s",
            "{{foundation}}", unit="s", words={0: ("it is", "green")},
            # A normal fail-over takes 20 to 60 s, on KubeCF half a minute more.
            steps=((None, "yellow"), (90, "red")), decimals=0,
        ),
        stat(
            "Verdict",
            "What is wrong, by the ordered rules of docs/verdicts.md. Two of one foundation: replicas of the exporter "
            "see different things.",
            f"max by (foundation, verdict) (diego_verdict{{{F}}}) == 1",
            "{{foundation}}: {{verdict}}", name=True, colours=VERDICTS,
        ),
        stat(
            "Would a restart help?",
            "yes: the remediator may restart the pods that the exporter's page names. ask: a person decides. wait: it "
            "may heal by itself. no: it would not help, or do harm.",
            f"foundation_restart:diego_verdict_restart:max{{{F}}} == 1",
            "{{foundation}}: {{restart}}", name=True, colours=RESTARTS,
        ),
        stat(
            "Verdict for",
            "How long verdict and restart have been what they are; an exporter that starts anew begins anew.",
            f"time() - min by (foundation) (diego_verdict_since_timestamp_seconds{{{F}}})",
            "{{foundation}}", unit="s", decimals=0,
        ),
        stat(
            "Being repaired",
            "Whether a Remediation runs (see the other dashboard). Not known where no remediator is scraped.",
            f"max by (foundation) (stager_remediation_running{{{F}}})",
            "{{foundation}}", words={0: ("no", "blue"), 1: ("yes", "orange")}, empty="no remediator",
        ),
        states(
            "Verdicts over time",
            "Which verdict held when.",
            Target(f"max by (foundation, verdict) (diego_verdict{{{F}}}) == 1", "{{foundation}}: {{verdict}}"),
            colours=VERDICTS, width=16, height=6, empty="no exporter has looked",
        ),
        firing("Diego.+|Stager.+", 8, 6),
    ),
)  # fmt: skip

IMPACT: Final = Row(
    "Impact: what do the users see?",
    (
        stat(
            "Failed pushes",
            "User requests that ended in 503 CF-StagerUnavailable (170010), in the time shown.",
            f"sum_over_time({FAILED}[$__range:15s]) * 15",
            "{{foundation}}", decimals=0, steps=((None, "green"), (0.5, "red")), empty="no log is read", height=8,
        ),
        stat(
            "Share of staging that fails now",
            "Failed with StagerUnavailable, of the staging requests that Cloud Controller sent to BBS. Read it beside "
            "the absolute number: at two pushes an hour, one is half of them.",
            f"clamp_max({FAILED} / ({ASKED} > 0), 1)",
            "{{foundation}}", unit="percentunit", decimals=0, steps=((None, "green"), (0.01, "orange"), (0.2, "red")),
            empty="nobody stages", height=8,
        ),
        lines(
            "Failed requests by error", "Each failed user request once, by the error that Cloud Controller names. "
            "RunnerUnavailable, InstancesUnavailable and the like are other ends of the same outage.",
            "cpm",
            Target(f"{logged('cf_cc_errors_total', 'error, cause', 'error')} * 60", "{{foundation}}: {{error}}"),
            width=16, stacked=True, empty="no log is read",
        ),
        lines(
            "StagerUnavailable by cause", "Why, in the words of Cloud Controller's own error. It narrows the cause "
            "down and proves nothing: `timeout` fits an open port too.",
            "cpm",
            Target(f"{logged('cf_cc_stager_unavailable_total', 'cause', 'cause')} * 60", "{{foundation}}: {{cause}}"),
            width=6, stacked=True, empty="no log is read",
        ),
        lines(
            "Staging requests, and those that failed", "What was asked of BBS and what of it failed with "
            "StagerUnavailable. Nothing fails where nobody pushes: an outage at night shows above, not here.",
            "cpm",
            Target(f"{ASKED} * 60", "{{foundation}}: asked"), Target(f"{FAILED} * 60", "{{foundation}}: failed"),
            width=6, empty="no log is read",
        ),
        lines(
            "Requests completed, by status", "Everything that Cloud Controller's API answered.",
            "reqps",
            Target(
                "sum by (foundation, class) (label_replace(max by (foundation, pod, status) "
                f'(rate(cf_cc_requests_completed_total{{{F}}}[{RATE}])), "class", "$1", "status", "(.).."))',
                "{{foundation}}: {{class}}xx",
            ),
            width=6, empty="no log is read",
        ),
        lines(
            "Failed comparisons with BBS", "cc-clock compares Cloud Controller's processes with BBS every 30 s, also "
            "when nobody pushes: about two failures a minute mean that it cannot reach BBS.",
            "cpm",
            Target(f"{logged('cf_cc_diego_sync_failures_total', '')} * 60", "{{foundation}}"),
            width=6, steps=((None, "green"), (1.5, "red")), empty="no log is read",
        ),
    ),
)  # fmt: skip

SERVES: Final = f"foundation_pod:diego_bbs_serves:min{{{F}}}"

CAUSE: Final = Row(
    "Cause: where does it break?",
    (
        lines(
            "BBS: marked active, and serving", "Exactly one pod should carry the active label and answer. The label is "
            "what the Service goes by; serving is what the probe found. Layouts without a label show the probe only.",
            "none",
            Target(f"foundation:diego_active_pods:max{{{F}}}", "{{foundation}}: marked active"),
            Target(f"foundation:diego_bbs_serving_pods:max{{{F}}}", "{{foundation}}: serving"),
            width=8, stepped=True, decimals=0,
        ),
        states(
            "Label against probe, by pod", "What each BBS pod says of itself and what it does. Wrong: marked, and does "
            "not serve (stale_label, hung); serves, and is not marked (unlabelled_active); two active at once.",
            Target(
                f"(2 * foundation_pod:diego_pod_active:max{{{F}}} + {SERVES}) or {SERVES} + 4",
                "{{foundation}}: {{pod}}",
            ),
            words={
                0: ("does not serve", "blue"), 1: ("serves, not marked", "orange"),
                2: ("marked, does not serve", "red"), 3: ("active", "green"),
                4: ("does not serve", "blue"), 5: ("serves", "green"),
            },
            width=8,
        ),
        lines(
            "Pods ready, and expected", "By role. On SCF a wedged Locket leaves every pod ready: full numbers here "
            "prove nothing.",
            "none",
            Target(f"min by (foundation, role) (diego_pods_ready{{{F}}})", "{{foundation}}: {{role}} ready"),
            Target(f"max by (foundation, role) (diego_pods_expected{{{F}}})", "{{foundation}}: {{role}} expected"),
            width=8, stepped=True, decimals=0,
        ),
        states(
            "Cloud Controller's way to BBS, by stage", "The probe of the Service: the first stage that fails says "
            "where it breaks. tcp: nobody listens. tls: a certificate, or a hang. ping: BBS itself.",
            Target(
                f'min by (foundation, stage) (diego_bbs_probe_success{{{F},target="service"}})',
                "{{foundation}}: {{stage}}",
            ),
            words=OK_FAILS, width=8,
        ),
        lines(
            "Failed probes by cause", "As the prober found them. `refused` at a pod counts only while no other serves: "
            "a passive BBS does not listen.",
            "cpm",
            Target(
                "max by (foundation, target, cause) "
                f"(rate(diego_bbs_probe_failures_total{{{F}}}[{RATE}])) * 60 > 0",
                "{{foundation}}: {{target}} {{cause}}",
            ),
            width=8, empty="none failed",
        ),
        states(
            "Locket and the database", "Locket: accepts on 8891 and answers a TLS hello. The database is asked only "
            "while no BBS serves, and only where it is configured. With the database down a restart does harm.",
            Target(
                f'min by (foundation, target) (diego_locket_up{{{F}}} or diego_database_up{{{F}}})',
                "{{foundation}}: {{target}}",
            ),
            words=OK_FAILS, width=8,
        ),
        lines(
            "Probe of the Service: time in each stage", "The slowest of the replicas. The limit is the probe's "
            "timeout, 3 s by default; some milliseconds are normal.",
            "s",
            Target(
                f'max by (foundation, stage) (diego_bbs_probe_duration_seconds{{{F},target="service"}})',
                "{{foundation}}: {{stage}}",
            ),
            width=8, steps=((None, "green"), (1, "orange"), (3, "red")),
        ),
        lines(
            "Probes of the pods: time in each stage", "At their own addresses. A BBS that hangs shows here first.",
            "s",
            Target(
                "max by (foundation, target, stage) "
                f'(diego_bbs_probe_duration_seconds{{{F},target!="service"}})',
                "{{foundation}}: {{target}} {{stage}}",
            ),
            width=8, steps=((None, "green"), (1, "orange"), (3, "red")),
        ),
        bars(
            "Certificates: time left", "As last seen within a day: BBS's at each address, and our own (client). BBS "
            "does not start with an expired one, so a restart would kill the last that still runs.",
            "s",
            Target(
                "max by (foundation, target, side) "
                f"(last_over_time(diego_certificate_not_after_timestamp_seconds{{{F}}}[1d])) - time()",
                "{{foundation}}: {{target}} ({{side}})", instant=True,
            ),
            width=8, steps=((None, "red"), (7 * DAY, "orange"), (30 * DAY, "green")), limits=(0, 400 * DAY), decimals=0,
            empty="none seen",
        ),
        lines(
            "Restarts of containers", "Of the pods of BBS, Locket and Cloud Controller's api. A BBS beside a hung "
            "Locket restarts for ever.",
            "short",
            Target(
                "max by (foundation, role, pod) "
                f"(increase(diego_pod_restarts_total{{{F}}}[{RATE}]))", "{{foundation}}: {{pod}}",
            ),
            width=24, height=6, stacked=True,
        ),
    ),
)  # fmt: skip

STREAM: Final = "foundation, source, pod"

TRUST: Final = Row(
    "Can this picture be trusted?",
    (
        states(
            "Log inputs", "Whether each input is open, and was ever heard. One that is open and was never heard may "
            "read the wrong file.",
            Target(
                f"max by ({STREAM}) (stager_log_source_up{{{F}}}) + "
                f"2 * (max by ({STREAM}) (stager_log_last_sign_of_life_timestamp_seconds{{{F}}}) > bool 0)",
                "{{foundation}}: {{source}} {{pod}}",
            ),
            words={
                0: ("closed, never heard", "red"), 1: ("open, never heard", "orange"), 2: ("closed", "red"),
                3: ("open", "green"),
            },
            width=8, empty="no log is read: the impact is not known",
        ),
        lines(
            "Log inputs: deaf for", "Since the last line, and since the last sign that a line would have arrived. "
            "Silence beside signs of life is a quiet night; without them it is deafness. Never heard: see the left.",
            "s",
            Target(
                f"time() - (max by ({STREAM}) (stager_log_last_sign_of_life_timestamp_seconds{{{F}}}) > 0)",
                "{{foundation}}: {{source}} {{pod}} sign of life",
            ),
            Target(
                f"time() - (max by ({STREAM}) (stager_log_last_line_timestamp_seconds{{{F}}}) > 0)",
                "{{foundation}}: {{source}} {{pod}} line",
            ),
            width=8, steps=((None, "green"), (5 * MINUTE, "orange"), (15 * MINUTE, "red")), empty="no log is read",
        ),
        lines(
            "Log lines read", "By input; the most that any replica of the exporter reads.",
            "cps",
            Target(
                f"max by ({STREAM}) (rate(stager_log_lines_total{{{F}}}[{RATE}]))",
                "{{foundation}}: {{source}} {{pod}}",
            ),
            width=8, empty="no log is read",
        ),
        states(
            "The exporter's collectors", "Whether the last turn of each succeeded. `snapshot`: whether its results "
            "could be shown.",
            Target(
                f"min by (foundation, collector) (stager_exporter_collector_success{{{F}}})",
                "{{foundation}}: {{collector}}",
            ),
            words=OK_FAILS, width=8, empty="no exporter",
        ),
        lines(
            "Collectors: since the last success", "A look older than three probe intervals is not shown at all: its "
            "series end.",
            "s",
            Target(
                "time() - max by (foundation, collector) "
                f"(stager_exporter_collector_last_success_timestamp_seconds{{{F}}})",
                "{{foundation}}: {{collector}}",
            ),
            width=8, steps=((None, "green"), (MINUTE, "orange"), (5 * MINUTE, "red")), empty="no exporter",
        ),
        lines(
            "Log inputs opened again", "A restart of a pod explains one; many are a connection that does not hold.",
            "cpm",
            Target(
                f"max by ({STREAM}) (rate(stager_log_reconnects_total{{{F}}}[{RATE}])) * 60",
                "{{foundation}}: {{source}} {{pod}}",
            ),
            width=8, empty="no log is read",
        ),
        lines(
            "Collectors: time for a turn", "The slowest of the replicas.",
            "s",
            Target(
                f"max by (foundation, collector) (stager_exporter_collector_duration_seconds{{{F}}})",
                "{{foundation}}: {{collector}}",
            ),
            width=8, empty="no exporter",
        ),
        lines(
            "Probes: since the newest", "By target; the oldest of the replicas.",
            "s",
            Target(
                f"time() - min by (foundation, target) (diego_bbs_last_probe_timestamp_seconds{{{F}}})",
                "{{foundation}}: {{target}}",
            ),
            width=8, steps=((None, "green"), (MINUTE, "red")), empty="no exporter has looked",
        ),
        lines(
            "Left out of scrapes", "Parts of the exporter's own answer that failed, over all foundations. Anything but "
            "0 is a bug of the exporter: its log has the traceback.",
            "short",
            Target(f"sum(increase(stager_exporter_scrape_failures_total[{RATE}]))", "all"),
            width=8, steps=((None, "green"), (1, "red")), empty="no exporter",
        ),
        table(
            "Foundations", "Where each is and which layout is in force (empty: not recognised).",
            Target(
                f"max by (foundation, namespace, layout) (stager_exporter_foundation_info{{{F}}})",
                "{{foundation}}", instant=True, form="table",
            ),
            hidden=("Time", "Value"), width=10, empty="no exporter has looked",
        ),
        stat(
            "Configuration in force", "Whether every exporter could read its configuration when it was last asked to. "
            "If not, the one from before is in force; the exporter's page says what is wrong.",
            "min(stager_exporter_config_last_reload_successful)", "all", width=4, height=6,
            words={0: ("the one before", "red"), 1: ("the newest", "green")}, empty="no exporter",
        ),
        table(
            "Exporters", "Versions that run, over all foundations, and how many of each.",
            Target(
                "count by (version, revision, python) (stager_exporter_build_info)", "{{version}}", instant=True,
                form="table",
            ),
            hidden=("Time",), width=10, empty="no exporter",
        ),
    ),
)  # fmt: skip

AVAILABILITY: Final = Dashboard(
    uid="stager-availability",
    title="Stager: availability",
    description="Is staging possible, since when not, why, and would a restart help.",
    span="3h",
    variables=variables("stager_exporter_collector_success"),
    annotations=(
        *MARKS,
        Annotation(
            "Verdict changed",
            f"sum by (foundation) (changes(diego_verdict{{{F}}}[1m])) > 0",
            "Verdict changed", "{{foundation}}", "purple",
        ),
    ),
    pages={
        "Remediation": "/d/stager-remediation",
        "Exporter": "${exporter}",
        "Runbooks": "${runbooks}",
    },
    rows=(STATE, IMPACT, CAUSE, TRUST),
)  # fmt: skip
