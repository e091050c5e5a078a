"""The least that a webhook can do: a Flask view behind the remediator's own server, which parses and answers."""

from __future__ import annotations

import sys

from flask import Flask, request
from werkzeug.wrappers import Response

from foundation.serving import jsonlog
from foundation.serving.server import serve


class _Bare:
    def __init__(self) -> None:
        app = Flask(__name__)

        @app.post("/api/v1/alertmanager")
        def notify() -> dict[str, object]:
            given = request.get_json()
            return {
                "alerts": [{"fingerprint": alert["fingerprint"], "outcome": "ignored"} for alert in given["alerts"]]
            }

        @app.get("/livez")
        def livez() -> Response:
            return Response("ok")

        self.wsgi = app

    def reload(self) -> str:
        """Nothing to read."""
        return ""

    def stop(self) -> None:
        """Nothing to end."""


if __name__ == "__main__":
    jsonlog.configure("info")
    serve(sys.argv[1], None, _Bare, "bare-webhook")
