"""Programs that a test cannot do without: where one is missing the test fails and says what to install."""

from __future__ import annotations

import shutil
from typing import Final

import pytest

PACKAGES: Final = {"promtool": "prometheus", "amtool": "prometheus-alertmanager"}
"""Debian's packages of them."""


def program(name: str) -> str:
    """Its path; fails where there is none."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not on the PATH; on Debian and Ubuntu: apt-get install {PACKAGES.get(name, name)}")
    return found
