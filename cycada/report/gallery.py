"""Sets of pictures for the gallery of a page: what they hold, and how they lie on disk.

A set is a folder beside the page::

    report_files/ID/items.js           cycadaSet("ID", {...}): all but the pictures, in columns
    report_files/ID/thumbs/000000.webp  the views of an item side by side, small
    report_files/ID/full/000000.js      cycadaFull("ID", 0, {...}): the same, exact
    report_files/ID/whole/000000.js     cycadaWhole("ID", 0, {...}): as their files are

Scripts hold one call with JSON and nothing else; they are scripts because a page that was opened
from disk may load nothing else. The writer needs no more memory for more pictures, but for some
bytes of figures. What it writes appears when it is whole.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, final
from urllib.parse import quote

import numpy as np
import torch

from cycada.errors import CycadaError, DataError
from cycada.files import sync, sync_folder, temporary_beside
from cycada.image_reading import read_size
from cycada.images import with_channels
from cycada.progress import Progress
from cycada.report.encoding import (
    lossless_uri,
    packed_codes,
    packed_shares,
    thermal_codes,
    thumbs_webp,
)
from cycada.report.full_size import PictureFile, full_size_values, shown_size
from cycada.report.gallery_folders import (
    FULL_NAME,
    HEAD,
    ITEMS_NAME,
    THUMBS_NAME,
    WHOLE_NAME,
    check_place,
)
from cycada.report.gallery_items import FigureColumn, Item, UnitColumns, View

_FORMAT = 1
_DIGEST_DIGITS = 16
_LARGEST_ACTIVATION = 16  # px on each side: as fine as the last layer of a detector
_UNKNOWN = 65535  # code of a probability that is not known; the others divide by 65534


@dataclass(frozen=True, kw_only=True, slots=True)
class GallerySet:
    """A written set, for :class:`cycada.report.page.Gallery`."""

    identity: str
    title: str
    intro: str
    count: int
    folder: Path
    stamp: str  # digest of what was written: a page takes no other set for its own
    thermal: bool  # whether a view of it is

    @property
    def place(self) -> str:
        """Return the address of the folder as seen from a page beside the folder of sets."""
        names = (self.folder.parent.name, self.folder.name)
        return "/".join(quote(os.fsencode(name)) for name in names)


def path_digest(path: str) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a path as it is in an index."""
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGEST_DIGITS]


def script_json(value: Any) -> str:
    """Return JSON in ASCII that is safe in a script, also within a page.

    Raises:
        ValueError: A number that is not finite.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


@final
class SetWriter:
    """Writes a set item by item; a context manager, in which ``close`` makes the set appear.

    Args:
        folder: ``report_files/ID``; an earlier set of that name is replaced on ``close``.
        identity: Small letters, digits and hyphens; unique on the page.
        title: Of the set.
        intro: A sentence or two below the title.
        views: In the order in which they are shown.
        figures: The first is sorted by at first.
        units: What detectors told of each item, if they did.
        window: Temperatures of -1 and 1 in deg C; ``None`` without a temperature scale.
        include_subjects: Write names and subjects; digests otherwise.
        thumb: Side of the small pictures in px, a multiple of 16.

    Raises:
        DataError: Something else lies in the place of the set.
        CycadaError: It cannot be written.
    """

    def __init__(
        self, folder: Path, *, identity: str, title: str, intro: str, views: Sequence[View],
        figures: Sequence[FigureColumn], units: UnitColumns | None,
        window: tuple[float, float] | None, include_subjects: bool, thumb: int = 96,
    ) -> None:  # fmt: skip
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", identity):
            raise ValueError(f"{identity!r} is no name of a set: small letters, digits, hyphens")
        keys = [view.key for view in views]
        if len(set(keys)) < len(keys) or not keys or len(keys) > 8:  # bits of a byte
            raise ValueError("a set has one to eight views of different keys")
        if units and not len(units.names) == len(units.meanings) == len(units.thresholds):
            raise ValueError("every unit has a name, a meaning and a threshold")
        check_place(folder)
        self._folder, self._identity, self._title, self._intro = folder, identity, title, intro
        self._views, self._figures, self._units = tuple(views), tuple(figures), units
        self._window, self._named, self._thumb = window, include_subjects, thumb
        self._count = 0
        self._digest = hashlib.sha256()
        self._names: list[str] = []
        self._words: dict[str, _Words] = {k: _Words() for k in ("split", "domain", "subject")}
        self._values: dict[str, list[float | None]] = {each.key: [] for each in figures}
        self._has = bytearray()
        self._whole = bytearray()
        self._true: list[str] = []
        self._codes: dict[str, bytearray] = {s: bytearray() for s in (units.sides if units else ())}
        self._temporary = temporary_beside(folder)
        try:
            shutil.rmtree(self._temporary, ignore_errors=True)
            (self._temporary / THUMBS_NAME).mkdir(parents=True)
            (self._temporary / FULL_NAME).mkdir()
        except OSError as error:
            raise self._unwritable(error) from error

    def __enter__(self) -> SetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        """Remove what was not closed."""
        shutil.rmtree(self._temporary, ignore_errors=True)

    def add(self, item: Item, *, drawn: bool = True) -> None:
        """Write an item's pictures and keep its figures.

        Args:
            item: All that is known of it.
            drawn: Whether its pictures are written. Else a server makes them when they are asked
                for (:meth:`thumbs`, :meth:`full`, :meth:`whole`), and of ``item.pictures`` the keys
                alone count.

        Raises:
            DataError: A picture holds values that are not finite.
            CycadaError: A file cannot be written.
        """
        self._check(item)
        if drawn:
            thumbs, full = self.thumbs(item), self.full(self._count, item)
            name = f"{self._count:06d}"
            try:
                (self._temporary / THUMBS_NAME / f"{name}.webp").write_bytes(thumbs)
                (self._temporary / FULL_NAME / f"{name}.js").write_text(full, encoding="ascii")
            except OSError as error:
                raise self._unwritable(error) from error
            self._digest.update(thumbs + full.encode("ascii"))
        self._whole += b"0" if drawn else b"1"
        self._count += 1
        self._names.append(item.name if self._named else path_digest(item.name))
        for key, words in self._words.items():
            shown = key != "subject" or self._named
            words.add(getattr(item, key) if shown else "")
        for key, values in self._values.items():
            value = float(item.figures.get(key, math.nan))
            values.append(float(f"{value:.6g}") if math.isfinite(value) else None)
        self._has.append(sum(1 << i for i, v in enumerate(self._views) if v.key in item.pictures))
        if self._units:
            self._add_units(item, self._units)

    def thumbs(self, item: Item) -> bytes:
        """Return the small pictures of an item side by side, as their file holds them."""
        return thumbs_webp([item.pictures.get(v.key) for v in self._views], self._thumb)

    def full(self, number: int, item: Item) -> str:
        """Return the script of an item's exact pictures, as its file holds it."""
        return f"cycadaFull({script_json(self._identity)},{number},{self._full(item)});\n"

    def whole(self, number: int, files: Mapping[str, PictureFile]) -> str:
        """Return the script of an item's pictures in full size, as its file holds it."""
        values = script_json(full_size_values(files, self._window))
        return f"cycadaWhole({script_json(self._identity)},{number},{values});\n"

    def add_full_size(
        self, files: Callable[[int], Mapping[str, PictureFile]], *, side: int,
        most_pixels: int | None, progress: Progress, desc: str,
    ) -> int:  # fmt: skip
        """Write the pictures of the items as they are in their files, the worst items first.

        Those that are squares of the size in which they were added have no more to show.

        Args:
            files: Returns the files of an item, given its number in the set, by view.
            side: Height and width of the pictures that were added, in px.
            most_pixels: Of all that is written together; None: any number. With none no file is
                opened, so the squares count as left out, too.
            progress: Shows the items.
            desc: What it calls them.

        Returns:
            The pixels that were written.

        Raises:
            CycadaError: A file cannot be written.
        """
        folder, used = self._temporary / WHOLE_NAME, 0
        if most_pixels is not None and most_pixels <= 0:
            self._whole[:] = b"2" * self._count
            return used
        for number in progress(self._worst_first(), total=self._count, desc=desc):
            mine = files(number)
            sizes = [size for size in map(_size, mine.values()) if size is not None]
            if all(size == (side, side) for size in sizes):
                continue
            pixels = sum(math.prod(shown_size(size)) for size in sizes)
            if most_pixels is not None and used + pixels > most_pixels:
                self._whole[number] = ord("2")
                continue
            used += pixels
            script = self.whole(number, mine)
            try:
                folder.mkdir(exist_ok=True)
                (folder / f"{number:06d}.js").write_text(script, encoding="ascii")
            except OSError as error:
                raise self._unwritable(error) from error
            self._digest.update(script.encode("ascii"))
            self._whole[number] = ord("1")
        return used

    def _worst_first(self) -> list[int]:
        """Return the numbers of the items as the page sorts them at first."""
        if not self._figures:
            return list(range(self._count))
        first = self._figures[0]
        values, sign = self._values[first.key], -1 if first.worst == "high" else 1
        return sorted(
            range(self._count),
            key=lambda n: (math.inf if (value := values[n]) is None else sign * value, n),
        )

    def close(self) -> GallerySet:
        """Make the set appear under its name, in place of an earlier one.

        Raises:
            CycadaError: It cannot be written.
        """
        columns = self._columns()
        self._digest.update(script_json(columns).encode("ascii"))
        stamp = self._digest.hexdigest()[:_DIGEST_DIGITS]
        columns["stamp"] = stamp
        text = f"{HEAD}{script_json(self._identity)},{script_json(columns)});\n"
        try:
            script = self._temporary / ITEMS_NAME
            script.write_text(text, encoding="ascii")
            sync([script])
            if self._folder.exists():
                shutil.rmtree(self._folder)
            self._temporary.rename(self._folder)
            sync_folder(self._folder.parent)
        except OSError as error:
            raise self._unwritable(error) from error
        return GallerySet(
            identity=self._identity, title=self._title, intro=self._intro, count=self._count,
            folder=self._folder, stamp=stamp,
            thermal=any(view.kind == "thermal" for view in self._views),
        )  # fmt: skip

    def _check(self, item: Item) -> None:
        views = {view.key for view in self._views}
        if odd := set(item.pictures) - views:
            raise ValueError(f"no view of the set is called {', '.join(sorted(odd))}")
        if odd := set(item.figures) - set(self._values):
            raise ValueError(f"no figure of the set is called {', '.join(sorted(odd))}")
        for view in self._views:
            picture = item.pictures.get(view.key)
            if picture is not None and not bool(torch.isfinite(picture).all()):
                raise DataError(
                    f"{item.name}: its picture {view.label!r} holds values that are not finite."
                )

    def _full(self, item: Item) -> str:
        views: dict[str, Any] = {}
        for view in self._views:
            picture = item.pictures.get(view.key)
            if picture is None:
                continue
            size = list(picture.shape[-2:])
            if view.kind == "rgb":
                views[view.key] = {"size": size, "uri": lossless_uri(with_channels(picture, 3))}
            else:
                views[view.key] = {"size": size, "codes": packed_codes(thermal_codes(picture))}
        activation: dict[str, dict[str, Any]] = {}
        for side, units in item.activation.items():
            if max((max(shares.shape) for shares in units.values()), default=0) > (
                _LARGEST_ACTIVATION
            ):
                raise ValueError(f"activations are at most {_LARGEST_ACTIVATION} px wide and high")
            activation[side] = {
                unit: {"size": list(shares.shape), "shares": packed_shares(shares)}
                for unit, shares in units.items()
            }
        return script_json({"views": views, "activation": activation})

    def _add_units(self, item: Item, units: UnitColumns) -> None:
        true = item.true or (None,) * len(units.names)
        if len(true) != len(units.names):
            raise ValueError(f"{len(true)} true values of {len(units.names)} units")
        self._true.append("".join("-" if v is None else "1" if v else "0" for v in true))
        for side, codes in self._codes.items():
            told = item.probability.get(side) or (None,) * len(units.names)
            if len(told) != len(units.names):
                raise ValueError(f"{len(told)} probabilities of {len(units.names)} units")
            coded = [_code(p, t) for p, t in zip(told, units.thresholds, strict=True)]
            codes.extend(np.array(coded, dtype="<u2").tobytes())

    def _columns(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "title": self._title,
            "count": self._count,
            "thumb": self._thumb,
            "window": list(self._window) if self._window else None,
            "named": self._named,
            "views": [asdict(view) for view in self._views],
            "columns": [asdict(figure) for figure in self._figures],
            "units": asdict(self._units) if self._units else None,
            "names": self._names,
            "words": {key: words.columns() for key, words in self._words.items()},
            "figures": self._values,
            "has": base64.b64encode(self._has).decode(),
            "whole": self._whole.decode(),  # each: 0 nothing more to show, 1 there, 2 left out
            "true": "".join(self._true),
            "probability": {
                s: base64.b64encode(codes).decode() for s, codes in self._codes.items()
            },
        }

    def _unwritable(self, error: OSError) -> CycadaError:
        return CycadaError(f"{self._folder}: cannot be written ({error.strerror}).")


class _Words:
    """A column of words of which there are few: each once, and numbers."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._numbers: list[int] = []

    def add(self, word: str) -> None:
        self._numbers.append(self._places.setdefault(word, len(self._places)))

    def columns(self) -> dict[str, Any]:
        return {"values": list(self._places), "places": self._numbers}


def _size(file: PictureFile) -> tuple[int, int] | None:
    try:
        return read_size(file.path)
    except DataError:
        return None


def _code(probability: float | None, threshold: float) -> int:
    """Return a probability as 16 bits, on the side of the threshold where it is."""
    if probability is None or not math.isfinite(probability):
        return _UNKNOWN
    most = _UNKNOWN - 1
    code = round(min(max(probability, 0.0), 1.0) * most)
    if probability >= threshold and code / most < threshold:
        code = min(code + 1, most)
    elif probability < threshold and code / most >= threshold:
        code = max(code - 1, 0)
    return code
