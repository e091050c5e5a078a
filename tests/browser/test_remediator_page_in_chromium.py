"""The page in a real browser: readable at every width, usable without a script, and its forms are taken."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

import pytest
from werkzeug.serving import make_server

from remediator.ledger import Breaker, Closed
from remediator.story import final_status, spec_of
from remediator.words import Phase
from tests.support.chromium import Chromium
from tests.support.remediator_web import PASSWORD, SERVER, House, evidence_configmap, failed_run, house

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from foundation.kube.client import Json


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def one(tmp_path: Path) -> House:
    return house(tmp_path)


@pytest.fixture
def address(one: House) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, one.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://alice:{quote(PASSWORD)}@127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_person_approves(browser: Chromium, one: House, address: str) -> None:
    name = one.awaiting()
    browser.look(1200, 900)
    browser.go(f"{address}/")
    assert "A person decides" in browser.text()
    browser.go(f"{address}/remediations/{name}")
    browser.evaluate("document.querySelector('button.go').click()")
    browser.until("document.body.innerText.includes('approved by')")
    assert cast("Json", cast("Json", one.object(name)["spec"])["approval"])["by"] == "alice"


def test_a_person_pauses_resumes_and_acknowledges(browser: Chromium, one: House, address: str) -> None:
    one.ledger(lambda ledger: ledger.changed(breaker=Breaker(since=SERVER, why="it failed", remediation="prod.x.1")))
    browser.go(f"{address}/")
    browser.evaluate("document.querySelector('form[action^=\"/acknowledge\"] input[name=reason]').value = 'seen'")
    browser.evaluate("document.querySelector('form[action^=\"/acknowledge\"] button').click()")
    browser.until("document.body.innerText.includes('A notification would be taken')")
    browser.evaluate("document.querySelector('form[action=\"/pause\"] input[name=reason]').value = 'an <b>upgrade</b>'")
    browser.evaluate("document.querySelector('form[action=\"/pause\"] button').click()")
    browser.until("document.body.innerText.includes('alice: an <b>upgrade</b>')")
    browser.evaluate("document.querySelector('form[action=\"/resume\"] button').click()")
    browser.until("document.body.innerText.includes('A notification would be taken')")


def test_a_form_of_another_site_is_refused(browser: Chromium, one: House, address: str) -> None:
    """The other site is this server under another name: the browser sends what it would send for any."""
    browser.go(f"{address}/")
    token = browser.evaluate("document.querySelector('input[name=token]').value")
    port = address.rpartition(":")[2]
    fields = f"<input name=token value={token}><input name=reason value=x>"
    form = f"<form method=post action='http://127.0.0.1:{port}/pause'>{fields}</form>"
    browser.go("data:text/html," + quote(form))
    browser.evaluate("document.forms[0].submit()")
    browser.until("document.body.innerText.includes('another site') || document.body.innerText.includes('Who are you')")
    assert one.sites["prod"].ledger.read().ledger.pause is None


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 800, 1400])
def test_it_is_readable_at_every_width(browser: Chromium, one: House, address: str, *, width: int, dark: bool) -> None:
    run = failed_run()
    closed = Closed(request=run, phase=Phase.FAILED, message="it is stuck: " + "x" * 200, finished=SERVER)
    one.remediation(run.name, spec_of(run), final_status(closed))
    one.ledger(lambda ledger: ledger.changed(breaker=Breaker(since=SERVER, why="y" * 300, remediation=run.name)))
    lines = {"pod": "diego-api-0", "container": "c", "lines": ["z" * 400]}
    evidence_configmap(one, run.evidence, {"about": "x", "logs": [lines]}, f"uid-{run.name}")
    browser.look(width, 900, dark=dark)
    for path in ("/", f"/remediations/{run.name}"):
        browser.go(f"{address}{path}")
        assert browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing sticks out"
        back = str(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert (back == "rgb(18, 22, 28)") == dark, "the style sheet is there, and follows the scheme"
        assert len(browser.screenshot()) > 10_000
    browser.evaluate("document.querySelector('details.saved summary').click()")
    assert browser.evaluate("document.querySelector('pre').offsetHeight > 20")
    assert browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nor do log lines"
