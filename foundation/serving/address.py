"""Addresses to listen on, as an operator writes them. Nothing is resolved or opened here."""

from __future__ import annotations


class ListenError(ValueError):
    """The address cannot be listened on; the message is for the operator."""


def split_listen(listen: str) -> tuple[str, int]:
    """Host and port of `:9717`, `127.0.0.1:9717` or `[::]:9717`; an empty host stands for every address.

    Raises ListenError for anything else.
    """
    host, colon, digits = listen.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not (digits.isascii() and digits.isdigit()) or int(digits) > 65535:
        raise ListenError(f"listen {listen!r}: expected HOST:PORT, as ':9717', '127.0.0.1:9717' or '[::]:9717'")
    return host, int(digits)
