"""YAML files of operators: read strictly, and every complaint with its place.

PyYAML alone takes the last of two equal keys in silence and forgets where a value stood; both cost an operator hours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
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
        return f"{where}: {self.path}: {self.what}" if self.path else f"{where}: {self.what}"


class ConfigurationError(Exception):
    """A configuration that cannot be used. `problems` has at least one; str() is one line per problem."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


_Model = TypeVar("_Model", bound=BaseModel)


def load(path: Path, model: type[_Model]) -> _Model:
    """Read `path` as `model`. Raises ConfigurationError with every problem that could be found in one pass."""
    name = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as problem:
        raise ConfigurationError([Problem(name, 1, 1, "", f"cannot be read: {problem.strerror}")]) from None
    except UnicodeDecodeError as problem:
        raise ConfigurationError([Problem(name, 1, 1, "", f"is not UTF-8: {problem.reason}")]) from None
    return parse(text, name, model)


def parse(text: str, name: str, model: type[_Model]) -> _Model:
    """The same for a text; `name` stands for the file in the problems."""
    try:
        root = yaml.compose(text, Loader=_Loader)
        value = _Loader.construct(text)
    except yaml.YAMLError as problem:
        raise ConfigurationError([_syntax(name, problem)]) from None
    except RecursionError:
        raise ConfigurationError([Problem(name, 1, 1, "", "is nested too deeply")]) from None
    try:
        return model.model_validate({} if value is None else value)
    except ValidationError as problem:
        problems = [_located(name, root, error["loc"], error["msg"], error["type"]) for error in problem.errors()]
        raise ConfigurationError(sorted(problems, key=lambda item: (item.line, item.column, item.path))) from None


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping."""

    @classmethod
    def construct(cls, text: str) -> object:
        loader = cls(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} stands twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


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
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == str(step):
                return key, value
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None


def _words(message: str, kind: str) -> str:
    if kind == "extra_forbidden":
        return "there is no such setting"
    if kind == "missing":
        return "is required"
    text = message.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]
