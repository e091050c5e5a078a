"""Reads the structure of a text that may be cut off at any byte: steno's JSON, and the Ruby hash in a message.

What is given back stood there completely: half a number, half a name or half a key is as good as absent. The one
exception is asked for by name: a string that may be used though its end is missing. No text inside a string is ever
taken for structure. The standard library's parser reads only whole documents: it has the first try, being quick, and
the reader here gives the same for those.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

MAX_DEPTH: Final = 8
"""Containers in containers that are followed; steno's lines need three. Deeper ones end the reading as a cut does."""

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_STRING: Final = re.compile(r'"((?:[^"\\]++|\\u[0-9a-fA-F]{4}|\\["\\/bfnrt])*+)')
_SCALAR: Final = re.compile(r"[-+.0-9A-Za-z]+")


# Of equal keys the first counts, as in `_put`.
_WHOLE: Final = json.JSONDecoder(object_pairs_hook=lambda pairs: dict(reversed(pairs)), strict=False)


class _EndError(Exception):
    """The text ends here, or stops being JSON."""


def read_json(text: str, keep_cut: str = "") -> tuple[dict[str, Json], bool]:
    """The object that the text starts with, as far as it goes, and whether it was complete.

    A cut string is kept for the key `keep_cut` of the outermost object only. Never raises.
    """
    # Not where the two could differ: halves of surrogate pairs, and containers that may be too deep.
    if "\\u" not in text and text.count("{") + text.count("[") <= MAX_DEPTH:
        with suppress(ValueError):
            document, _ = _WHOLE.raw_decode(text)
            if isinstance(document, dict):
                return document, True
    return read_json_part(text, keep_cut)


def read_json_part(text: str, keep_cut: str = "") -> tuple[dict[str, Json], bool]:
    """The same as `read_json`, slower, for any text."""
    reader = _JsonReader(text, keep_cut)
    result: dict[str, Json] = {}
    try:
        reader.object_into(result, 0)
    except _EndError:
        return result, False
    return result, True


class _JsonReader:
    __slots__ = ("keep_cut", "position", "text")

    def __init__(self, text: str, keep_cut: str) -> None:
        self.text = text
        self.keep_cut = keep_cut
        self.position = 0

    def next(self) -> str:
        """The next character that is no white space; it is not consumed."""
        if found := _SPACE.match(self.text, self.position):
            self.position = found.end()
        if self.position >= len(self.text):
            raise _EndError
        return self.text[self.position]

    def expect(self, character: str) -> None:
        if self.next() != character:
            raise _EndError
        self.position += 1

    def string(self) -> tuple[str, bool]:
        """The string at this place, and whether its end was there."""
        self.next()
        found = _STRING.match(self.text, self.position)
        if not found:
            raise _EndError
        self.position = found.end()
        whole = self.text[self.position : self.position + 1] == '"'
        self.position += whole
        value = found[1]
        if "\\" in value:
            value = str(json.loads(f'"{value}"', strict=False))
            # Half a surrogate pair is no text, and could be neither shown nor stored.
            value = value.encode("utf-8", "replace").decode("utf-8")
        return value, whole

    def value_into(self, target: dict[str, Json] | list[Json], key: str, depth: int) -> None:
        """Reads one value into a container; a container read in part stays with the part that was read."""
        first = self.next()
        if first == "{":
            inner: dict[str, Json] = {}
            _put(target, key, inner)
            self.object_into(inner, depth + 1)
        elif first == "[":
            items: list[Json] = []
            _put(target, key, items)
            self.array_into(items, depth + 1)
        elif first == '"':
            text, whole = self.string()
            if whole or (depth == 0 and key == self.keep_cut):
                _put(target, key, text)
            if not whole:
                raise _EndError
        else:
            found = _SCALAR.match(self.text, self.position)
            # Digits at the very end may be half a number.
            if not found or found.end() == len(self.text):
                raise _EndError
            try:
                _put(target, key, json.loads(found[0]))
            except ValueError as error:
                raise _EndError from error
            self.position = found.end()

    def object_into(self, target: dict[str, Json], depth: int) -> None:
        if depth > MAX_DEPTH:
            raise _EndError
        self.expect("{")
        if self.next() == "}":
            self.position += 1
            return
        while True:
            key, whole = self.string()
            if not whole:
                raise _EndError
            self.expect(":")
            self.value_into(target, key, depth)
            if self.next() == "}":
                self.position += 1
                return
            self.expect(",")

    def array_into(self, target: list[Json], depth: int) -> None:
        if depth > MAX_DEPTH:
            raise _EndError
        self.expect("[")
        if self.next() == "]":
            self.position += 1
            return
        while True:
            self.value_into(target, "", depth)
            if self.next() == "]":
                self.position += 1
                return
            self.expect(",")


def _put(target: dict[str, Json] | list[Json], key: str, value: Json) -> None:
    if isinstance(target, list):
        target.append(value)
    else:
        # The first of two equal keys counts: nothing that comes later can overrule it.
        target.setdefault(key, value)


# Ruby's Hash#inspect: strings with `\"` inside, `=>` without spaces before Ruby 3.4 and with them since.
_RUBY_STRING: Final = re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
_RUBY_ARROW: Final = re.compile(r" ?=> ?")
_RUBY_SCALAR: Final = re.compile(r'[^\s,"\[\]{}=]+(?=[,\]}])')
_RUBY_COMMA: Final = re.compile(r", ")
_RUBY_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[{]|[\]}]|[^"\[\]{}]+', re.DOTALL)
_RUBY_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_RUBY_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "e": "\x1b", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


@dataclass(frozen=True, slots=True)
class RubyError:
    """What CC's presenters put first into `Request failed: …`; None where it was cut off before."""

    api: str | None = None
    """`v2` (description, error_code) or `v3` (errors: detail, title)."""
    name: str | None = None
    """As written, with `CF-`."""
    code: int | None = None
    description: str | None = None


def read_ruby_error(text: str) -> RubyError:
    """The first error of an inspected Ruby hash that may be cut anywhere (v2_error_hasher.rb, v3_error_hasher.rb)."""
    found: dict[str, str | int] = {}
    api: str | None = None
    if not text.startswith("{"):
        return RubyError()
    position = 1
    while len(found) < 3:
        key = _RUBY_STRING.match(text, position)
        arrow = _RUBY_ARROW.match(text, key.end()) if key else None
        if not key or not arrow:
            break
        position = arrow.end()
        if key[1] == "errors" and api is None and text.startswith("[{", position):
            api = "v3"
            position += 2
            continue
        field = _FIELDS.get(key[1])
        if api is None and key[1] in {"description", "error_code"}:
            api = "v2"
        value, position = _ruby_value(text, position)
        if position < 0:
            break
        if field and value is not None and (field == "code") == isinstance(value, int):
            found.setdefault(field, value)
        comma = _RUBY_COMMA.match(text, position)
        if not comma:
            break
        position = comma.end()
    name, code, description = found.get("name"), found.get("code"), found.get("description")
    return RubyError(
        api=api,
        name=name if isinstance(name, str) else None,
        code=code if isinstance(code, int) else None,
        description=description if isinstance(description, str) else None,
    )


_FIELDS: Final = {
    "description": "description",
    "detail": "description",
    "error_code": "name",
    "title": "name",
    "code": "code",
}


def _ruby_value(text: str, position: int) -> tuple[str | int | None, int]:
    """One value (a string or a number; None for any other) and the place after it; -1 if its end is not there."""
    if string := _RUBY_STRING.match(text, position):
        value = string[1]
        if "\\" in value:
            value = _RUBY_ESCAPE.sub(lambda found: _RUBY_ESCAPES.get(found[1], found[1]), value)
        return value, string.end()
    if scalar := _RUBY_SCALAR.match(text, position):
        plain = scalar[0]
        return (int(plain) if plain.isdecimal() and plain.isascii() and len(plain) < 10 else None), scalar.end()
    depth = 0
    while token := _RUBY_TOKEN.match(text, position):
        position = token.end()
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
            if depth <= 0:
                return None, position if depth == 0 else -1
        elif depth == 0:
            break
    return None, -1
