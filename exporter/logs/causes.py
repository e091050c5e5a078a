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
_TEXTS: Final[tuple[tuple[Cause, re.Pattern[str]], ...]] = (
    (
        "dns",
        re.compile(
            r"getaddrinfo|Name or service not known|name resolution|nodename nor servname"
            r"|No address associated|Unable to communicate with Diego",
            re.IGNORECASE,
        ),
    ),
    ("refused", re.compile(r"Connection refused|ECONNREFUSED", re.IGNORECASE)),
    (
        "reset",
        re.compile(
            r"Connection reset|ECONNRESET|errno=104|Broken pipe|EPIPE|end of file reached|KeepAliveDisconnected",
            re.IGNORECASE,
        ),
    ),
    ("timeout", re.compile(r"execution expired|timed? ?out", re.IGNORECASE)),
    ("tls", re.compile(r"SSL_|certificate|OpenSSL|tlsv1|handshake", re.IGNORECASE)),
)


def classify(description: str | None) -> Cause:
    """The cause that the description of a BBS error speaks of; `other` where it says nothing known."""
    if not description:
        return "other"
    if _HTTP_STATUS.match(description):
        return "http_status"
    for cause, pattern in _TEXTS:
        if pattern.search(description):
            return cause
    return "other"
