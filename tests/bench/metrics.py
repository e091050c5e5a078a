"""Reads the few things of an exposition that are needed here."""

from __future__ import annotations

import re

_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([^ ]+)$", re.MULTILINE)
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')


def samples(exposition: bytes, name: str) -> list[tuple[dict[str, str], float]]:
    """Labels and value of each series of one name."""
    text = exposition.decode()
    return [
        (dict(_LABEL.findall(labels)), float(value)) for found, labels, value in _SAMPLE.findall(text) if found == name
    ]


def total(exposition: bytes, name: str) -> float:
    """The sum over all series of one name; 0 where there is none."""
    return sum(value for _, value in samples(exposition, name))
