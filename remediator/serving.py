"""The remediator as a daemon: its configuration, its credentials, and the server that both daemons share."""

from __future__ import annotations

import os
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, NoReturn

from remediator.config import load_config
from remediator.credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from wsgiref.types import WSGIApplication

    from remediator.config import RemediatorConfig


class UsageProblem(Exception):  # noqa: N818  it says what is wrong
    """What was given cannot be used: one line for each problem."""


class Running:
    """What the server serves in its worker process."""

    def __init__(self, config: RemediatorConfig, credentials: Credentials, wall: Callable[[], float]) -> None:
        from remediator.service import Remediator
        from remediator.snapshot import register
        from remediator.web.app import create_app

        self._remediator = Remediator(config, wall=wall)
        release = version("stager-medic")
        register(
            self._remediator.registry,
            self._remediator.metrics,
            self._remediator.executors,
            tuple(config.remediator.playbooks),
            version=release,
            revision=os.environ.get("STAGER_REVISION", ""),
        )
        self.wsgi: WSGIApplication = create_app(
            self._remediator.sites,
            self._remediator.intake,
            credentials,
            self._remediator.registry,
            self._remediator.executors,
            ready=self._remediator.unready,
            wall=wall,
            version=release,
        )
        self._remediator.start()

    def reload(self) -> str:
        """Credentials and certificates are followed; the rest is taken at the start only, on purpose."""
        return "the remediator's configuration is read at its start: restart it"

    def stop(self) -> None:
        """Finish and record the deletion under way, give claims up."""
        self._remediator.stop()


def prepare(config_file: Path) -> tuple[RemediatorConfig, Credentials]:
    """Read everything that must be right before anything starts.

    Raises ConfigurationError and UsageProblem.
    """
    config = load_config(config_file)
    file = config.remediator.credentials_file
    if file is None:
        raise UsageProblem(
            f"{config_file}: remediator.credentials_file is missing: without it anybody could have pods deleted"
        )
    return config, Credentials(file)


def serve(config_file: Path, *, log_level: str = "info", wall: Callable[[], float] = time.time) -> NoReturn:
    """Serve until SIGTERM. Raises ConfigurationError, WebConfigError and UsageProblem before anything has begun."""
    from foundation.kube.errors import ConfigurationProblem
    from foundation.serving import jsonlog
    from foundation.serving.server import CannotStartError
    from foundation.serving.server import serve as serve_web
    from foundation.serving.web_config import WebConfig

    config, credentials = prepare(config_file)
    jsonlog.configure(log_level)
    web = config.remediator.web
    web_config = None if web.config_file is None else WebConfig(web.config_file)
    if web_config is not None and web_config.users():
        raise UsageProblem(f"{web.config_file}: basic_auth_users: people are in remediator.credentials_file, not here")

    def make() -> Running:
        try:
            return Running(config, credentials, wall)
        except ConfigurationProblem as problem:
            raise CannotStartError(str(problem)) from None

    serve_web(web.listen, web_config, make, "stager-remediator", stopping=28)
