"""Scrapes that come at the same time: who waited takes what was begun meanwhile, and never what was begun before."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily

from exporter.web.scrape import Scrape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.metrics_core import Metric


class Turns:
    """A collector that counts its turns; in each it does what it was told to."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.number = 0
        self.then = then

    def collect(self) -> Iterator[Metric]:
        self.number += 1
        number = self.number
        self.then()
        yield GaugeMetricFamily("turn", "", value=number)


class Busy:
    """A lock that is held while somebody else does something, just when it is asked for."""

    def __init__(self, scrape: Scrape, meanwhile: Callable[[], None]) -> None:
        self._scrape: Any = scrape
        self._meanwhile = meanwhile

    def __enter__(self) -> Self:
        self._scrape._rendering = threading.Lock()
        self._meanwhile()
        return self

    def __exit__(self, *_: object) -> None:
        pass


def scraped(turns: Turns) -> Scrape:
    registry = CollectorRegistry()
    registry.register(turns)
    return Scrape(registry)


def test_who_waited_takes_what_was_begun_meanwhile() -> None:
    turns = Turns()
    scrape: Any = scraped(turns)
    theirs = []
    scrape._rendering = Busy(scrape, lambda: theirs.append(scrape.render("")))
    assert scrape.render("") == theirs[0]
    assert turns.number == 1
    assert b"turn 2.0" in scrape.render("")[0]


def test_who_waited_for_something_else_gets_what_was_asked_for() -> None:
    turns = Turns()
    scrape: Any = scraped(turns)
    for asked in ({"packed": True}, {"names": ["turn"]}, {"accept": "application/openmetrics-text;version=1.0.0"}):
        before = turns.number
        scrape._rendering = Busy(scrape, lambda: scrape.render(""))
        body, _ = scrape.render(**{"accept": "", **asked})
        assert turns.number == before + 2
        assert body != scrape.render("")[0]


def test_nobody_takes_what_was_begun_before_they_asked() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert go_on.wait(20)

    turns = Turns(wait)
    scrape = scraped(turns)
    answers: dict[str, bytes] = {}
    first = threading.Thread(target=lambda: answers.update(first=scrape.render("")[0]))
    second = threading.Thread(target=lambda: answers.update(second=scrape.render("")[0]))
    first.start()
    assert begun.wait(20)
    second.start()
    go_on.set()
    for thread in (first, second):
        thread.join(20)
    assert b"turn 1.0" in answers["first"]
    assert b"turn 2.0" in answers["second"]
