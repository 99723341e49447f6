"""The command line: verbs that parse, load and call. Nothing here imports torch at once."""

from __future__ import annotations

import difflib
import errno
import importlib
from typing import Any

import click

import cycada
from cycada.cli.output import is_main_process, processes, say_error
from cycada.errors import CycadaError, UsageError, reason
from cycada.stopping import exit_code, raising_on_sigterm

VERBS = (
    "demo",
    "phantom",
    "convert",
    "index",
    "audit",
    "train-detector",
    "train-translator",
    "translate",
    "evaluate",
    "detect",
    "export",
    "monitor",
    "fit-dyspnea",
    "evaluate-vitals",
    "report",
    "sheet",
    "view",
    "doctor",
)
"""In the order of the way that the data goes."""

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no place is told with these

_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL")
"""In what torch says where another process has gone."""

_SHARED = ("train-detector", "train-translator", "translate")  # work of several processes


class Verbs(click.Group):
    """Loads a verb when it is asked for, and turns a user's mistakes into sentences."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the names of all verbs."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the verb ``train-detector`` from ``cycada.cli.train_detector``."""
        if cmd_name not in VERBS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"cycada.cli.{name}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb, or say which one comes nearest."""
        near = difflib.get_close_matches(args[0], VERBS, n=1)
        if args[0] not in VERBS and near and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]}?")
        if args[0] in VERBS and args[0] not in _SHARED and processes() > 1:
            raise UsageError(
                f"cycada {args[0]} works in one process, and {processes()} would write over each "
                "other; leave out accelerate launch."
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; end with the exit code that its outcome deserves."""
        try:
            with raising_on_sigterm():
                return super().invoke(ctx)
        except CycadaError as error:
            say_error(error)
            ctx.exit(error.exit_code)
        except OSError as error:
            if error.filename is None and error.errno not in _DISK_FULL:
                raise
            place = "" if error.filename is None else f"{error.filename}: "
            say_error(CycadaError(f"{place}{error.strerror}."))
            ctx.exit(CycadaError.exit_code)
        except RuntimeError as error:
            if processes() == 1 or not any(words in str(error) for words in _LOST):
                raise
            say_error(CycadaError(
                "another process has ended while this one waited for it. If it did not tell why, "
                "it was killed, perhaps for want of memory. The same command continues "
                f"({reason(error)})."
            ))  # fmt: skip
            ctx.exit(CycadaError.exit_code)
        except KeyboardInterrupt as stop:
            code = exit_code(stop)
        # With the exception its frames have gone, and with them the bars, which draw themselves
        # once more at their end.
        if is_main_process():
            click.echo("\nStopped. The same command continues.", err=True)
        raise click.exceptions.Exit(code)


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(cycada.__version__, prog_name="cycada")
def main() -> None:
    """Detect facial Action Units in infrared, learning from labelled RGB faces.

    RGB faces are translated into thermal ones that keep their Action Units; a detector learns
    from the translations and is aligned to real thermal faces.

    \b
    cycada demo
    cycada train-translator --help
    """  # noqa: D301  # click keeps the lines after the backspace
