"""Where Prometheus and Alertmanager are looked for, and what is said where they cannot be had."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from simulator.debian import Ran, run
from simulator.monitoring.programs import PAGE, ProgramsError, find_programs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def program(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


class Debian:
    """apt-get and dpkg-deb, played: `refused` commands fail with these words."""

    def __init__(self, tools: Path, **refused: str) -> None:
        self.tools, self.refused = tools, refused
        self.commands: list[str] = []

    def __call__(self, command: Sequence[str], folder: Path) -> Ran:
        assert folder.is_dir()
        words = [word for word in command if not word.startswith("-o")]
        self.commands.append(" ".join(words[:3]))
        own = "_own" if any(word.startswith("-oDir::State::lists") for word in command) else ""
        what = f"page{own}" if PAGE[0] in words else f"{words[1].strip('-')}{own}"
        if what in self.refused:
            return Ran(100, self.refused[what])
        if words[1] == "download":
            for package in words[2:]:
                (folder / f"{package}_1_amd64.deb").touch()
        if words[0] == "dpkg-deb" and "/prometheus" in words[2]:
            name = words[2].rpartition("/")[2].partition("_")[0]
            program(self.tools / "debian/usr/bin", name)
        return Ran(0, "")


def test_the_path_comes_first(tmp_path: Path) -> None:
    mine = tmp_path / "bin"
    for name in ("prometheus", "alertmanager", "amtool"):
        program(mine, name)
    debian = Debian(tmp_path / "tools")
    found = find_programs(tmp_path / "tools", path=str(mine), execute=debian)
    assert (found.prometheus, found.alertmanager) == (mine / "prometheus", mine / "alertmanager")
    assert (found.amtool, found.promtool) == (mine / "amtool", None)
    assert (found.origin, found.assets) == ("PATH", None)
    assert debian.commands == []


def test_debians_name_of_alertmanager_is_known(tmp_path: Path) -> None:
    program(tmp_path, "prometheus")
    debians = program(tmp_path, "prometheus-alertmanager")
    assert find_programs(tmp_path / "tools", path=str(tmp_path)).alertmanager == debians


def test_what_is_missing_is_downloaded_once(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    debian = Debian(tools)
    found = find_programs(tools, path=str(tmp_path), execute=debian)
    assert found.prometheus == tools / "debian/usr/bin/prometheus"
    assert found.alertmanager == tools / "debian/usr/bin/prometheus-alertmanager"
    assert found.assets == tools / "debian/usr/share/prometheus/web"
    assert str(tools) in found.origin
    assert debian.commands[0] == "apt-get download prometheus"
    count = len(debian.commands)
    assert find_programs(tools, path=str(tmp_path), execute=debian) == found
    assert len(debian.commands) == count, "the second time nothing is downloaded"


def test_only_what_is_missing_is_downloaded(tmp_path: Path) -> None:
    program(tmp_path, "prometheus")
    debian = Debian(tmp_path / "tools")
    found = find_programs(tmp_path / "tools", path=str(tmp_path), execute=debian)
    assert found.prometheus == tmp_path / "prometheus"
    assert found.assets is None
    assert [command.split()[2] for command in debian.commands if "download" in command] == ["prometheus-alertmanager"]


def test_without_package_lists_they_are_fetched_into_the_folder(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    debian = Debian(tools, download="E: Unable to locate package prometheus", page="E: no")
    find_programs(tools, path=str(tmp_path), execute=debian)
    assert debian.commands[1] == "apt-get update"
    assert (tools / "apt/lists/partial").is_dir()


def test_a_page_that_cannot_be_had_is_no_failure(tmp_path: Path) -> None:
    debian = Debian(tmp_path / "tools", page="E: Unable to locate package libjs-popper.js")
    find_programs(tmp_path / "tools", path=str(tmp_path), execute=debian)
    assert sum(command.startswith("dpkg-deb") for command in debian.commands) == 2


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        ({"download": "Reading…\nE: no such package", "update_own": "Err:1 x\nE: no network\nlast"}, "E: no network"),
        ({"download": "E: one", "download_own": "E: two"}, "E: two"),
        ({"x": "dpkg-deb: error: damaged"}, "dpkg-deb: error: damaged"),
        ({"download": "", "update_own": ""}, "exit 100"),
    ],
)
def test_the_reason_is_said_in_one_line(tmp_path: Path, refused: dict[str, str], words: str) -> None:
    with pytest.raises(ProgramsError) as raised:
        find_programs(tmp_path / "tools", path=str(tmp_path), execute=Debian(tmp_path / "tools", **refused))
    said = str(raised.value)
    assert words in said
    assert "apt-get install prometheus prometheus-alertmanager" in said
    assert "\n" not in said


def test_a_machine_without_apt_is_told_so(tmp_path: Path) -> None:
    def execute(command: Sequence[str], folder: Path) -> Ran:
        return run([str(tmp_path / "no-such-apt-get"), *command[1:]], folder)

    with pytest.raises(ProgramsError, match="No such file or directory"):
        find_programs(tmp_path / "tools", path=str(tmp_path), execute=execute)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "tools").touch()
    with pytest.raises(ProgramsError, match=r"cannot be had: .*tools"):
        find_programs(tmp_path / "tools", path=str(tmp_path), execute=Debian(tmp_path))
