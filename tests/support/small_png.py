"""Makes a screenshot small without any tool: 8-bit RGB or RGBA in, at most 256 colours out.

The 256 most frequent colours stay, every other becomes the nearest of them, which on a page of text is hardly seen.
Opacity is dropped. Interlaced or 16-bit files are refused.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections import Counter

_MAGIC = b"\x89PNG\r\n\x1a\n"
_COLOURS = 256
_CHANNELS = {2: 3, 6: 4}


def shrink(png: bytes) -> bytes:
    """Give the same picture with a palette; raises ValueError for a file that is not as said above."""
    width, height, channels, data = _read(png)
    rows = _unfilter(data, width * channels, height, channels)
    pixels = [[row[at : at + 3] for at in range(0, len(row), channels)] for row in rows]
    counted = Counter(itertools.chain.from_iterable(pixels))
    palette = [colour for colour, _ in counted.most_common(_COLOURS)]
    places = {colour: _nearest(colour, palette) for colour in counted}
    packed = zlib.compress(b"".join(b"\0" + bytes(map(places.__getitem__, row)) for row in pixels), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", header), (b"PLTE", b"".join(palette)), (b"IDAT", packed), (b"IEND", b""))
    return _MAGIC + b"".join(_chunk(kind, body) for kind, body in parts)


def _nearest(colour: bytes, palette: list[bytes]) -> int:
    red, green, blue = colour
    return min(
        range(len(palette)),
        key=lambda at: (palette[at][0] - red) ** 2 + (palette[at][1] - green) ** 2 + (palette[at][2] - blue) ** 2,
    )


def _read(png: bytes) -> tuple[int, int, int, bytes]:
    if not png.startswith(_MAGIC):
        raise ValueError("not a PNG")
    at, packed, header = len(_MAGIC), b"", b""
    while at < len(png):
        (size,), kind = struct.unpack_from(">I", png, at), png[at + 4 : at + 8]
        body = png[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            header = body
        elif kind == b"IDAT":
            packed += body
        at += 12 + size
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if depth != 8 or colour not in _CHANNELS or interlaced:
        raise ValueError(f"depth {depth}, colour type {colour}, interlaced {interlaced} is not read here")
    return width, height, _CHANNELS[colour], zlib.decompress(packed)


def _unfilter(data: bytes, size: int, height: int, step: int) -> list[bytes]:
    rows: list[bytes] = []
    above = bytes(size)
    for number in range(height):
        start = number * (size + 1)
        kind, row = data[start], bytearray(data[start + 1 : start + 1 + size])
        for i in range(size if kind else 0):
            left = row[i - step] if i >= step else 0
            corner = above[i - step] if i >= step else 0
            row[i] = (row[i] + _guess(kind, left, above[i], corner)) & 0xFF
        above = bytes(row)
        rows.append(above)
    return rows


def _guess(kind: int, left: int, up: int, corner: int) -> int:
    """Give what a filter of the PNG specification adds."""
    if kind == 1:
        return left
    if kind == 2:
        return up
    if kind == 3:
        return (left + up) // 2
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
