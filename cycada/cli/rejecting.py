"""The option of verbs that set aside what they cannot read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from cycada.rejecting import Limit, parse_limit

F = TypeVar("F", bound=Callable[..., Any])


def max_rejected(verb: F) -> F:
    """Add ``--max-rejected``, as a :class:`Limit`."""
    return click.option(
        "--max-rejected",
        "limit",
        metavar="N|P%",
        callback=_limit,
        help="Stop when more files cannot be read: a number or a percentage.  [default: 1%, but "
        "at least 10]",
    )(verb)


def _limit(_context: click.Context, _option: click.Parameter, text: str | None) -> Limit:
    return Limit() if text is None else parse_limit(text)
