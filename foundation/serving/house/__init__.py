"""The look that the pages of exporter and remediator share: `static/base.css`.

Each serves it beside its own files, as a blueprint of Flask made of these names.
"""

from __future__ import annotations

from typing import Final

NAME: Final = "house"
"""Of the blueprint."""
STATIC: Final = frozenset({"static", f"{NAME}.static"})
"""The endpoints that serve files, which hold nothing secret and may be kept by browsers."""
