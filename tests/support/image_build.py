"""The image built without a container engine: the Dockerfile's instructions, done to folders.

Each stage is a folder that stands for its root. A RUN line's command goes to /bin/sh as it is written, with the paths
that the image would have (`/opt/…`, `/usr/local/…`) moved below that folder; COPY copies, and takes from the build
context only what `.dockerignore` lets through. The base image's stand-in is a copy of the interpreter that runs the
tests, as `python:…-slim` comes: with pip, without bytecode and without its own tests.

What this does not show: that the base image can be pulled, what else lies in it, and that an engine reads the file's
syntax as this parser does. The stages are built one after the other at the same path, since a virtual environment
cannot be moved.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from string import Template

ROOT = Path(__file__).resolve().parents[2]
_PATHS = re.compile(r"(?<![\w./$*{}-])/(?=(?:opt|usr/local|src|dist)\b)")
_ENGINE = ("/usr/local/bin", "/usr/local/sbin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_SECONDS = 600.0


class BuildError(Exception):
    """A step went wrong, or the file says what is not understood here."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One of the Dockerfile's: its word in capitals, and the rest on one line."""

    word: str
    text: str


def instructions(text: str) -> list[Instruction]:
    """Read a Dockerfile: comments and empty lines dropped, continued lines joined. No heredocs, no directives."""
    found = []
    whole = ""
    for line in text.splitlines():
        if line.lstrip().startswith("#") or not line.strip():
            continue
        whole += line.strip() + " "
        if whole.rstrip().endswith("\\"):
            whole = whole.rstrip()[:-1]
            continue
        word, _, rest = whole.strip().partition(" ")
        found.append(Instruction(word.upper(), rest.strip()))
        whole = ""
    return found


@dataclass(slots=True)
class Stage:
    """One stage as built so far; `root` is where its files are, `env` what an engine would give its processes."""

    root: Path
    env: dict[str, str]
    workdir: str = "/"
    user: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    command: str = ""
    entrypoint: str = ""

    def inside(self, text: str) -> str:
        """A command or a path with the image's own paths moved below the root."""
        return _PATHS.sub(f"{self.root}/", text)

    def environment(self) -> dict[str, str]:
        """What a process of this stage gets; the PATH goes on into this machine's, for the shell's own tools."""
        path = ":".join(self.inside(part) for part in self.env["PATH"].split(":"))
        return {name: self.inside(value) for name, value in self.env.items()} | {"PATH": path}


class Image:
    """Builds all stages of a Dockerfile below `folder`; `last` is then the image."""

    def __init__(self, dockerfile: str, context: Path, folder: Path, arguments: dict[str, str]) -> None:
        """`arguments` are the build's (--build-arg). Raises BuildError."""
        self._context = context
        self._ignored = (context / ".dockerignore").read_text().splitlines()
        self._folder = folder
        self._given = arguments
        self._arguments: dict[str, str] = {}
        self._stages: dict[str, Stage] = {}
        self._name = ""
        self.last: Stage | None = None
        for instruction in instructions(dockerfile):
            getattr(self, f"_{instruction.word.lower()}", self._unknown)(instruction.text)

    def _unknown(self, text: str) -> None:
        raise BuildError(f"an instruction that is not understood here: … {text}")

    @property
    def _stage(self) -> Stage:
        if self.last is None:
            raise BuildError("an instruction stands before FROM")
        return self.last

    def _expand(self, text: str) -> str:
        known = self._arguments | (self.last.env if self.last is not None else {})
        return Template(text).substitute(known)

    def _arg(self, text: str) -> None:
        name, _, default = text.partition("=")
        self._arguments[name] = self._given.get(name, default.strip('"'))

    def _from(self, text: str) -> None:
        _, _, name = self._expand(text).partition(" AS ")
        if self.last is not None:
            kept = self._folder / (self._name or "unnamed")
            self.last.root.rename(kept)
            self.last.root = kept
            self._stages[self._name] = self.last
        self._name = name
        base = self._folder / "base"
        if not base.exists():
            make_base(base)
        root = self._folder / "image"
        shutil.copytree(base, root, symlinks=True, copy_function=os.link)
        self.last = Stage(root, {"PATH": ":".join(_ENGINE)})

    def _env(self, text: str) -> None:
        for name, value in _pairs(text):
            self._stage.env[name] = self._expand(value)

    def _label(self, text: str) -> None:
        for name, value in _pairs(text):
            self._stage.labels[name] = self._expand(value)

    def _workdir(self, text: str) -> None:
        self._stage.workdir = text
        self._place(text).mkdir(parents=True, exist_ok=True)

    def _user(self, text: str) -> None:
        self._stage.user = text

    def _expose(self, text: str) -> None:
        """Nothing to be done to files."""

    def _entrypoint(self, text: str) -> None:
        self._stage.entrypoint = text

    def _cmd(self, text: str) -> None:
        self._stage.command = text

    def _copy(self, text: str) -> None:
        *sources, target = text.split()
        origin = None
        if sources[0].startswith("--from="):
            origin = self._stages[sources.pop(0).removeprefix("--from=")]
        for source in sources:
            found = origin.root / source.lstrip("/") if origin is not None else self._context / source
            to = self._place(target)
            if target.endswith("/") or len(sources) > 1:
                to /= PurePosixPath(source).name
            if not found.exists() or (origin is None and self._left_out(PurePosixPath(source))):
                raise BuildError(f"COPY {text}: {source} is not there, or .dockerignore leaves it out")
            to.parent.mkdir(parents=True, exist_ok=True)
            if found.is_dir():
                shutil.copytree(found, to, symlinks=True, ignore=None if origin else self._skip, dirs_exist_ok=True)
            else:
                shutil.copy2(found, to)

    def _run(self, text: str) -> None:
        stage = self._stage
        text = re.sub(r"^(--mount=\S+\s+)+", "", text)  # a cache of pip's: the one of whoever runs the tests stands in
        keep = {
            name: os.environ[name]
            for name in os.environ
            if name == "HOME" or name.startswith("PIP_") or name.lower().endswith("_proxy")
        }
        done = subprocess.run(
            ["/bin/sh", "-c", stage.inside(text)],
            cwd=self._place(stage.workdir),
            env=keep | stage.environment(),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode:
            raise BuildError(f"RUN {text}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")

    def _place(self, path: str) -> Path:
        stage = self._stage
        whole = PurePosixPath(stage.workdir) / path
        return stage.root / str(whole).lstrip("/")

    def _skip(self, folder: str, names: list[str]) -> list[str]:
        below = PurePosixPath(os.path.relpath(folder, self._context))
        return [name for name in names if self._left_out(below / name)]

    def _left_out(self, path: PurePosixPath) -> bool:
        """As an engine reads .dockerignore: the last line that matches the path or a folder above it decides."""
        out = False
        for line in self._ignored:
            pattern = line.strip()
            if not pattern or pattern.startswith("#"):
                continue
            out_again = not pattern.startswith("!")
            if any(_matches(str(part), pattern.lstrip("!")) for part in [path, *path.parents][:-1]):
                out = out_again
        return out


def _matches(path: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch(PurePosixPath(path).name, pattern.removeprefix("**/"))
    return "/" not in path and fnmatch(path, pattern)


def _pairs(text: str) -> list[tuple[str, str]]:
    """`A=1 B="two words"` as pairs."""
    return [(name, quoted or bare) for name, quoted, bare in re.findall(r'([\w.]+)=(?:"([^"]*)"|(\S*))', text)]


def make_base(folder: Path) -> None:
    """A stand-in for `python:…-slim`: this interpreter and its library below usr/local, with pip.

    Raises BuildError where this Python cannot be copied.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    executable = Path(sys.base_prefix) / "bin" / version
    library = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))
    local = folder / "usr/local"
    (local / "bin").mkdir(parents=True)
    shutil.copy2(executable.resolve(), local / "bin" / version)
    for name in ("python3", "python"):
        (local / "bin" / name).symlink_to(version)
    for name in ("pip", "pip3", "idle3", "pydoc3", f"{version}-config"):
        (local / "bin" / name).write_text("#!/bin/sh\n")
    leave = shutil.ignore_patterns("test", "site-packages", "dist-packages", "__pycache__", "*.a")
    shutil.copytree(library, local / "lib" / version, symlinks=True, ignore=leave)
    for shared in (library.parent).glob("libpython3*.so*"):
        shutil.copy2(shared, local / "lib" / shared.name)
    (local / "lib" / version / "site-packages").mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    python = str(local / "bin/python")
    made = subprocess.run([python, "-m", "ensurepip"], env=clean, capture_output=True, text=True, check=False)
    if made.returncode:
        raise BuildError(f"{executable} cannot stand for the base image: {made.stderr}")
    for cache in list(local.rglob("__pycache__")):
        shutil.rmtree(cache)
