"""Targets that no socket takes: a probe says so, whatever it was told to look at."""

from __future__ import annotations

import pytest

from foundation.probes.bbs import probe
from foundation.probes.database import probe_database
from foundation.probes.locket import probe_locket
from foundation.probes.resolving import Resolver
from foundation.probes.result import Cause, Stage, Target


@pytest.mark.parametrize(
    ("host", "port", "cause"),
    [
        ("127.0.0.1", 70000, Cause.OTHER),
        ("127.0.0.1", -1, Cause.OTHER),
        ("a\0b", 8889, Cause.DNS),
        ("a\ud800b", 8889, Cause.DNS),
        ("a" * 300, 8889, Cause.DNS),
        ("", 8889, None),
    ],
)
def test_a_target_that_can_be_none_is_a_failed_probe(host: str, port: int, cause: Cause | None) -> None:
    target = Target("x", host, port)
    resolve = Resolver()
    results = (
        probe(target, Stage.PING, 1.0, None, resolve=resolve),
        probe_locket(target, 1.0, None, resolve=resolve),
        probe_database("mysql", host, port, 1.0, resolve=resolve).result,
    )
    for result in results:
        assert result.cause is not None
        assert cause is None or result.cause is cause
        assert result.detail
        assert result.detail.isprintable()


def test_a_time_limit_beyond_every_clock_is_a_failed_probe() -> None:
    result = probe(Target("x", "localhost", 1), Stage.TCP, 1e11, None)
    assert (result.cause, result.failed) == (Cause.OTHER, Stage.DNS)
