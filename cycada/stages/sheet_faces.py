"""The faces of a contact sheet: which there are in all sources, and which of them are shown."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from cycada import image_reading, images
from cycada.data.folders import find_images
from cycada.data.index import CSV_NAME, SPLITS, Domain, Face, Index, IndexInfo, read_index
from cycada.data.index_checks import check_links
from cycada.data.sampling import generator
from cycada.errors import DataError, UsageError
from cycada.thermal import Unit, Window

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images of faces, of one domain."""

    path: Path  # as it was given
    domain: Domain
    index: Index  # with the faces of that domain alone
    plain: bool = False  # a folder without an index

    @property
    def translated(self) -> bool:
        """Whether its faces are made of others."""
        return bool(self.index.info.translator) or any(face.origin for face in self.index.faces)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.index.root.resolve().name


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file, and how to read it."""

    file: Path
    domain: Domain
    unit: Unit = "grey"
    own: Window | None = None  # deg C that its index says it spans

    @property
    def window(self) -> Window | None:
        """The temperatures that it spans; ``None`` where it has none."""
        return None if self.unit == "grey" else self.own

    def read(self, window: Window | None) -> Tensor:
        """Return it as ``(3, H, W)`` RGB or ``(1, H, W)`` thermal in [-1, 1].

        Args:
            window: Deg C of -1 and 1, for temperatures.

        Raises:
            DataError: It cannot be read.
        """
        image = image_reading.read_image(self.file)
        try:
            signed = images.to_signed(image, unit=self.unit, window=window)
        except DataError as error:
            raise DataError(f"{self.file}: {error}") from None
        return images.with_channels(signed, 3 if self.domain == "rgb" else 1)


@dataclass(frozen=True, slots=True)
class Column:
    """A face, and where it is in the datasets."""

    name: str  # its path in the dataset that the faces are chosen from
    subject: str
    split: str
    source: Picture | None
    truth: Picture | None  # the same face in the other domain
    shown: tuple[Picture, ...] = ()  # in the other datasets


def read_dataset(path: Path, *, domain: Domain, unit: Unit | None, allow_outside: bool) -> Dataset:
    """Read an index, or the images of a plain folder.

    Args:
        path: Of the index or the folder.
        domain: Whose faces are taken from an index that has both.
        unit: What deeper grey images of a plain folder count.
        allow_outside: Believe paths of an index from elsewhere that leave its folder.

    Raises:
        DataError: There is nothing, or it cannot be read.
    """
    if (path / CSV_NAME).is_file() or path.name == CSV_NAME:
        index = read_index(path, allow_outside=allow_outside)
        check_links(index)
        there = {face.domain for face in index.faces}
        own = domain if domain in there else next(iter(there))
        return Dataset(path, own, index.select(domain=own))
    found = find_images(path, "rgb")
    first = image_reading.read_image(found[0].file)
    kind: Domain = "rgb" if len(first) == 3 else "thermal"
    if kind == "thermal" and first.dtype != torch.uint8 and unit is None:
        raise DataError(
            f"{found[0].file}: has more than 8 bits; say with --unit what they count (such as "
            "centikelvin), or make an index with cycada index."
        )
    eight_bits = first.dtype == torch.uint8
    info = IndexInfo(kind="none", unit="grey" if eight_bits or unit is None else unit)
    faces = tuple(
        Face(path=each.relative, domain=kind, subject=each.relative, split="test") for each in found
    )
    return Dataset(path, kind, Index(path, info, faces), plain=True)


def columns_of(base: Dataset, others: Sequence[Dataset]) -> list[Column]:
    """Return the faces of ``base`` that are in all ``others``, too.

    A translated face is that of its origin, another one that of its pair; where neither tells, the
    same path but for the suffix does.

    Raises:
        DataError: There is none.
    """
    columns = [_column(base, face) for face in base.index.faces]
    for other in others:
        finder = Finder(other)
        found = ((column, finder(column)) for column in columns)
        columns = [
            replace(column, shown=(*column.shown, picture)) for column, picture in found if picture
        ]
        if not columns:
            raise DataError(
                f"{other.path}: shows none of the faces of {base.path}"
                f"{' that the others show' if len(others) > 1 else ''}: neither origin nor pair "
                "nor path of an image is that of one of them."
            )
    return columns


def choose(
    columns: Sequence[Column], *, count: int, faces: Sequence[str], seed: int | None
) -> list[Column]:
    """Return the faces to show.

    Args:
        columns: All that could be.
        count: How many are wanted; there may be fewer.
        faces: Their paths, to show these in this order; or none.
        seed: Draws subjects and their faces; ``None`` takes first faces of subjects, evenly.

    Returns:
        Of test subjects if there are any, else of validation, else of training subjects; of as
        many different ones as there are.

    Raises:
        UsageError: A path is none of a face that could be shown.
    """
    if faces:
        known = {column.name: column for column in columns}
        for name in faces:
            if name not in known:
                raise UsageError(
                    f"--face {name}: is no path of a face that all sources show, such as "
                    f"{columns[0].name}."
                )
        return [known[name] for name in faces]
    split = next(s for s in reversed(SPLITS) if any(column.split == s for column in columns))
    by_subject: dict[str, list[Column]] = {}
    for column in columns:
        if column.split == split:
            by_subject.setdefault(column.subject, []).append(column)
    subjects = list(by_subject.values())
    if seed is not None:
        draw = generator(seed, "sheet")
        subjects = [_shuffled(each, draw) for each in _shuffled(subjects, draw)]
    elif len(subjects) > count:
        subjects = [subjects[place * len(subjects) // count] for place in range(count)]
    rounds = max(map(len, subjects))
    in_turn = [each[turn] for turn in range(rounds) for each in subjects if turn < len(each)]
    taken = in_turn[:count]
    # Faces of one subject side by side, in the order of the index.
    order = {column.name: place for place, column in enumerate(columns)}
    return sorted(taken, key=lambda column: order[column.name]) if seed is None else taken


def named(usual: Sequence[str], given: Sequence[str], *, what: str) -> Sequence[str]:
    """Return the labels that were given, or else the usual ones.

    Args:
        usual: One for each row or sequence.
        given: By the user; may be none.
        what: Rows or sequences.

    Raises:
        UsageError: There are more or fewer, or two usual ones are the same.
    """
    listed = f"{len(usual)} {what} ({', '.join(usual)})"
    if given and len(given) != len(usual):
        raise UsageError(f"--label was given {len(given)} times, but there are {listed}.")
    twice = next((label for label in usual if usual.count(label) > 1), "")
    if twice and not given:
        raise UsageError(f"two would be called {twice!r}; give a --label to each of the {listed}.")
    return given or usual


def _shuffled(items: Sequence[T], draw: torch.Generator) -> list[T]:
    return [items[place] for place in torch.randperm(len(items), generator=draw).tolist()]


def _column(base: Dataset, face: Face) -> Column:
    info, root = base.index.info, base.index.root
    other: Domain = "thermal" if base.domain == "rgb" else "rgb"
    own = Picture(root / face.path, base.domain, *_unit(info, base.domain))
    if not base.translated:
        truth = _there(root, face.pair, other, info)
        return Column(face.path, face.subject, face.split, own, truth)
    source = _there(root, face.origin, other, info)
    return Column(
        face.path, face.subject, face.split, source, _there(root, face.pair, base.domain, info),
        (own,),
    )  # fmt: skip


def _there(root: Path, path: str, domain: Domain, info: IndexInfo) -> Picture | None:
    file = root / path
    return Picture(file, domain, *_unit(info, domain)) if path and file.is_file() else None


def _unit(info: IndexInfo, domain: Domain) -> tuple[Unit, Window | None]:
    if domain == "rgb" or info.unit == "grey":
        return "grey", None
    return info.unit, info.window


class _Key(NamedTuple):
    kind: str
    text: str


class Finder:
    """Finds the pictures of faces in a dataset."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.faces: dict[_Key, Face] = {}
        root = _place(dataset.index.root)
        for face in dataset.index.faces:
            for key in self._keys(face, root):
                self.faces.setdefault(key, face)

    def _keys(self, face: Face, root: str) -> Iterable[_Key]:
        yield _Key("file", _joined(root, face.path))
        kind, other = ("origin", face.origin) if face.origin else ("pair", face.pair)
        place = _joined(root, other) if other else ""
        if place:
            yield _Key(kind, place)
        # Datasets often call their images alike. Where origin or pair tells whose a face is, and
        # is there, its path tells nothing.
        if not place or not os.path.exists(place):  # noqa: PTH110  # see _joined
            yield _Key("path", _stem(face.path))

    def __call__(self, column: Column) -> Picture | None:
        """Return the picture of a face, ``None`` where there is none."""
        keys: list[_Key] = []
        if column.source is not None:
            place = _place(column.source.file)
            keys += [_Key(kind, place) for kind in ("origin", "pair", "file")]
        if column.truth is not None:
            keys.append(_Key("file", _place(column.truth.file)))
        keys.append(_Key("path", _stem(column.name)))
        face = next((self.faces[key] for key in keys if key in self.faces), None)
        if face is None:
            return None
        index, domain = self.dataset.index, self.dataset.domain
        return Picture(index.root / face.path, domain, *_unit(index.info, domain))


def _place(path: Path) -> str:
    return os.path.realpath(path)


def _joined(root: str, path: str) -> str:
    return os.path.realpath(os.path.join(root, path))  # noqa: PTH118  # paths take ten times as long


def _stem(path: str) -> str:
    return PurePosixPath(path).with_suffix("").as_posix()
