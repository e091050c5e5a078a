"""One replica of the remediator as a process: the real thing, but for a clock that may be wrong and a rule left out.

`--skew` moves the wall clock that it believes in; `--without RULE` breaks it on purpose (`tests.campaign.broken`), to
see that the checker and the scenarios notice.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from remediator.serving import serve
from tests.campaign.broken import leave_out


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--skew", type=float, default=0.0)
    parser.add_argument("--without", default="")
    given = parser.parse_args()
    if given.without:
        leave_out(given.without)
    skew = given.skew
    serve(given.config, log_level="info", wall=lambda: time.time() + skew)


if __name__ == "__main__":
    main()
