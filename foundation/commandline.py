"""What the commands of both daemons share: a usage error is one line and exit 2, as every other complaint of ours."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


class Refused(click.ClickException):
    """Bad usage or configuration: the message as it is, one line per problem, exit 2."""

    exit_code = 2

    def show(self, file: IO[str] | None = None) -> None:
        """Print it without click's own words around it."""
        click.echo(self.message, file=file, err=True)


class Commands(click.Group):
    """A group whose usage errors are one line and not a page; in a container SIGTERM ends its commands at any time."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: object
    ) -> click.Context:
        """As click's, with the errors as Refused."""
        with _one_line(self.name or ""):
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        """As click's, with the errors as Refused."""
        if os.getpid() == 1:
            # The kernel drops what PID 1 did not ask for: until gunicorn asks, and in commands that never do, a
            # container would be killed at the end of its grace instead.
            signal.signal(signal.SIGTERM, _end)
        with _one_line(self.name or ""):
            return super().invoke(ctx)


def _end(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise  # no command at all: the help is the answer
    except click.UsageError as problem:
        command = problem.ctx.command_path if problem.ctx else name
        message = " ".join(problem.format_message().split()).removesuffix(".")
        raise Refused(f"{command}: {message} ({command} --help tells more)") from None
