"""Removes from text what looks like a secret, before it is stored where other people read than those of the log itself.

Best effort, and on the side of removing too much. It knows values by the name before them (password, token, secret,
key, authorization, cookie and their like; as JSON, key=value, header, option or XML), credentials in URLs and database
addresses, bearer and basic credentials, JSON web tokens, the keys of some providers, PEM blocks and lines of base64. It
does not know a secret that stands alone as a plain word, one whose name is on another line, or one behind an encoding.

Every step takes time in proportion to the text, whatever the text is: log lines are written by strangers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

REDACTED = "[redacted]"
PEM_DROPPED = "[PEM block dropped]"
PEM_LINES = 200
"""After so many lines without its end, a PEM block counts as over."""

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d) ")

_NAME = re.compile(
    r"""
    (?P<option>(?<![\w-])--[\w-]{0,40}?)?
    (?:
        (?P<whole> authori[sz]ation | cookies? )      # what follows is several words long
      | pass(?:word|wd|phrase|code) | pwd | (?<![a-z])pass(?![a-z])
      | secret | token | credential | session[_-]?id | signature | jwt
      | (?: api | access | private | public | master | ssh | account | encryption | signing ) [_-]? key
      | (?P<bare> (?<![\w-]) key (?![\w.-]) )         # also what Locket calls the name of a lock
      | (?<![a-z]) keys? (?![a-z]) | (?-i: (?<=[a-z]) Keys? (?![a-z]) )
    )
    [\w.\-]{0,40}
    (?:
        (?P<key>\\*["'`])? \]? \s* (?: [:=>]{1,3} | %3[ad] ) \s*
      | \\*["'] \s* , \s* (?= \\*["'] )               # a header as a pair of texts
      | (?(option) \s+ | (?!) )                       # --password value
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LOCK_NAME = re.compile(r"[a-z]+(?:[-_][a-z]+){0,3}")
_QUOTE = re.compile(r"""(\\*)(["'`])""")
_OPEN = re.compile(r"(?:map|&)?[\[{(]")
_REST = re.compile(r"""[^\s,;"'})\]]*""")
_WORD = re.compile(r"(?:[^\s<]|<(?!/))*")
_WORD_IN_QUOTES = re.compile(r'(?:[^\s<"]|<(?!/))*')
_LITERAL = re.compile(r"[^\s,}\]]*")
_LINE = re.compile(r".*")
_LINE_IN_QUOTES = re.compile(r'[^"]*')
_SCHEME = re.compile(r"(?:bearer|basic|digest|negotiate|token|apikey)(?:\s+|%20)", re.IGNORECASE)

_CREDENTIALS = re.compile(r"\b(bearer|basic)((?:\s+|%20|\+))([A-Za-z0-9._~+/=\-]{8,})", re.IGNORECASE)
_PLAIN_WORD = re.compile(r"[A-Z]?[a-z-]+[.,:]?")
_UNQUOTED = re.compile(r"""[^\s"'<>`]+""")
_HOST_AND_PORT = re.compile(r"[^/?#@]*:\d{1,5}[/?#]")
_SERVER_ADDRESS = re.compile(r"@(?:tcp|tcp4|tcp6|unix)\(")
_TOKENS = re.compile(
    r"""
      eyJ[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*){0,4}                                # JSON web token
    | (?<![A-Za-z0-9])(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA|ANVA|ABIA|ACCA)[A-Z0-9]{12,}  # AWS
    | (?<![A-Za-z0-9])gh[opsur]_[A-Za-z0-9]{20,} | github_pat_[A-Za-z0-9_]{20,}
    | (?<![A-Za-z0-9])xox[abeprs]-[A-Za-z0-9\-]{10,}
    | (?<![A-Za-z0-9])AIza[A-Za-z0-9_\-]{30,}
    """,
    re.VERBOSE,
)
_LONG = re.compile(r"[A-Za-z0-9+/]{60,}={0,2}")

_DASHES = r"-{4,5}[ ]?"
_BEGIN = re.compile(_DASHES + r"BEGIN(?: |%20|\+)[A-Z0-9 %+]{1,60}?[ ]?-{4,5}")
_END = re.compile(_DASHES + r"END(?: |%20|\+)[A-Z0-9 %+]{1,60}?[ ]?-{4,5}")
_BODY = re.compile(r"[A-Za-z0-9+/=\\]*|(?:Proc-Type|DEK-Info|Comment|Version):.*")


def clean(text: str) -> str:
    """The text without colours, control characters and invisible ones, as these could hide words and fool a terminal.

    Tabs become spaces; line ends are not expected.
    """
    text = _ANSI.sub("", text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c in "\t\r\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def redact(text: str) -> str:
    """A text of any number of lines without what looks like a secret. Never raises."""
    return "\n".join(redact_lines(text.split("\n")))


def redact_lines(lines: Iterable[str]) -> list[str]:
    """Lines without what looks like a secret; a PEM block over several lines leaves one line. Never raises.

    A block whose beginning was cut off is dropped as well, as far back as lines look like part of it.
    """
    found: list[str] = []
    body: list[bool] = []  # which of them may be a part of a PEM block
    inside = 0
    for raw in lines:
        line = clean(raw)
        if inside:
            inside -= 1
            end = _END.search(line)
            if end is None:
                if _may_be_body(line) and not _BEGIN.search(line):
                    continue
            else:
                inside, line = 0, line[end.end() :]
                if not line.strip("\"', \\nr"):
                    continue
        headless = _END.search(line)
        if headless and not _BEGIN.search(line, 0, headless.start()):
            while body and body[-1]:
                body.pop()
                found.pop()
            line = PEM_DROPPED + line[headless.end() :]
        text, opened = _without_blocks(line)
        inside = PEM_LINES if opened else inside
        found.append(_redact_line(text))
        body.append(text == line and _may_be_body(line) and bool(line.strip()))
    return found


def _may_be_body(line: str) -> bool:
    time = _TIME.match(line)
    return _BODY.fullmatch(line[time.end() if time else 0 :].strip(" \"',|>")) is not None


def _without_blocks(line: str) -> tuple[str, bool]:
    """The line without its PEM blocks, and whether the last one goes on after it."""
    parts: list[str] = []
    at = 0
    while begin := _BEGIN.search(line, at):
        parts += [line[at : begin.start()], PEM_DROPPED]
        end = _END.search(line, begin.end())
        if end is None:
            return "".join(parts), True
        at = end.end()
    return "".join([*parts, line[at:]]), False


def _redact_line(line: str) -> str:
    if "@" in line:
        line = _UNQUOTED.sub(lambda found: _without_credentials(found[0]), line)
    line = _without_named(line)
    line = _CREDENTIALS.sub(_without_scheme, line)
    line = _TOKENS.sub(REDACTED, line)
    return _LONG.sub(lambda found: REDACTED if _random(found[0]) else found[0], line)


def _without_credentials(word: str) -> str:
    """A URL without what stands before its host, and the address of a MySQL server as Go writes it, likewise."""
    server = _SERVER_ADDRESS.search(word)
    if server:
        word = REDACTED + word[server.start() :]
    start, end = word.find("://"), word.rfind("@")
    if 0 <= start < end and not word.startswith("@sha256:", end):  # docker-pullable://image@sha256:...
        before = word[start + 3 : end]
        alone = not any(mark in before for mark in "/?#")
        if alone or (":" in re.split(r"[/?#]", before, maxsplit=1)[0] and not _HOST_AND_PORT.match(before)):
            word = word[: start + 3] + REDACTED + word[end:]
    return word


def _without_named(line: str) -> str:
    parts: list[str] = []
    at, quotes = 0, 0
    while name := _NAME.search(line, at):
        quotes += line.count('"', at, name.end())
        start, end, closed = _value(line, name, in_quotes=quotes % 2 == 1)
        lock = name["bare"] and end - start <= 32 and _LOCK_NAME.fullmatch(line, start, end)
        secret = end > start and not lock
        quotes += line.count('"', name.end(), closed)
        parts += [line[at:start], REDACTED if secret else line[start:end], line[end:closed]]
        at = closed
        if end == len(line):
            break
    return "".join([*parts, line[at:]])


def _value(line: str, name: re.Match[str], *, in_quotes: bool) -> tuple[int, int, int]:
    """Where the value after a name starts and ends, and where to go on."""
    start = name.end()
    quote = _QUOTE.match(line, start)
    if quote:
        end, closed = _string_end(line, quote)
        return quote.end(), end, closed
    if bracket := _OPEN.match(line, start):
        end = _upto(_REST, line, _bracket_end(line, bracket))
    elif name["whole"]:
        end = _upto(_LINE_IN_QUOTES if in_quotes else _LINE, line, start)
    elif name["key"]:
        end = _upto(_LITERAL, line, start)
    else:
        scheme = _SCHEME.match(line, start)
        end = _upto(_WORD_IN_QUOTES if in_quotes else _WORD, line, scheme.end() if scheme else start)
    return start, end, end


def _upto(pattern: re.Pattern[str], line: str, at: int) -> int:
    found = pattern.match(line, at)
    return found.end() if found else at


def _string_end(line: str, quote: re.Match[str]) -> tuple[int, int]:
    """Where a quoted text ends, before and after its closing quote; quotes may be escaped, and within escaped text."""
    depth, mark = len(quote[1]), quote[2]
    at = quote.end()
    while (at := line.find(mark, at)) >= 0:
        slashes = 0
        while at - slashes > quote.end() and line[at - slashes - 1] == "\\":
            slashes += 1
        if slashes % 2 == 0 if depth == 0 else slashes <= depth:
            return at - min(slashes, depth), at + 1
        at += 1
    return len(line), len(line)


def _bracket_end(line: str, bracket: re.Match[str]) -> int:
    opening = bracket[0][-1]
    closing = {"[": "]", "{": "}", "(": ")"}[opening]
    depth, at = 1, bracket.end()
    while at < len(line):
        char = line[at]
        if char in "\"'`":
            quote = _QUOTE.match(line, at)
            at = _string_end(line, quote)[1] if quote else at + 1
            continue
        depth += (char == opening) - (char == closing)
        at += 1
        if depth == 0:
            return at
    return len(line)


def _without_scheme(found: re.Match[str]) -> str:
    if _PLAIN_WORD.fullmatch(found[3]):  # "basic authentication failed"
        return found[0]
    return f"{found[1]}{found[2]}{REDACTED}"


def _random(text: str) -> bool:
    """Whether a long text without spaces is base64 rather than a path, a rule of dashes or a checksum in hex."""
    kinds = (any(map(str.isupper, text)), any(map(str.islower, text)), any(map(str.isdigit, text)))
    return all(kinds) and text.count("/") <= len(text) / 12
