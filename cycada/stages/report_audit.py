"""What audits said of the data that a page is about."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from cycada.errors import DataError
from cycada.files import check_text
from cycada.report.provenance import Audited
from cycada.stages.audit import JSON_NAME


def read_audits(folders: Sequence[Path], near: Iterable[Path], *, named: bool) -> list[Audited]:
    """Return the audits in folders, and those beside indexes, each once.

    Args:
        folders: Those that were given.
        near: Folders of indexes; an audit may lie in one, or in ``audit`` below it.
        named: Name indexes with their folders, else by the last part of their paths.

    Raises:
        DataError: One cannot be read.
    """
    files = [folder / JSON_NAME for folder in folders]
    for root in near:
        files += [root / JSON_NAME, root / "audit" / JSON_NAME]
    there = {file.resolve(): file for file in files if file.is_file()}
    return [_read(file, named=named) for file in there.values()]


def _read(file: Path, *, named: bool) -> Audited:
    check_text(file)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return Audited(
            version=str(found["cycada"]),
            indexes=tuple(_shown(str(path), named=named) for path in found["indexes"]),
            images=int(found["images"]),
            findings=tuple(
                (str(each["severity"]), str(each["check"]), str(each["text"]))
                for each in found["findings"]
            ),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{file}: was not written by `cycada audit` ({error}).") from error


def _shown(path: str, *, named: bool) -> str:
    return path if named else path.replace("\\", "/").rstrip("/").rpartition("/")[2]
