"""Optional packages: imported when they are needed, named with their command when missing."""

from __future__ import annotations

import importlib
from typing import Any

from cycada.errors import UsageError


def optional(module: str, *, extra: str, what: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: such as ``flyr.records``.
        extra: of ``cycada`` that brings the package.
        what: is read with it, for the user.

    Raises:
        UsageError: it is not installed; the sentence holds the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise UsageError(
            f"{what} needs the package {package}: pip install 'cycada[{extra}]'."
        ) from None
