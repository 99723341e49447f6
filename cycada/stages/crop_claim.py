"""A note on what unfinished crops are made of and how, so that they mix with no others."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cycada.errors import RunError
from cycada.files import replacing


class CropClaim:
    """Facts about a run of ``cycada index --crop``, and names and sizes of its originals.

    Records of crops are by number: with a file more or less they would be those of others.
    """

    def __init__(self, file: Path, facts: Mapping[str, str], originals: Iterable[Path]) -> None:
        """Claim the folder of the index, or go on with what was begun there.

        Args:
            file: The note, in a folder within that of the index.
            facts: What decides about the crops.
            originals: Files, and folders whose files are frames.

        Raises:
            RunError: What was begun had other facts, or files have changed that were not set
                aside.
        """
        self.file, self._facts = file, dict(facts)
        out = file.parent.parent
        found: dict[str, Any] = {}
        if file.exists():
            found = json.loads(file.read_text(encoding="utf-8"))
        self._excluded: list[str] = list(found.get("excluded", ()))
        self._sizes = {str(part): _size(part) for path in originals for part in _parts(path)}
        # A sum, so that a file can be taken out of it and put in again.
        self._digest = sum(map(_digest, self._sizes.items()))
        for name in self._excluded:
            self._leave_out(name)
        if found and found != self._noted():
            raise RunError(
                f"{out}: holds crops that were begun from other files or with other options; give "
                "those again to finish them, or delete the folder."
            )
        self._write()

    def exclude(self, file: Path) -> None:
        """Note that a file, or what is in a folder, may be changed before the work goes on."""
        if str(file) not in self._excluded:
            self._excluded.append(str(file))
            self._leave_out(str(file))
            self._write()

    def _leave_out(self, name: str) -> None:
        """Let names count, but not sizes."""
        inside = (each for each in self._sizes if each.startswith(f"{name}{os.sep}"))
        for each in [name] if name in self._sizes else list(inside):
            self._digest += _digest((each, None)) - _digest((each, self._sizes[each]))

    def _noted(self) -> dict[str, Any]:
        return {**self._facts, "files": f"{self._digest:x}", "excluded": self._excluded}

    def _write(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.file) as temporary:
            temporary.write_text(json.dumps(self._noted()), encoding="utf-8")


def _parts(path: Path) -> list[Path]:
    return sorted(path.iterdir()) if path.is_dir() else [path]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # a link to nowhere; opening it tells
        return -1


def _digest(sized: tuple[str, int | None]) -> int:
    """Return a number to be added to those of other files."""
    return int.from_bytes(hashlib.sha256(repr(sized).encode()).digest(), "big")
