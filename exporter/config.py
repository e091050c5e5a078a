"""The exporter's configuration file."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, TypeAdapter, ValidationInfo, field_validator, model_validator

from foundation.config import FoundationConfig, LocalPath, Part, ProbeConfig, unique_names
from foundation.serving.address import split_listen
from foundation.yamlfile import load

if TYPE_CHECKING:
    from pathlib import Path


_LOCAL = TypeAdapter(LocalPath)


def _address(listen: str) -> str:
    split_listen(listen)
    return listen


class LogSourceConfig(Part):
    """One place where Cloud Controller's log lines come from."""

    source: Literal["pod", "exec", "syslog", "file"]
    role: Literal["api"] = "api"
    container: str | None = None
    path: str | None = None
    """In the container for an exec source, on this machine for a file source; there `-` is standard input."""
    listen: Annotated[str, AfterValidator(_address)] | None = None
    protocol: Literal["tcp", "udp"] = "tcp"
    foundation: str | None = None
    """Which foundation's lines these are; needed only for syslog and file with several foundations."""

    @field_validator("path")
    @classmethod
    def _beside_the_file(cls, path: str | None, info: ValidationInfo) -> str | None:
        """A local file is relative to the configuration's folder; a path inside a container stays as it is."""
        if path is None or path == "-" or info.data.get("source") != "file":
            return path
        return str(_LOCAL.validate_python(path, context=info.context))

    @model_validator(mode="after")
    def _know_where(self) -> Self:
        if self.source == "syslog" and not self.listen:
            raise ValueError("listen is required for a syslog source, such as 0.0.0.0:5514")
        if self.source == "file" and not self.path:
            raise ValueError("path is required for a file source")
        return self


class WebConfig(Part):
    """Where the exporter listens; `config_file` is the web.yml of Prometheus's own exporters."""

    listen: Annotated[str, AfterValidator(_address)] = ":9717"
    config_file: LocalPath | None = None


class ExporterSection(Part):
    """What only the exporter needs."""

    web: WebConfig = WebConfig()


class ExporterConfig(Part):
    """The whole file. The remediator's section is the remediator's to check."""

    foundations: Annotated[tuple[FoundationConfig, ...], AfterValidator(unique_names)]
    probe: ProbeConfig = ProbeConfig()
    logs: tuple[LogSourceConfig, ...] = ()
    exporter: ExporterSection = ExporterSection()
    remediator: dict[str, object] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _place_the_logs(self) -> Self:
        names = {foundation.name for foundation in self.foundations}
        for log in self.logs:
            if log.foundation is not None and log.foundation not in names:
                raise ValueError(f"logs: there is no foundation {log.foundation}")
            if log.source in ("syslog", "file") and log.foundation is None and len(names) > 1:
                raise ValueError(f"logs: a {log.source} source needs `foundation` where there are several")
        for foundation in self.foundations:
            if not foundation.exec and any(log.source == "exec" for log in self.logs_of(foundation.name)):
                raise ValueError(f"logs: an exec source needs `exec: true` in the foundation {foundation.name}")
            for log, times in Counter(self.logs_of(foundation.name)).items():
                if times > 1:
                    raise ValueError(
                        f"logs: the same {log.source} source stands {times} times; it would count all twice"
                    )
        listening = Counter((log.listen, log.protocol) for log in self.logs if log.source == "syslog")
        for (address, protocol), times in listening.items():
            if times > 1:
                raise ValueError(f"logs: {times} syslog sources listen on {address} ({protocol})")
        return self

    def logs_of(self, foundation: str) -> tuple[LogSourceConfig, ...]:
        """The log sources of one foundation."""
        return tuple(log for log in self.logs if log.foundation in (None, foundation))


def load_config(path: Path) -> ExporterConfig:
    """Raises foundation.yamlfile.ConfigurationError with every problem and its place."""
    return load(path, ExporterConfig)
