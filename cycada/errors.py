"""The errors that a user can cause; the command line prints each as one sentence."""

from __future__ import annotations


class CycadaError(Exception):
    """A mistake in the input: what was expected, what was found, where, and what to do.

    The command line prints the message without a traceback and exits with ``exit_code``.
    """

    exit_code = 1


class DataError(CycadaError):
    """A file, index or dataset that cannot be used as it is."""


class RunError(CycadaError):
    """A run directory that is missing, unfinished, or was made with other settings."""


class UsageError(CycadaError):
    """A command, option or setting that is wrong in itself (exit code 2)."""

    exit_code = 2


class ConfigError(UsageError):
    """An unknown setting, or a value outside its type or range."""


_LONGEST_REASON = 200  # characters; some libraries quote what they could not read


def reason(error: BaseException) -> str:
    """Return what a library says is wrong, in one line without a full stop, for a sentence."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    line = (text.splitlines() or [""])[0][:_LONGEST_REASON]
    return line.rstrip(".") or type(error).__name__
