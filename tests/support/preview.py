"""Made-up but realistic views, and a way to look at them: `python -m tests.support.preview DIRECTORY` writes the pages.

The pages are written as files that load the style from beside them, so that a browser can open them without a server.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

import exporter.web
from exporter.web.app import create_app
from exporter.web.view import CollectorLine, ExporterView, FoundationView, PodLine, ProbeLine, SourceLine
from foundation.serving import house

NOW = 1_790_000_000.0
GOOD = (("dns", 0.0008), ("tcp", 0.0006), ("tls", 0.0124), ("ping", 0.0031))


def healthy(name: str = "prod") -> FoundationView:
    probes = tuple(
        ProbeLine(NOW - 1 - 5 * n, target, "ping", ok=True, stages=GOOD if target == "service" else GOOD[1:])
        for n in range(3)
        for target in ("service", "diego-api-1")
    )
    refused = ProbeLine(
        NOW - 1,
        "diego-api-0",
        "ping",
        ok=False,
        cause="refused",
        detail="Connection refused",
        stages=(("tcp", 0.0004),),
    )
    return FoundationView(
        name=name,
        namespace="cf",
        layout="cfee-2",
        layout_by="recognised by skiff-role-name=diego-api",
        verdict="healthy",
        restart="no",
        since=NOW - 93_000,
        evidence=(
            "diego-api-1 (10.42.3.17) answered its ping in 16 ms, 3 of 3 connections.",
            "The Service diego-api.cf.svc.cluster.local:8889 answered 3 of 3 connections.",
            "diego-api-0 refuses 8889, as a passive BBS does.",
            "2 of 2 api pods are ready.",
        ),
        pods=(
            PodLine("api-0", "api", "Running", "4/4"),
            PodLine("api-1", "api", "Running", "4/4"),
            PodLine("diego-api-0", "bbs", "Running", "2/2", "no", "passive"),
            PodLine("diego-api-1", "bbs", "Running", "2/2", "yes", "serves"),
        ),
        probes=(refused, *probes),
        failures=(
            ProbeLine(
                NOW - 86_500,
                "service",
                "ping",
                ok=False,
                cause="timeout",
                detail="no answer within 3 s",
                stages=(("dns", 0.001), ("tcp", 0.0007), ("tls", 2.998)),
            ),
        ),
        sources=(
            SourceLine("api logs", "pod", "api-0", up=True, deaf_seconds=1.2, reconnects=3),
            SourceLine("api logs", "pod", "api-1", up=True, deaf_seconds=0.3, reconnects=2),
        ),
        collectors=(
            CollectorLine("pods", ok=True, last_success=NOW - 1),
            CollectorLine("probes", ok=True, last_success=NOW - 2),
            CollectorLine("logs", ok=True, last_success=NOW - 1),
        ),
        observed_at=NOW - 1,
    )


def locket_hung(name: str = "prod") -> FoundationView:
    def line(ago: float, target: str, cause: str, detail: str, *stages: tuple[str, float]) -> ProbeLine:
        return ProbeLine(NOW - ago, target, "ping", ok=False, cause=cause, detail=detail, stages=stages)

    hello = "8891 accepted, then no answer to the TLS hello within 3 s"
    return FoundationView(
        name=name,
        namespace="cf",
        layout="cfee-2",
        layout_by="recognised by skiff-role-name=diego-api",
        verdict="locket_hung",
        restart="yes",
        since=NOW - 262,
        evidence=(
            "Nothing serves: 8889 refused on diego-api-0 (10.42.1.9) and diego-api-1 (10.42.3.17), twice, 5 s apart.",
            "Locket of diego-api-0 accepts on 8891 and gives no answer to the TLS hello within 3.0 s.",
            "Locket of diego-api-1 accepts on 8891 and gives no answer to the TLS hello within 3.0 s.",
            "The database cf-pg.data.svc:5432 answers (PostgreSQL, 4 ms).",
            "Quiet for 262 s: no rollout, no pod is moving, no container of Locket has started since.",
        ),
        pods_to_restart=("diego-api-0", "diego-api-1"),
        pods=(
            PodLine("api-0", "api", "Running", "4/4"),
            PodLine("api-1", "api", "Running", "4/4"),
            PodLine("diego-api-0", "bbs", "Running", "2/2", "no", "passive", "Locket hangs"),
            PodLine("diego-api-1", "bbs", "Running", "2/2", "yes", "passive", "Locket hangs"),
        ),
        probes=(
            line(1, "service", "refused", "[Errno 111] Connection refused", ("dns", 0.0009), ("tcp", 0.0005)),
            line(1, "diego-api-0", "refused", "[Errno 111] Connection refused", ("tcp", 0.0004)),
            line(2, "diego-api-1", "refused", "[Errno 111] Connection refused", ("tcp", 0.0004)),
            line(3, "diego-api-0 locket", "timeout", hello, ("tcp", 0.0004), ("tls", 2.9996)),
            line(3, "diego-api-1 locket", "timeout", hello, ("tcp", 0.0004), ("tls", 2.9996)),
            ProbeLine(NOW - 30, "database", "tcp", ok=True, stages=(("dns", 0.0011), ("tcp", 0.0006), ("read", 0.004))),
        ),
        failures=(line(259, "service", "timeout", "no answer within 3 s", ("dns", 0.001), ("tcp", 2.999)),),
        sources=(
            SourceLine("api logs", "pod", "api-0", up=True, deaf_seconds=0.4, reconnects=3),
            SourceLine(
                "api logs", "pod", "api-1", up=False, deaf_seconds=184, reconnects=9,
                problem='HTTP 403: pods "api-1" is forbidden: cannot get resource "pods/log" in namespace "cf"',
            ),
        ),
        collectors=(
            CollectorLine("pods", ok=True, last_success=NOW - 1),
            CollectorLine("probes", ok=True, last_success=NOW - 2),
            CollectorLine("logs", ok=False, last_success=None, problem="1 of 2 sources is down"),
        ),
        observed_at=NOW - 2,
    )  # fmt: skip


def exporter_view(*foundations: FoundationView, problem: str = "") -> ExporterView:
    return ExporterView(foundations, "0.1.0", "3e0038f2a9c1d0", NOW - 4000, problem)


def fifty() -> ExporterView:
    def as_verdict(view: FoundationView, verdict: str, restart: str) -> FoundationView:
        fields = {name: getattr(view, name) for name in view.__dataclass_fields__}
        return FoundationView(**{**fields, "verdict": verdict, "restart": restart, "since": NOW - 40})

    odd = {7: ("electing", "wait"), 12: ("database_down", "no"), 23: ("unknown", "no"), 31: ("crashing", "ask")}
    views = [healthy(f"region-{n:02}") for n in range(1, 51)]
    for n, (verdict, restart) in odd.items():
        views[n] = as_verdict(views[n], verdict, restart)
    views[40] = locket_hung("region-41")
    return exporter_view(*views, problem="stager.yml:12:5: foundations.3.layuot: unknown key; did you mean layout?")


class FixedProvider:
    """A provider of one view, whose answers a test may change."""

    def __init__(self, view: ExporterView) -> None:
        self.current = view
        self.reload_problem = ""
        self.readiness = (True, "")
        self.probed: list[str] = []
        self.reloads = 0

    def view(self) -> ExporterView:
        return self.current

    def probe_now(self, foundation: str) -> bytes | None:
        self.probed.append(foundation)
        if all(known.name != foundation for known in self.current.foundations):
            return None
        return b"# TYPE diego_bbs_up gauge\ndiego_bbs_up 1\n"

    def reload(self) -> str:
        self.reloads += 1
        return self.reload_problem

    def ready(self) -> tuple[bool, str]:
        return self.readiness


def write(directory: Path) -> list[Path]:
    """Write one page per view into `directory`, with the style beside them."""
    directory.mkdir(parents=True, exist_ok=True)
    for package in (house, exporter.web):
        for asset in (Path(package.__path__[0]) / "static").iterdir():
            shutil.copy(asset, directory)
    written = []
    views = {"healthy": exporter_view(healthy()), "locket_hung": exporter_view(locket_hung()), "fifty": fifty()}
    for name, view in views.items():
        client = create_app(FixedProvider(view), CollectorRegistry(), clock=lambda: NOW).test_client()
        page = client.get("/").text.replace('"/static/', '"').replace('"/house/', '"')
        path = directory / f"{name}.html"
        path.write_text(page, encoding="utf-8")
        written.append(path)
    return written


if __name__ == "__main__":
    for path in write(Path(sys.argv[1])):
        print(path)
