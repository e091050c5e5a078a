"""Why Cloud Controller could not reach BBS, read from its error's text: a closed set, as these become label values.

The text depends on the Kubernetes version, the kind of Service and Ruby's and OpenSSL's versions, not on the fault
alone: `execution expired` fits an open TCP port too. So a cause narrows down, and decides nothing.
"""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias, get_args

Cause: TypeAlias = Literal["timeout", "refused", "dns", "tls", "reset", "http_status", "other"]

CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)

# BBS answered with another status than 200. The body after it is anybody's text, hence looked for at the start only.
_HTTP_STATUS: Final = re.compile(r"(?:[A-Za-z ]{1,60}: )?failed with status: ?\d")

# In this order: a reset inside the TLS handshake is a reset, and names are resolved before anything else can fail.
# In lower case, and not patterns: those that ignore case take six times as long.
_WORDS: Final[tuple[tuple[Cause, tuple[str, ...]], ...]] = (
    (
        "dns",
        (
            "getaddrinfo",
            "name or service not known",
            "name resolution",
            "nodename nor servname",
            "no address associated",
            "unable to communicate with diego",
        ),
    ),
    ("refused", ("connection refused", "econnrefused")),
    (
        "reset",
        (
            "connection reset",
            "econnreset",
            "errno=104",
            "broken pipe",
            "epipe",
            "end of file reached",
            "keepalivedisconnected",
        ),
    ),
    ("timeout", ("execution expired", "timed out", "timedout", "time out", "timeout")),
    ("tls", ("ssl_", "certificate", "openssl", "tlsv1", "handshake")),
)


def classify(description: str | None) -> Cause:
    """The cause that the description of a BBS error speaks of; `other` where it says nothing known."""
    if not description:
        return "other"
    if _HTTP_STATUS.match(description):
        return "http_status"
    text = description.lower()
    for cause, words in _WORDS:
        for word in words:
            if word in text:
                return cause
    return "other"
