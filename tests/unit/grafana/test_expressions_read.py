"""What the checks read an expression with."""

from __future__ import annotations

import pytest

from tests.support.dashboards import Query, closing, groupings, made_labels, selectors


def test_metrics_with_and_without_braces() -> None:
    expr = 'sum by (pod) (rate(a_total{x="1",y=~"a|b}"}[2m])) / on (pod) (b > bool 0) or time() - c{} offset 5m'
    assert selectors(expr.replace('}"', '"')) == [("a_total", {"x": "1", "y": "a|b"}), ("b", {}), ("c", {})]


def test_words_in_strings_are_no_metrics() -> None:
    expr = 'sum by (k) (label_replace(m{f="x"}, "k", "$1", "status", "(.).."))'
    assert selectors(expr) == [("m", {"f": "x"})]
    assert made_labels(expr) == {"k"}
    assert list(groupings(expr)) == [(["k"], 'label_replace(m{f="x"}, "k", "$1", "status", "(.)..")')]


def test_brackets() -> None:
    expr = 'f(a{b=")"}, (c))'
    assert closing(expr, 1) == len(expr) - 1
    with pytest.raises(AssertionError):
        closing("f(a", 1)


def test_values_for_variables() -> None:
    assert Query("u", "p", "x[$__range:30s] * $__range_s").full() == "x[1h:30s] * 3600"
