"""`/probe`: one probe of a foundation's Service, made now, for a person or for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.web.exposition import Family, labels_of, number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from foundation.probes.result import ProbeResult

_stage = labels_of(("stage",))
_cause = labels_of(("cause", "stage"))


def probe_text(result: ProbeResult | None) -> bytes:
    """The result in Prometheus' text format, under blackbox_exporter's names, which dashboards know.

    Nothing but `probe_success 0` where there is none, as the layout is not known.
    """
    return "".join(
        line for family in _families(result) for line in (family.head(openmetrics=False), *family.lines)
    ).encode()


def _families(result: ProbeResult | None) -> Iterable[Family]:
    words = "Whether the Service answered to the configured depth."
    yield _gauge("probe_success", words, ("", 0 if result is None else result.ok))
    if result is None:
        return
    yield _gauge("probe_duration_seconds", "Time over all stages.", ("", result.seconds))
    stages = [(_stage((stage,)), seconds) for stage, seconds in result.stages.items()]
    yield _gauge("probe_stage_duration_seconds", "Time in each stage.", *stages)
    cause = [(_cause((result.cause, result.failed or "")), 1)] if result.cause is not None else []
    yield _gauge("probe_failure_info", "Why it failed.", *cause)
    if result.certificate is not None:
        ends = result.certificate.not_after
        yield _gauge("probe_ssl_earliest_cert_expiry", "When the server's certificate ends.", ("", ends))


def _gauge(name: str, text: str, *samples: tuple[str, float]) -> Family:
    return Family(name, "gauge", text, [f"{name}{labels} {number(value)}\n" for labels, value in samples])
