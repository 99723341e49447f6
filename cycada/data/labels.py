"""Labels of corpora and programs: which layout a file has, and the reader for it.

The layouts are told, one each, by the modules of ``cycada.data.label_formats``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from cycada.data.label_formats import (
    affwild2,
    bp4d,
    ckplus,
    disfa,
    emotionet,
    libreface,
    openface,
    openface3,
    plain,
    pyafar,
    pyfeat,
    rafau,
)
from cycada.data.label_table import (
    LAYOUTS,
    LabelFile,
    LabelLayout,
    LabelTable,
    Peek,
    Reading,
    Source,
    listed,
    separator_of,
    unreadable,
)
from cycada.errors import DataError
from cycada.files import check_table

AnyLayout = LabelLayout | Literal["auto"]
ANY_LAYOUT: tuple[AnyLayout, ...] = ("auto", *LAYOUTS)

_SUFFIXES = frozenset({".csv", ".txt", ".tsv", ".json"})
_PEEKED = 65536  # characters of the first line; JSON may have but one


class _Layout(NamedTuple):
    title: str
    recognise: Callable[[Peek], str | None]
    read: Callable[[Source, Reading], LabelTable] | None  # None: each file is a table


_READERS: Mapping[LabelLayout, _Layout] = MappingProxyType(
    {
        "disfa": _Layout("DISFA", disfa.recognise, disfa.read),
        "bp4d-intensity": _Layout(
            "BP4D intensities", bp4d.recognise_intensity, bp4d.read_intensity
        ),
        "bp4d": _Layout("BP4D occurrences", bp4d.recognise, bp4d.read),
        "ckplus": _Layout("CK+", ckplus.recognise, ckplus.read),
        "openface3": _Layout("OpenFace 3", openface3.recognise, openface3.read),
        "openface": _Layout("OpenFace", openface.recognise, openface.read),
        "pyfeat": _Layout("Py-Feat", pyfeat.recognise, pyfeat.read),
        "pyafar": _Layout("PyAFAR", pyafar.recognise, pyafar.read),
        "libreface": _Layout("LibreFace", libreface.recognise, libreface.read),
        "emotionet": _Layout("EmotioNet", emotionet.recognise, emotionet.read),
        "rafau": _Layout("RAF-AU", rafau.recognise, rafau.read),
        "affwild2": _Layout("Aff-Wild2", affwild2.recognise, affwild2.read),
        "csv": _Layout("a plain table", plain.recognise, None),
    }
)
"""In the order in which a file is tried: the more particular first."""


def read_labels(path: Path, *, layout: AnyLayout = "auto", reading: Reading) -> list[LabelTable]:
    """Read a file of labels, or a folder with the files of a corpus.

    Args:
        path: the file or folder; of a folder, files that do not have the layout are left out.
        layout: ``auto`` recognises it; the first note of each table says by what.
        reading: what is wanted.

    Returns:
        One table per corpus; plain tables one each.

    Raises:
        DataError: nothing is there, no layout fits, or two do; a file is wrong.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such label file.")
    if not path.is_dir():
        peek = _peek(path, strict=True)
        chosen, why = _recognised(peek) if layout == "auto" else (layout, "")
        note = f"{path}: recognised as {_READERS[chosen].title}, for {why}." if why else ""
        return _read(chosen, Source(path, (LabelFile(path, path.stem),)), reading, note)
    peeks = [_peek(file, strict=False) for file in _files(path)]
    if layout == "auto":
        layout, why = _recognised_folder(path, peeks)
    else:
        why = ""
    fitting = [peek.file for peek in peeks if _READERS[layout].recognise(peek)]
    if not fitting:
        raise DataError(
            f"{path}: none of its {len(peeks)} files ({', '.join(sorted(_SUFFIXES))}) looks like "
            f"{_READERS[layout].title}; docs/labels.md tells the layouts."
        )
    note = f"{path}: {len(fitting)} files"
    note += f" recognised as {_READERS[layout].title}, for {why}" if why else ""
    other = [str(peek.file.relative_to(path)) for peek in peeks if peek.file not in {*fitting}]
    note += f"; not read: {listed(other)}." if other else "."
    files = tuple(
        LabelFile(file, file.relative_to(path).with_suffix("").as_posix()) for file in fitting
    )
    return _read(layout, Source(path, files), reading, note)


def _read(layout: LabelLayout, source: Source, reading: Reading, note: str) -> list[LabelTable]:
    read = _READERS[layout].read
    tables = plain.read(source.files, reading) if read is None else [read(source, reading)]
    if not note:
        return tables
    first, *others = tables
    return [_with_note(first, note), *others]


def _with_note(table: LabelTable, note: str) -> LabelTable:
    return replace(table, notes=(note, *table.notes))


def _files(folder: Path) -> list[Path]:
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(place) / name
            for name in sorted(names)
            if not name.startswith(".") and Path(name).suffix.lower() in _SUFFIXES
        ]
    if not found:
        raise DataError(f"{folder}: holds no label file ({', '.join(sorted(_SUFFIXES))}).")
    return found


def _peek(file: Path, *, strict: bool) -> Peek:
    """Return the first line that is not blank; of an unreadable file "", unless ``strict``."""
    line = ""
    try:
        check_table(file)
        with file.open(encoding="utf-8-sig") as stream:
            if file.suffix.lower() == ".json":
                return Peek(file, stream.read(_PEEKED), ())
            while not line.strip() and (read := stream.readline(_PEEKED)):
                line = read
    except (OSError, UnicodeDecodeError) as error:
        if strict:
            raise unreadable(file, error) from error
        return Peek(file, "", ())
    if strict and not line.strip():
        raise DataError(f"{file}: is empty.")
    line = line.strip("\r\n")
    cells = line.split(separator_of(line))
    return Peek(file, line, tuple(cell.strip().strip('"') for cell in cells))


def _recognised(peek: Peek) -> tuple[LabelLayout, str]:
    for layout, reader in _READERS.items():
        if why := reader.recognise(peek):
            return layout, why
    if peek.file.suffix.lower() == ".csv":
        return "csv", ""  # its reader tells what is missing
    raise DataError(
        f"{peek.file}: neither its name nor row 1 tells what labels it holds; if it has one of "
        f"these layouts, name it with --format: {', '.join(LAYOUTS)}."
    )


def _recognised_folder(folder: Path, peeks: Iterable[Peek]) -> tuple[LabelLayout, str]:
    """Return the one layout that files of the folder have, and what the first of them tells."""
    found: dict[LabelLayout, str] = {}
    first: dict[LabelLayout, Path] = {}
    for peek in peeks:
        for layout, reader in _READERS.items():
            if why := reader.recognise(peek):
                found.setdefault(layout, why)
                first.setdefault(layout, peek.file.relative_to(folder))
                break
    if not found:
        raise DataError(
            f"{folder}: none of its files tells what labels it holds; name the layout with "
            f"--format ({', '.join(LAYOUTS)})."
        )
    if len(found) > 1:
        each = " and ".join(f"{_READERS[name].title} ({first[name]})" for name in found)
        raise DataError(
            f"{folder}: holds {each}; give a folder of one of them, or say which with --format."
        )
    return next(iter(found.items()))
