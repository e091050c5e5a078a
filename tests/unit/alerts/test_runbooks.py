"""The runbooks: one for each alert, where the alert says, with commands that exist and links that lead somewhere."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import click
import pytest

from exporter.cli import main as exporter
from remediator.cli import main as remediator
from tests.support.alert_rules import ALERTS, ROOT, Alert, alerts

if TYPE_CHECKING:
    from pathlib import Path

BASE = "https://github.com/stager-medic/stager-medic/blob/main/"
"""Where the repository is read: rules.yml says how to change it, and this is the same in all of its addresses."""
FOLDER = ALERTS / "runbooks"
NAMES = sorted({alert.name for alert in alerts()})
PAGES = sorted(FOLDER.glob("*.md"))
TEXTS = [*PAGES, ROOT / "docs" / "alerting.md"]
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
COMMANDS = {"stager-exporter": exporter, "stager-remediator": remediator}


def test_there_is_a_page_for_each_alert_and_no_other() -> None:
    assert [path.stem for path in PAGES if path.stem != "README"] == NAMES


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: "-".join(alert.key))
def test_each_address_leads_to_its_page(alert: Alert) -> None:
    url = alert.annotations["runbook_url"]
    assert url.startswith(BASE)
    assert ROOT / url.removeprefix(BASE) == FOLDER / f"{alert.name}.md"
    assert (ROOT / url.removeprefix(BASE)).is_file()


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_what_is_looked_for_at_night(name: str) -> None:
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    parts = re.split(r"^## .+$", text, flags=re.MULTILINE)[1:]
    assert all(len(part.split()) >= 12 for part in parts)
    assert len(text.split()) <= 450, "short enough to be read"
    diagnosis, mitigation = parts[2:]
    assert "```" in diagnosis
    assert "**The remediator**" in mitigation
    assert "**By hand**" in mitigation


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_our_commands_exist_as_they_are_written(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    written = re.findall(r"^\s*\$ (stager-.*)$", text, re.MULTILINE)
    # A whole command within a line, such as `stager-remediator resume`; it may break over two lines.
    written += [" ".join(found.split()) for found in re.findall(r"`(stager-(?:exporter|remediator) [^`]+)`", text)]
    for line in written:
        program, name, *rest = shlex.split(line, comments=True)
        command = COMMANDS[program].get_command(click.Context(COMMANDS[program]), name)
        assert command is not None, line
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= options, line
