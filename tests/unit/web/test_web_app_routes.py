"""Every route: what it answers, how it refuses, and what it never does."""

from __future__ import annotations

import gzip
import json
import re
import threading
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.web.app import DETAILS_AT_ONCE, create_app
from exporter.web.front import PROBES_AT_ONCE
from exporter.web.view import CollectorLine, ExporterView, FoundationView, PodLine, ProbeLine, SourceLine
from tests.support.preview import NOW, FixedProvider, exporter_view, fifty, healthy, locket_hung

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask.testing import FlaskClient
    from prometheus_client.core import Metric

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.fixture
def provider() -> FixedProvider:
    return FixedProvider(exporter_view(healthy()))


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def client(provider: FixedProvider, registry: CollectorRegistry) -> FlaskClient:
    return create_app(provider, registry, clock=lambda: NOW).test_client()


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.extend(data.split())

    @property
    def text(self) -> str:
        return " ".join(self.words)


# The page


def test_the_page_tells_the_verdict_what_it_means_and_whether_to_restart(
    client: FlaskClient, provider: FixedProvider
) -> None:
    provider.current = exporter_view(locket_hung())
    page = Page(client.get("/").text).text
    assert "Locket hangs" in page
    assert "no BBS holds the lock" in page
    assert "Yes, restart" in page
    assert "locket_hung since 14:08:58 UTC 4 min ago" in page
    assert "diego-api-0 diego-api-1" in page
    for sentence in locket_hung().evidence:
        assert sentence in page
    assert "≠ label" in page
    assert "tls 3.00 s" in page
    assert "Earlier failures" in page
    assert "3 min ago 9" in page


def test_the_page_runs_no_script_and_loads_only_its_own_style(client: FlaskClient) -> None:
    answer = client.get("/")
    tags = Page(answer.text).tags
    assert not [tag for tag, attributes in tags if tag == "script" or "style" in attributes or tag == "style"]
    assert not [name for _tag, attributes in tags for name in attributes if name.startswith("on")]
    assert ("meta", {"http-equiv": "refresh", "content": "10"}) in tags
    assert any(attributes.get("name") == "viewport" for _tag, attributes in tags)
    for tag, attributes in tags:
        if tag == "link":
            target = attributes["href"]
            assert target is not None
            assert target.startswith(("/static/", "/house/"))
            with client.get(target) as asset:
                assert asset.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "style-src 'self'" in policy
    assert "unsafe" not in policy


def test_the_style_knows_light_and_dark_and_narrow(client: FlaskClient) -> None:
    with client.get("/house/base.css") as base, client.get("/static/style.css") as own:
        styles = [base.get_data(as_text=True), own.get_data(as_text=True)]
    for style in styles:
        assert "prefers-color-scheme: dark" in style
        assert "max-width" in style
        # Every colour of the light palette has a dark one.
        light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
        assert set(re.findall(r"--[\w-]+", light)) == set(re.findall(r"--[\w-]+", dark))


@pytest.mark.parametrize("path", ["/", "/metrics", "/livez", "/readyz", "/nothing", "/-/reload", "/static/style.css"])
def test_every_answer_has_the_headers_that_protect(client: FlaskClient, path: str) -> None:
    with client.get(path) as answer:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "Content-Security-Policy" in answer.headers


def test_all_text_from_outside_is_escaped(client: FlaskClient, provider: FixedProvider) -> None:
    evil = "<script>x</script>'\"&{{7*7}}"
    view = FoundationView(
        name=evil,
        namespace=evil,
        layout=evil,
        layout_by=evil,
        verdict=evil,
        restart="no",
        since=NOW,
        evidence=(evil,),
        pods_to_restart=(evil,),
        pods=(PodLine(evil, evil, evil, evil, evil, evil, evil),),
        probes=(ProbeLine(NOW, evil, evil, ok=False, cause=evil, detail=evil, stages=((evil, 1.0),)),),
        failures=(ProbeLine(NOW, evil, evil, ok=False, cause=evil, detail=evil),),
        sources=(SourceLine(evil, evil, evil, up=False, deaf_seconds=None, problem=evil),),
        collectors=(CollectorLine(evil, ok=False, last_success=None, problem=evil),),
        observed_at=NOW,
    )
    for views in ((view,), (view, replace(view, name="other"))):
        provider.current = ExporterView(views, evil, evil, NOW, evil)
        page = client.get("/").text
        assert "<script" not in page
        assert "49" not in Page(page).words
        assert not [tag for tag, _attributes in Page(page).tags if tag == "script"]


def test_times_that_are_no_times_do_not_break_the_page(client: FlaskClient, provider: FixedProvider) -> None:
    bare = FoundationView("x", "cf", "auto", "", "unknown", "no", None)
    odd = ProbeLine(float("1e300"), "service", "ping", ok=True)
    for view in (bare, replace(bare, since=1e300, observed_at=NOW + 50, probes=(odd,), verdict="", restart="")):
        provider.current = exporter_view(view)
        assert client.get("/").status_code == 200
    provider.current = exporter_view(bare)
    assert "seen not yet" in Page(client.get("/").text).text


@pytest.mark.parametrize("restart", ["yes", "ask", "wait", "no"])
def test_restart_is_told_in_words_and_by_shape(client: FlaskClient, provider: FixedProvider, restart: str) -> None:
    shapes = {}
    for other in ("yes", "ask", "wait", "no"):
        provider.current = exporter_view(replace(locket_hung(), restart=other))
        found = re.search(r'class="restart restart-\w+">\s*<h3>(.*?)</h3>', client.get("/").text, re.DOTALL)
        assert found
        shapes[other] = found[1]
    words = {"yes": "Yes, restart", "ask": "A person decides", "wait": "Wait", "no": "Do not restart"}
    assert words[restart] in shapes[restart]
    assert [shapes[other].split("</svg>")[0] for other in words].count(shapes[restart].split("</svg>")[0]) == 1


def test_a_refused_configuration_is_told_on_top(client: FlaskClient, provider: FixedProvider) -> None:
    provider.current = exporter_view(healthy(), problem="stager.yml:3:1: nonsense")
    assert (
        "The newest configuration was not taken; the old one stays. stager.yml:3:1" in Page(client.get("/").text).text
    )


def test_fifty_foundations_begin_with_those_that_want_somebody(client: FlaskClient, provider: FixedProvider) -> None:
    provider.current = fifty()
    page = Page(client.get("/").text)
    linked = [str(attributes["href"]) for tag, attributes in page.tags if tag == "a"]
    rows = [target for target in linked if target.startswith("/foundations/")][:50]
    assert len(set(rows)) == 50
    assert rows[:6] == [f"/foundations/region-{n}" for n in ("32", "41", "13", "24", "08", "01")]
    sections = [attributes for tag, attributes in page.tags if attributes.get("class") == "foundation"]
    assert [section["aria-label"] for section in sections] == [
        "foundation region-32",
        "foundation region-41",
        "foundation region-13",
    ][:DETAILS_AT_ONCE]


@pytest.mark.parametrize("path", ["/foundations/region-41", "/?foundation=region-41"])
def test_one_of_many_is_shown_alone(client: FlaskClient, provider: FixedProvider, path: str) -> None:
    provider.current = fifty()
    page = Page(client.get(path).text).text
    assert "Locket hangs" in page
    assert "region-42" not in page


def test_a_name_with_unusual_signs_is_linked_so_that_it_is_found(client: FlaskClient, provider: FixedProvider) -> None:
    provider.current = exporter_view(healthy("a b&c?#%"), healthy())
    page = Page(client.get("/").text)
    targets = {str(a["href"]) for tag, a in page.tags if tag == "a" and str(a["href"]).startswith("/foundations/")}
    for target in targets:
        assert client.get(target).status_code == 200


@pytest.mark.parametrize("path", ["/foundations/nope", "/?foundation=nope", "/probe?foundation=nope"])
def test_a_foundation_that_is_not_configured_is_not_found(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.text == "no foundation 'nope' is configured; there is prod\n"


def test_no_foundation_at_all_is_a_page_too(client: FlaskClient, provider: FixedProvider) -> None:
    provider.current = exporter_view()
    assert "No foundation is configured." in Page(client.get("/").text).text


def test_the_view_is_there_as_json(client: FlaskClient) -> None:
    told = json.loads(client.get("/view.json").text)
    assert told["foundations"][0]["verdict"] == "healthy"
    assert told["foundations"][0]["pods"][3]["active_label"] == "yes"


# Metrics


def families(body: str, *, openmetrics: bool) -> set[str]:
    found = parse_openmetrics(body) if openmetrics else parse_text(body)  # type: ignore[no-untyped-call]
    return {family.name for family in found}


def test_metrics_are_text_unless_openmetrics_is_asked_for(client: FlaskClient, registry: CollectorRegistry) -> None:
    Counter("seen", "Seen.", ["pod"], registry=registry).labels('a"\\\n').inc(2)
    plain = client.get("/metrics")
    assert plain.headers["Content-Type"].startswith("text/plain; version=")
    names = {family.name for family in parse_text(plain.text)}
    assert {"seen", "stager_exporter_scrape_failures"} <= names
    opened = client.get("/metrics", headers={"Accept": f"{OPENMETRICS},text/plain;q=0.5"})
    assert opened.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert opened.text.endswith("# EOF\n")
    assert "seen" in families(opened.text, openmetrics=True)


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [("gzip", True), ("deflate, gzip;q=0.5", True), ("gzip;q=0", False), ("", False), ("br", False)],
)
def test_metrics_are_gzipped_for_who_takes_it(client: FlaskClient, accepted: str, packed: bool) -> None:
    answer = client.get("/metrics", headers={"Accept-Encoding": accepted})
    assert (answer.headers.get("Content-Encoding") == "gzip") is packed
    body = gzip.decompress(answer.data) if packed else answer.data
    assert b"stager_exporter_scrape_failures_total 0.0" in body
    assert "Accept-Encoding" in answer.headers["Vary"]


def test_names_keep_only_those_series(client: FlaskClient, registry: CollectorRegistry) -> None:
    Gauge("one", "", registry=registry).set(1)
    Gauge("two", "", registry=registry).set(2)
    Counter("three", "", registry=registry).inc()
    body = client.get("/metrics?name[]=one&name[]=three_total").text
    values = {sample.name: sample.value for family in parse_text(body) for sample in family.samples}
    assert {name: value for name, value in values.items() if not name.endswith("_created")} == {
        "one": 1.0,
        "three_total": 1.0,
    }


class Breaking:
    """A collector that gives one metric and then raises."""

    def __init__(self, value: object = None) -> None:
        self._value = value

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("before_it_broke", "", value=1)
        if self._value is None:
            raise RuntimeError("the snapshot is gone")
        yield GaugeMetricFamily("not_a_number", "", value=self._value)  # type: ignore[arg-type]


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
@pytest.mark.parametrize("value", [None, "seven", object()])
def test_a_broken_collector_leaves_the_others(
    client: FlaskClient, registry: CollectorRegistry, value: object, accept: str
) -> None:
    Gauge("first", "", registry=registry).set(1)
    registry.register(Breaking(value))
    Gauge("last", "", registry=registry).set(1)
    answer = client.get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    names = families(answer.text, openmetrics=bool(accept))
    assert {"first", "last", "before_it_broke"} <= names
    assert "not_a_number" not in names
    counted = re.search(r"stager_exporter_scrape_failures_total (\d\S*)", client.get("/metrics").text)
    assert counted
    assert float(counted[1]) >= 1


def test_metrics_do_not_need_the_view(client: FlaskClient, provider: FixedProvider) -> None:
    def broken() -> ExporterView:
        raise RuntimeError("no view")

    provider.view = broken  # type: ignore[method-assign]
    answer = client.get("/")
    assert answer.status_code == 500
    assert "no view" not in answer.text
    for path in ("/metrics", "/livez", "/readyz"):
        assert client.get(path).status_code == 200


# Probe, health, reload


def test_a_probe_gives_what_the_provider_measured(client: FlaskClient, provider: FixedProvider) -> None:
    answer = client.get("/probe?foundation=prod")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "diego_bbs_up 1" in answer.text
    assert provider.probed == ["prod"]


@pytest.mark.parametrize("path", ["/probe", "/probe?foundation=", "/probe?target=10.0.0.1"])
def test_a_probe_without_a_name_is_a_bad_request(client: FlaskClient, provider: FixedProvider, path: str) -> None:
    assert client.get(path).status_code == 400
    assert provider.probed == []


def test_only_a_few_probes_run_at_a_time(provider: FixedProvider, registry: CollectorRegistry) -> None:
    go_on, begun = threading.Event(), threading.Semaphore(0)

    def slow(_foundation: str) -> bytes:
        begun.release()
        assert go_on.wait(20)
        return b""

    provider.probe_now = slow  # type: ignore[method-assign, assignment]
    app = create_app(provider, registry)
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(app.test_client().get("/probe?foundation=prod").status_code)

    threads = [threading.Thread(target=ask) for _ in range(PROBES_AT_ONCE)]
    try:
        for thread in threads:
            thread.start()
        for _ in threads:
            assert begun.acquire(timeout=20)
        refused = app.test_client().get("/probe?foundation=prod")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    finally:
        go_on.set()
        for thread in threads:
            thread.join()
    assert statuses == [200] * PROBES_AT_ONCE
    assert app.test_client().get("/probe?foundation=nope").status_code == 200


def test_readiness_tells_why_not_and_liveness_does_not_care(client: FlaskClient, provider: FixedProvider) -> None:
    assert (client.get("/readyz").status_code, client.get("/readyz").text) == (200, "ok\n")
    provider.readiness = (False, "no foundation was looked at yet")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "not ready: no foundation was looked at yet\n")
    assert client.get("/livez").status_code == 200


def test_reload_is_a_post(client: FlaskClient, provider: FixedProvider) -> None:
    refused = client.get("/-/reload")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "POST, PUT")
    assert "curl -X POST" in refused.text
    assert provider.reloads == 0
    assert client.post("/-/reload").text == "reloaded\n"
    assert provider.reloads == 1


def test_a_failed_reload_tells_the_problem(client: FlaskClient, provider: FixedProvider) -> None:
    provider.reload_problem = "stager.yml:3:1: foundations: missing"
    answer = client.post("/-/reload")
    assert answer.status_code == 500
    assert "the old one stays: stager.yml:3:1" in answer.text


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-site", 403), ("none", 200), (None, 200)])
def test_a_page_of_another_site_cannot_reload(
    client: FlaskClient, provider: FixedProvider, site: str | None, status: int
) -> None:
    answer = client.post("/-/reload", headers={"Sec-Fetch-Site": site} if site else {})
    assert (answer.status_code, provider.reloads) == (status, int(status == 200))


def test_an_unknown_path_names_those_there_are(client: FlaskClient) -> None:
    answer = client.get("/metric")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert "/metrics" in answer.text


def test_a_wrong_method_is_refused_with_the_right_ones(client: FlaskClient) -> None:
    answer = client.post("/metrics")
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
    assert client.head("/metrics").status_code == 200
