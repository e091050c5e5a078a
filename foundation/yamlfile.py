"""YAML files of operators: read strictly, and every complaint with its place.

PyYAML alone takes the last of two equal keys in silence and forgets where a value stood; both cost an operator hours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a configuration file."""

    file: str
    line: int
    column: int
    path: str
    what: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        said = f"{self.path}: {self.what}" if self.path else self.what
        # A key may hold anything, a line break too.
        return f"{where}: {''.join(letter if letter.isprintable() else ' ' for letter in said)[:500]}"


class ConfigurationError(Exception):
    """A configuration that cannot be used. `problems` has at least one; str() is one line per problem."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


_Model = TypeVar("_Model", bound=BaseModel)

MAX_BYTES = 1 << 20
MAX_VALUES = 100_000
"""Values in a file once its aliases are written out; a few lines of aliases of aliases stand for billions."""
MAX_PROBLEMS = 50


def load(path: Path, model: type[_Model]) -> _Model:
    """Read `path` as `model`. Raises ConfigurationError with every problem that could be found in one pass.

    Relative paths in it are relative to its own folder, as Prometheus has it: the model finds that folder in the
    validation's context under `folder` (see foundation.config.LocalPath).
    """
    name = str(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode()
    except OSError as problem:
        raise ConfigurationError([Problem(name, 1, 1, "", f"cannot be read: {problem.strerror}")]) from None
    except UnicodeDecodeError as problem:
        raise ConfigurationError([Problem(name, 1, 1, "", f"is not UTF-8: {problem.reason}")]) from None
    if len(content) > MAX_BYTES:
        raise ConfigurationError([Problem(name, 1, 1, "", f"is longer than {MAX_BYTES} bytes")])
    return parse(text, name, model, path.parent)


def parse(text: str, name: str, model: type[_Model], folder: Path | None = None) -> _Model:
    """The same for a text; `name` stands for the file in the problems."""
    root: yaml.Node | None = None
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            if root is not None:
                _inspect(root, {}, set())
            value = None if root is None else loader.construct_document(root)
        finally:
            loader.dispose()
    except yaml.YAMLError as problem:
        raise ConfigurationError([_syntax(name, problem)]) from None
    except RecursionError:
        raise ConfigurationError([Problem(name, 1, 1, "", "is nested too deeply")]) from None
    try:
        return model.model_validate({} if value is None else value, context={"folder": folder})
    except ValidationError as problem:
        errors = problem.errors(include_input=False, include_url=False)
        problems = [_located(name, root, error["loc"], error["msg"], error["type"]) for error in errors]
        problems.sort(key=lambda item: (item.line, item.column, item.path))
        if len(problems) > MAX_PROBLEMS:
            first = problems[MAX_PROBLEMS]
            more = f"and {len(problems) - MAX_PROBLEMS} more problems from here on"
            problems[MAX_PROBLEMS:] = [Problem(name, first.line, first.column, "", more)]
        raise ConfigurationError(problems) from None


class _Loader(yaml.SafeLoader):
    """The values of YAML 1.2's core schema: `no` and `1:30` are texts, and `010` is not 8."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            # What PyYAML raises for `!!int x`, or for a number of five thousand digits.
            kind = node.tag.removeprefix("tag:yaml.org,2002:")
            raise yaml.constructor.ConstructorError(None, None, f"is no readable {kind}", node.start_mark) from None


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?([0-9]+\.[0-9]*([eE][-+]?[0-9]+)?|\.[0-9]+|[0-9]+[eE][-+]?[0-9]+)", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), [*_first, *([""] if _tag == "null" else [])]
    )


def _inspect(node: yaml.Node, sizes: dict[int, int], above: set[int]) -> int:
    """How many values a node stands for with its aliases written out.

    Raises ComposerError for a key that stands twice, an alias that contains itself, and for more than MAX_VALUES. Made
    before anything is constructed: merge keys are resolved there, after which their keys would stand twice in earnest.
    """
    if id(node) in above:
        raise yaml.composer.ComposerError(None, None, "an alias stands inside of what it names", node.start_mark)
    if id(node) not in sizes:
        above.add(id(node))
        size = 1
        for child in _parts(node):
            size += _inspect(child, sizes, above)
            if size > MAX_VALUES:
                problem = f"holds more than {MAX_VALUES} values, aliases written out"
                raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
        above.remove(id(node))
        sizes[id(node)] = size
    return sizes[id(node)]


def _parts(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if key.value in seen:
                problem = f"the key {key.value!r} stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        yield key
        yield value


def _syntax(name: str, problem: yaml.YAMLError) -> Problem:
    if isinstance(problem, yaml.MarkedYAMLError) and problem.problem_mark is not None:
        mark = problem.problem_mark
        return Problem(name, mark.line + 1, mark.column + 1, "", problem.problem or "not YAML")
    return Problem(name, 1, 1, "", str(problem).splitlines()[0])


def _located(name: str, root: yaml.Node | None, loc: Sequence[int | str], message: str, kind: str) -> Problem:
    """Walk the node tree along pydantic's location, as far as it goes; the rest are names of union members."""
    node, key_node = root, root
    path: list[str] = []
    for step in loc:
        found = _child(node, step)
        if found is None:
            if kind in ("missing", "extra_forbidden") or isinstance(step, int):
                path.append(str(step))
            continue
        key_node, node = found
        path.append(str(step))
    mark = key_node.start_mark if kind == "extra_forbidden" and key_node else node.start_mark if node else None
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return Problem(name, line, column, ".".join(path), _words(message, kind))


def _child(node: yaml.Node | None, step: int | str) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in reversed(node.value):  # what was merged in stands before what overrides it
            if isinstance(key, yaml.ScalarNode) and key.value == str(step):
                return key, value
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None


_EXPECTED = {
    "extra_forbidden": "there is no such setting",
    "missing": "is required",
    "bool_type": "expected true or false",
    "int_type": "expected a whole number",
    "string_type": "expected a text (in quotes where it looks like something else)",
    "path_type": "expected a path",
    "tuple_type": "expected a list",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping of settings",
    "invalid_key": "expected a text as the key",
}


def _words(message: str, kind: str) -> str:
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    text = message.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]
