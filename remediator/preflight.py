"""`stager-remediator preflight`: everything the remediator needs, checked from where it will run, and what to do.

It reads, and asks the API server what it may do (SelfSubjectAccessReview, which stores nothing); it changes nothing and
deletes nothing. Where something could not be found out, it says so and never `ok`. It does not prove that a restart
would work: `mode: dry-run` and `simulate` go further.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from foundation.kube.client import KubeClient
from foundation.kube.errors import ConfigurationProblem, one_line
from foundation.yamlfile import ConfigurationError, load
from remediator import alertmanager_route
from remediator.alertmanager_route import RouteProblem
from remediator.checks import Check, Result
from remediator.credentials import Credentials, CredentialsFile, Scope
from remediator.intake import LABEL
from remediator.preflight_cluster import FoundationChecks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from remediator.config import RemediatorConfig


def preflight(
    config: RemediatorConfig,
    config_file: Path,
    alertmanager_file: Path | None,
    *,
    wall: Callable[[], float] = time.time,
) -> Sequence[Check]:
    """All checks, those of each foundation together."""
    found = [*_credentials(config, config_file), *_route(config, alertmanager_file)]
    for foundation in config.foundations:
        try:
            client = KubeClient.connect(
                None if foundation.kubeconfig is None else str(foundation.kubeconfig),
                foundation.context,
                user_agent="stager-remediator/preflight",
            )
        except ConfigurationProblem as problem:
            advice = "set kubeconfig (and context) of the foundation, or run this in its pod"
            found.append(Check(foundation.name, "API server", Result.FAIL, str(problem), advice))
            found += FoundationChecks(foundation, config, None, wall).without_cluster()
            continue
        with client:
            found += FoundationChecks(foundation, config, client, wall).all()
    return found


# --- credentials and route --------------------------------------------------------------------------------------------


def scopes_of(file: Path) -> Sequence[frozenset[str]]:
    """The scopes of each credential. Raises ConfigurationError for whatever would keep the remediator from starting."""
    Credentials(file)  # reads the token files too
    return [frozenset(map(str, entry.scopes)) for entry in load(file, CredentialsFile).root]


def scopes_missing(credentials: Sequence[frozenset[str]]) -> Sequence[str]:
    """What nobody may do, one sentence each."""
    words = {
        Scope.WEBHOOK: "no credential has the scope webhook: Alertmanager would be answered 401",
        Scope.OPERATE: "no credential has the scope operate: nobody can approve, acknowledge or pause",
        Scope.VIEW: "no credential has the scope view: nobody can look at the page or use list and show",
    }
    return [text for scope, text in words.items() if not any(scope in scopes for scopes in credentials)]


def _credentials(config: RemediatorConfig, config_file: Path) -> Iterator[Check]:
    def check(result: Result, text: str, advice: str = "") -> Check:
        return Check("remediator", "credentials", result, text, advice)

    file = config.remediator.credentials_file
    if file is None:
        what = f"{config_file}: remediator.credentials_file is missing"
        yield check(Result.FAIL, what, "without it the remediator does not start: anybody could have pods deleted")
        return
    try:
        scopes = scopes_of(file)
    except ConfigurationError as problem:
        for one in problem.problems:
            yield check(Result.FAIL, str(one), "the remediator does not start with it")
        return
    missing = scopes_missing(scopes)
    for text in missing:
        harmless = "scope view" in text
        yield check(Result.WARN if harmless else Result.FAIL, text, f"add one to {file}")
    if not missing:
        yield check(Result.OK, f"{file}: {len(scopes)} credentials, with the scopes webhook, view and operate")


def _route(config: RemediatorConfig, file: Path | None) -> Iterator[Check]:
    def check(result: Result, text: str, advice: str = "") -> Check:
        return Check("remediator", "Alertmanager", result, text, advice)

    if file is None:
        yield check(Result.WARN, "its route to the webhook was not looked at", "give --alertmanager-config FILE")
        return
    try:
        with file.open(encoding="utf-8") as stream:
            read = alertmanager_route.read(stream.read(4 << 20))
        told: dict[Check, None] = {}
        for foundation in config.foundations:
            for playbook in config.remediator.playbooks:
                labels = {
                    "alertname": "DiegoRestartWouldHelp",
                    LABEL: playbook,
                    "foundation": foundation.name,
                    "severity": "none",
                }
                shown = f"{file}: an alert {LABEL}={playbook} of {foundation.name}"
                found = alertmanager_route.faults(read, labels, shown)
                for fault in found:
                    told[check(Result.FAIL if fault.fatal else Result.WARN, fault.what, fault.advice)] = None
                if not found:
                    told[check(Result.OK, f"{shown} reaches the webhook")] = None
        yield from told
    except OSError as problem:
        yield check(Result.FAIL, f"{file}: cannot be read: {problem.strerror}")
    except UnicodeDecodeError:
        yield check(Result.FAIL, f"{file}: is not UTF-8")
    except RouteProblem as problem:
        yield check(Result.FAIL, f"{file}: {one_line(str(problem))}", "amtool check-config tells more")
