"""Makes the mutants of one module: the same program with one small fault each.

The operators are those that have found missing tests here: conditions forced, operands dropped, comparisons shifted,
the next word of a closed set, arguments, elements and statements left out, rules swapped, patterns loosened. Prose
(f-strings, docstrings) and annotations are left alone.
"""

from __future__ import annotations

import ast
import copy
import re
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Change = tuple[str, Callable[[], ast.AST | list[ast.AST]]]

_Node = TypeVar("_Node", bound=ast.AST)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault."""

    key: str
    """Says what it is, and is the same in every run while the function is unchanged."""
    line: int
    make: Callable[[], ast.Module]


_COMPARE: Mapping[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: Mapping[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.LShift: ast.RShift,
}
_CALLS = (
    ("min", "max"),
    ("any", "all"),
    ("startswith", "endswith"),
    ("partition", "rpartition"),
    ("find", "rfind"),
    ("lstrip", "rstrip"),
    ("match", "search"),
)
_SWAPPED = {one: other for pair in _CALLS for one, other in (pair, pair[::-1])} | {"strip": "rstrip"}
_SKIPPED_FIELDS = {"annotation", "returns", "decorator_list"}


def mutants(source: str, names: Mapping[str, object], *, prose: bool) -> list[Mutant]:
    """Every mutant of a module; `names` is its namespace, in which its enumerations are found.

    `prose`: texts with blanks in them are sentences for people, and left alone.
    """
    tree = ast.parse(source)
    found: list[Mutant] = []
    keys: Counter[str] = Counter()
    for path, scope in _places(tree):
        node = _at(tree, path)
        if prose and isinstance(node, ast.Constant) and " " in str(node.value):
            continue
        for what, change in _changes(node, names):
            key = f"{scope}: {what}"
            keys[key] += 1
            if keys[key] > 1:
                key += f" (no. {keys[key]})"
            found.append(Mutant(key, getattr(node, "lineno", 0), _made(source, path, change)))
    return found


def _made(source: str, path: Path, change: Callable[[], ast.AST | list[ast.AST]]) -> Callable[[], ast.Module]:
    def make() -> ast.Module:
        tree = ast.parse(source)
        _put(tree, path, change())
        return ast.fix_missing_locations(tree)

    return make


# --- where ---

Path = tuple[tuple[str, int | None], ...]


def _places(tree: ast.Module) -> Iterator[tuple[Path, str]]:
    def walk(node: ast.AST, path: Path, scope: str) -> Iterator[tuple[Path, str]]:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            scope = f"{scope}.{node.name}".removeprefix("module.")
        for name, value in ast.iter_fields(node):
            if name in _SKIPPED_FIELDS:
                continue
            for index, child in enumerate(value) if isinstance(value, list) else ((None, value),):
                if isinstance(child, ast.AST) and not _left_alone(child):
                    here: Path = (*path, (name, index))
                    yield here, scope
                    yield from walk(child, here, scope)

    return walk(tree, (), "module")


def _left_alone(node: ast.AST) -> bool:
    match node:
        case ast.JoinedStr() | ast.Import() | ast.ImportFrom() | ast.expr_context():
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Raise(exc=ast.Call(func=ast.Name(id="AssertionError"))):
            return True
        case ast.Assign(targets=[ast.Name(id="__slots__")]):
            return True
        case ast.AnnAssign(annotation=ast.Name(id="TypeAlias")):
            return True
    return False


def _at(tree: ast.AST, path: Path) -> ast.AST:
    node = tree
    for name, index in path:
        value = getattr(node, name)
        node = value if index is None else value[index]
    return node


def _put(tree: ast.AST, path: Path, new: ast.AST | list[ast.AST]) -> None:
    parent, (name, index) = _at(tree, path[:-1]), path[-1]
    if index is None:
        setattr(parent, name, new)
    else:
        getattr(parent, name)[index : index + 1] = new if isinstance(new, list) else [new]


# --- what ---


def _changes(node: ast.AST, names: Mapping[str, object]) -> Iterator[Change]:
    for kind, maker in _MAKERS:
        if isinstance(node, kind):
            yield from maker(node)
    if isinstance(node, ast.Attribute):
        yield from _enum(node, names)


def _change(old: ast.AST, new: ast.AST) -> Change:
    return f"{_show(old)} → {_show(new)}", lambda: copy.deepcopy(new)


def _show(node: ast.AST) -> str:
    text = ast.unparse(node).replace("\n", " ")
    return text if len(text) <= 110 else f"{text[:70]}…{text[-35:]}"


def _edited(node: _Node, **fields: object) -> _Node:
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _compare(node: ast.Compare) -> Iterator[Change]:
    for index, op in enumerate(node.ops):
        ops = [*node.ops[:index], _COMPARE[type(op)](), *node.ops[index + 1 :]]
        yield _change(node, _edited(node, ops=ops))


def _bool_op(node: ast.BoolOp) -> Iterator[Change]:
    yield _change(node, _edited(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And()))
    for index in range(len(node.values)):
        rest = [*node.values[:index], *node.values[index + 1 :]]
        yield _change(node, _edited(node, values=rest) if len(rest) > 1 else rest[0])


def _unary(node: ast.UnaryOp) -> Iterator[Change]:
    if isinstance(node.op, ast.Not):
        yield _change(node, node.operand)


def _condition(node: ast.If | ast.IfExp) -> Iterator[Change]:
    for forced in (True, False):
        what = f"if {_show(node.test)}: always {forced}"
        yield what, _maker(node, test=ast.Constant(forced) if not _binds(node.test) else _forced(node.test, forced))


def _binds(test: ast.AST) -> bool:
    return any(isinstance(part, ast.NamedExpr) for part in ast.walk(test))


def _forced(test: ast.expr, forced: bool) -> ast.expr:
    """The value `forced`, after the test has set its names."""
    values = [ast.Tuple([test], ast.Load()), ast.Constant(forced)]
    return ast.BoolOp(ast.And(), list[ast.expr](values))


def _maker(node: ast.AST, **fields: object) -> Callable[[], ast.AST]:
    return lambda: copy.deepcopy(_edited(node, **fields))


def _loop(node: ast.comprehension) -> Iterator[Change]:
    for index, test in enumerate(node.ifs):
        yield (
            f"for … if {_show(test)}: all",
            _maker(node, ifs=[*node.ifs[:index], *node.ifs[index + 1 :]]),
        )


def _constant(node: ast.Constant) -> Iterator[Change]:
    value = node.value
    if isinstance(value, bool):
        yield _change(node, ast.Constant(not value))
    elif isinstance(value, int | float):
        yield _change(node, ast.Constant(value + 1))
        if value > 1:
            yield _change(node, ast.Constant(value - 1))
    elif isinstance(value, str):
        yield _change(node, ast.Constant(f"XX{value}"))
        for what, text in _patterns(value):
            yield what, _maker(node, value=text)
    elif isinstance(value, bytes):
        yield _change(node, ast.Constant(b"XX" + value))
        for what, text in _patterns(value.decode("latin-1")):
            yield what, _maker(node, value=text.encode("latin-1"))


_QUANTIFIER = re.compile(r"(?<=[\])}\w\\.\"/]){(\d+),(\d+)}")


def _patterns(text: str) -> Iterator[tuple[str, str]]:
    """A pattern with an anchor less, an option forced or struck out, a bound one lower, an alternative less."""
    if not re.search(r"\\[dSZsw]|\(\?|\[[^\]]*[\^-].*\]|\||\]\*", text):
        return
    spots: list[tuple[int, int, str]] = []
    spots += [(found.start(), found.end(), "") for found in re.finditer(r"\\Z|\^(?=\()|\$(?=\Z)", text)]
    spots += [(found.start(), found.end(), "") for found in re.finditer(r"(?<=[\w\])* ])(?<!\()\?(?![:=!<])", text)]
    spots += [(found.start(), found.end(), "*") for found in re.finditer(r"(?<=[\])\w])\+(?![+-])", text)]
    for found in _QUANTIFIER.finditer(text):
        low, high = int(found[1]), int(found[2])
        spots.append((found.start(), found.end(), f"{{{low},{high - 1}}}" if high - 1 > low else f"{{{low}}}"))
    spots += [(found.start(), found.end(), "") for found in re.finditer(r"\|[^|()\[\]]*", text)]
    for begin, end, new in spots:
        changed = text[:begin] + new + text[end:]
        try:
            re.compile(changed)
        except re.error:
            continue
        around = f"{text[max(0, begin - 14) : begin]}⟦{text[begin:end]}⟧{text[end : end + 8]}"
        yield f"pattern …{around}… → ⟦{new}⟧", changed


def _call(node: ast.Call) -> Iterator[Change]:
    func = node.func
    if isinstance(func, ast.Name) and func.id in _SWAPPED:
        yield _change(node, _edited(node, func=ast.Name(_SWAPPED[func.id], ast.Load())))
    if isinstance(func, ast.Attribute) and func.attr in _SWAPPED:
        yield _change(node, _edited(node, func=_edited(func, attr=_SWAPPED[func.attr])))
    if isinstance(func, ast.Name) and func.id == "sorted":
        yield _change(node, _edited(node, func=ast.Name("list", ast.Load()), keywords=[]))
    for index, keyword in enumerate(node.keywords):
        what = f"{_show(func)}(… {_show(keyword)}): argument left out"
        yield what, _maker(node, keywords=[*node.keywords[:index], *node.keywords[index + 1 :]])
    # Flags of a pattern.
    if isinstance(func, ast.Attribute) and func.attr == "compile" and len(node.args) > 1:
        yield _change(node, _edited(node, args=node.args[:1]))


def _elements(node: ast.Tuple | ast.List | ast.Set) -> Iterator[Change]:
    if isinstance(getattr(node, "ctx", None), ast.Store):
        return
    for index, element in enumerate(node.elts):
        rest = [*node.elts[:index], *node.elts[index + 1 :]]
        if rest or not isinstance(node, ast.Set):
            yield f"{_show(element)}: element left out of {_show(node)}", _maker(node, elts=rest)
    # Where the order means something: the rules, the readers, tables of patterns.
    if len(node.elts) > 3 and all(isinstance(element, ast.Name | ast.Tuple) for element in node.elts):
        for index in range(len(node.elts) - 1):
            one, other = node.elts[index : index + 2]
            swapped = [*node.elts[:index], other, one, *node.elts[index + 2 :]]
            yield f"{_show(one)}, {_show(other)}: swapped", _maker(node, elts=swapped)


def _dict(node: ast.Dict) -> Iterator[Change]:
    for index, key in enumerate(node.keys):
        if key is not None:
            keys, values = list(node.keys), list(node.values)
            del keys[index], values[index]
            yield f"{_show(key)}: entry left out", _maker(node, keys=keys, values=values)


def _bin_op(node: ast.BinOp | ast.AugAssign) -> Iterator[Change]:
    if other := _ARITHMETIC.get(type(node.op)):
        yield _change(node, _edited(node, op=other()))


def _return(node: ast.Return) -> Iterator[Change]:
    if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
        yield _change(node, ast.Return(ast.Constant(None)))


def _statement(node: ast.stmt) -> Iterator[Change]:
    place = isinstance(node, ast.Assign) and not isinstance(node.targets[0], ast.Name)
    if place or isinstance(node, ast.Expr | ast.AugAssign | ast.Raise | ast.Break | ast.Continue):
        yield f"{_show(node)}: left out", ast.Pass


def _enum(node: ast.Attribute, names: Mapping[str, object]) -> Iterator[Change]:
    words = names.get(node.value.id) if isinstance(node.value, ast.Name) else None
    if isinstance(words, type) and issubclass(words, Enum) and node.attr in words.__members__:
        members = list(words.__members__)
        place = members.index(node.attr)
        for step in {1, len(members) // 2} - {0}:
            yield _change(node, _edited(node, attr=members[(place + step) % len(members)]))


_MAKERS: tuple[tuple[type[ast.AST] | tuple[type[ast.AST], ...], Callable[..., Iterator[Change]]], ...] = (
    (ast.Compare, _compare),
    (ast.BoolOp, _bool_op),
    (ast.UnaryOp, _unary),
    ((ast.If, ast.IfExp), _condition),
    (ast.comprehension, _loop),
    (ast.Constant, _constant),
    (ast.Call, _call),
    ((ast.Tuple, ast.List, ast.Set), _elements),
    (ast.Dict, _dict),
    ((ast.BinOp, ast.AugAssign), _bin_op),
    (ast.Return, _return),
    (ast.stmt, _statement),
)
