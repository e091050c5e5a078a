"""What `stager-exporter diagnose --save` records, for `--observation` to read again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foundation.observer import Look


def record(look: Look, foundation: str) -> str:
    """A look as JSON for `--observation`: all that the rules were given, and what they said, as `expect`."""
    document = json.loads(look.observation.to_json())
    moment = datetime.fromtimestamp(look.at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    document["scenario"] = f"{foundation}, seen at {moment}"
    document["expect"] = {
        "verdict": look.diagnosis.verdict,
        "restart": look.diagnosis.restart,
        "pods_to_restart": list(look.diagnosis.pods_to_restart),
    }
    return json.dumps(document, indent=1, sort_keys=True) + "\n"
