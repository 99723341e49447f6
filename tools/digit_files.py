"""Read MNIST, USPS and SVHN as they are published, and write two of them as an index.

The digits are the usual check of domain adaptation. In the index the source takes the place of
the faces in RGB and the target that of the thermal ones, so that everything runs on it unchanged.
"""

from __future__ import annotations

import gzip
import importlib
import io
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cycada.data.index import (
    CSV_NAME,
    DOMAINS,
    Domain,
    Face,
    Index,
    IndexInfo,
    Split,
    read_index,
    write_index,
)
from cycada.data.index_checks import check_files
from cycada.errors import DataError, UsageError
from cycada.progress import Progress

Corpus = Literal["mnist", "usps", "svhn"]
Part = Literal["train", "test"]

PARTS: tuple[Part, ...] = get_args(Part)

_IDX_PARTS = ("train", "t10k")  # as the idx files call them
_IDX_IMAGES, _IDX_LABELS = 2051, 2049  # unsigned bytes with 3 and 1 dimensions
_USPS_SIDE = 16  # px
_ROW = 1 + _USPS_SIDE**2


class Digits(NamedTuple):
    """One part of a corpus."""

    images: NDArray[np.uint8]  # (N, H, W), or (N, H, W, 3) in RGB; 0 to 255
    labels: NDArray[np.int64]  # (N,), 0 to 9


class _Kind(NamedTuple):
    """One of the ways in which a corpus is published."""

    names: tuple[str, ...]
    read: Callable[..., dict[Part, Digits]]  # takes the files in the order of their names


def read_digits(corpus: Corpus, folder: Path) -> dict[Part, Digits]:
    """Read a corpus from the files in which it is published, the first kind that is whole.

    - MNIST: four idx files, such as ``train-images-idx3-ubyte``, or Keras' ``mnist.npz``.
    - USPS: ``zip.train`` and ``zip.test``, or ``usps.npz`` with arrays named as in Keras'.
    - SVHN: ``train_32x32.mat`` and ``test_32x32.mat``; needs SciPy.

    Each file may be gzip-compressed (``.gz``).

    Args:
        corpus: which digits.
        folder: where they lie, or where the folder ``mnist``, ``mnist/raw`` or ``MNIST/raw`` with
            them does (of the other corpora accordingly).

    Returns:
        The training and the test images, N at least 1: ``(N, 28, 28)`` of MNIST, ``(N, 16, 16)``
        of USPS (-1 became 0 and 1 became 255), ``(N, 32, 32, 3)`` of SVHN (10 became the label 0).

    Raises:
        DataError: there are no such files, or one of them is broken or contradicts another.
        UsageError: SciPy is needed and missing.
    """
    kinds = _kinds(corpus)
    places = [folder, folder / corpus, folder / corpus / "raw", folder / corpus.upper() / "raw"]
    lacking = ""
    for place in places:
        for kind in kinds:
            files = [_spelled(place, name) for name in kind.names]
            found = [file for file in files if file is not None]
            if len(found) == len(files):
                return kind.read(*found)
            if found:
                lacking = f"; beside {found[0]} there is no {kind.names[files.index(None)]}"
    names = ", or ".join(" and ".join(kind.names) for kind in kinds)
    raise DataError(
        f"{folder}: {corpus} is not there; looked for {names} (also with .gz) in "
        f"{', '.join(map(str, places))}{lacking}."
    )


def write_index_of_digits(
    source: tuple[Corpus, Mapping[Part, Digits]],
    target: tuple[Corpus, Mapping[Part, Digits]],
    out: Path,
    *,
    validation: int,
    seed: int,
    progress: Progress,
) -> Index:
    """Write the digits as 8-bit PNGs and the index of their classes, or keep the one of before.

    The source becomes the domain "rgb", grey or in colour as it is; the target becomes "thermal",
    grey (of colours the luminance, ITU-R BT.601). Sizes stay. Nothing is known of the writers, so
    every image is a subject of its own, such as ``mnist-train-00017`` in ``rgb/train/00017.png``.

    The split "test" is the corpus's own; "val" is drawn from its training images, the same ones
    whatever the other corpus is, and "train" is the rest. Files are thus numbered and foldered by
    the corpus, not by the split. The index is written last: it is there only with all images.

    Args:
        source: name and content of the corpus with labels to learn from.
        target: the same of another corpus.
        out: folder of the index.
        validation: images of each corpus in "val"; at least 0 and fewer than it trains on.
        seed: decides which.
        progress: shows how many images are written.

    Returns:
        The index as it reads, of kind "class" with the labels "0" to "9".

    Raises:
        DataError: ``out`` holds another index or lacks images of this one; a corpus is too small
            for ``validation``, or is its own target; or a file cannot be written.
    """
    if source[0] == target[0]:
        raise DataError(f"{source[0]} cannot be both the source and the target.")
    info = IndexInfo(kind="class", unit="grey", source=f"{source[0]} -> {target[0]}")
    faces: list[Face] = []
    pictures: list[NDArray[np.uint8]] = []
    for domain, (corpus, parts) in zip(DOMAINS, (source, target), strict=True):
        splits = _splits(corpus, parts, validation, seed)
        for part in PARTS:
            faces += _faces(domain, corpus, part, parts[part].labels, splits[part])
            pictures += list(parts[part].images)
    index = Index(out, info, tuple(faces))
    if (out / CSV_NAME).exists():
        return _kept(index)
    _write_images(index, pictures, progress)
    write_index(index)
    return read_index(out)


def _kinds(corpus: Corpus) -> tuple[_Kind, ...]:
    if corpus == "mnist":
        idx = [(f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte") for part in _IDX_PARTS]
        return _Kind((*idx[0], *idx[1]), _read_idx), _Kind(("mnist.npz",), _read_npz)
    if corpus == "usps":
        # No idx files: nothing would tell them from those of MNIST in the same folder.
        return _Kind(("zip.train", "zip.test"), _read_zip), _Kind(("usps.npz",), _read_npz)
    return (_Kind(("train_32x32.mat", "test_32x32.mat"), _read_mat),)


def _spelled(place: Path, name: str) -> Path | None:
    for spelling in (name, name.replace("-idx", ".idx")):
        for file in (place / spelling, place / f"{spelling}.gz"):
            if file.is_file():
                return file
    return None


@contextmanager
def _content(file: Path, kind: str) -> Iterator[bytes]:
    """Yield what ``file`` holds, unpacked; say so if it or the block cannot make sense of it."""
    try:
        content = file.read_bytes()
        yield gzip.decompress(content) if file.suffix == ".gz" else content
    except DataError:
        raise
    except Exception as error:  # decoders raise anything on broken bytes
        reason = (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__
        raise DataError(
            f"{file}: cannot be read as {kind}, or not to its end ({reason})."
        ) from error


def _read_idx(*files: Path) -> dict[Part, Digits]:
    parts: dict[Part, Digits] = {}
    for part, images, labels in zip(PARTS, files[::2], files[1::2], strict=True):
        pixels, digits = _idx(images, _IDX_IMAGES), _idx(labels, _IDX_LABELS)
        parts[part] = _checked(pixels, digits, images, labels)
    return parts


def _idx(file: Path, magic: int) -> NDArray[np.uint8]:
    with _content(file, "an idx file") as content:
        (found,) = struct.unpack_from(">I", content)
        if found != magic:
            raise DataError(f"{file}: expected the magic number {magic}, found {found}.")
        shape = struct.unpack_from(f">{magic % 256}I", content, 4)
        start = 4 + 4 * len(shape)
        if len(content) != start + math.prod(shape):
            raise DataError(
                f"{file}: expected {start + math.prod(shape)} bytes for the shape {shape}, "
                f"found {len(content)}."
            )
        return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _read_npz(file: Path) -> dict[Part, Digits]:
    with (
        _content(file, "an NPZ file with x_train, y_train, x_test and y_test") as content,
        np.load(io.BytesIO(content), allow_pickle=False) as arrays,
    ):
        return {
            part: _checked(arrays[f"x_{part}"], arrays[f"y_{part}"], file, file) for part in PARTS
        }


def _read_zip(*files: Path) -> dict[Part, Digits]:
    parts: dict[Part, Digits] = {}
    for part, file in zip(PARTS, files, strict=True):
        with _content(file, "rows of a label and 256 grey values") as content:
            # loadtxt would warn of a file without rows.
            lines = [line for line in content.decode("ascii").splitlines() if line.strip()]
            rows = np.loadtxt(lines, comments=None, ndmin=2) if lines else np.empty((0, _ROW))
        if rows.shape[1] != _ROW:
            raise DataError(f"{file}: expected {_ROW} numbers in each row, found {rows.shape[1]}.")
        labels, values = rows[:, 0], rows[:, 1:]
        if not (np.abs(values) <= 1).all():
            raise DataError(f"{file}: expected grey values from -1 to 1, found others.")
        pixels = np.round((values + 1) / 2 * 255).astype(np.uint8)
        parts[part] = _checked(pixels.reshape(-1, _USPS_SIDE, _USPS_SIDE), labels, file, file)
    return parts


def _read_mat(*files: Path) -> dict[Part, Digits]:
    try:
        scipy_io: Any = importlib.import_module("scipy.io")
    except ImportError:
        raise UsageError("SciPy, which reads SVHN, is missing: pip install scipy.") from None
    parts: dict[Part, Digits] = {}
    for part, file in zip(PARTS, files, strict=True):
        with _content(file, "a MATLAB file with X and y") as content:
            arrays = scipy_io.loadmat(io.BytesIO(content), variable_names=("X", "y"))
            pixels, labels = arrays["X"].transpose(3, 0, 1, 2), arrays["y"].reshape(-1)
        parts[part] = _checked(pixels, np.where(labels == 10, 0, labels), file, file)
    return parts


def _checked(
    images: NDArray[Any], labels: NDArray[Any], image_file: Path, label_file: Path
) -> Digits:
    """Return them as ``Digits``, or refuse what is none."""
    if images.size == 0:
        raise DataError(f"{image_file}: holds no images.")
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[3:] not in ((), (3,)):
        raise DataError(
            f"{image_file}: expected images (N, H, W) or (N, H, W, 3) of uint8, "
            f"found {images.shape} of {images.dtype}."
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iuf":
        raise DataError(
            f"{label_file}: expected labels (N,) of integers, "
            f"found {labels.shape} of {labels.dtype}."
        )
    if len(images) != len(labels):
        raise DataError(
            f"{image_file}: holds {len(images)} images, but {label_file} {len(labels)} labels."
        )
    wrong = np.flatnonzero(~np.isin(labels, range(10)))
    if len(wrong):
        raise DataError(
            f"{label_file}: expected labels from 0 to 9, found {labels[wrong[0]]:g} "
            f"for image {wrong[0]}, counted from 0."
        )
    return Digits(np.ascontiguousarray(images), labels.astype(np.int64))


def _splits(
    corpus: Corpus, parts: Mapping[Part, Digits], validation: int, seed: int
) -> dict[Part, list[Split]]:
    """Return the split of each image."""
    total = len(parts["train"].labels)
    if not 0 <= validation < total:
        raise DataError(
            f"{corpus}: expected from 0 to {total - 1} of its {total} training images "
            f"for validation, found {validation}."
        )
    drawn = set(np.random.default_rng(seed).permutation(total)[:validation].tolist())
    return {
        "train": ["val" if number in drawn else "train" for number in range(total)],
        "test": ["test"] * len(parts["test"].labels),
    }


def _faces(
    domain: Domain, corpus: Corpus, part: Part, labels: NDArray[np.int64], splits: list[Split]
) -> Iterator[Face]:
    for number, (label, split) in enumerate(zip(labels.tolist(), splits, strict=True)):
        yield Face(
            path=f"{domain}/{part}/{number:05d}.png",
            domain=domain,
            subject=f"{corpus}-{part}-{number:05d}",
            split=split,
            label=str(label),
        )


def _kept(wanted: Index) -> Index:
    """Return the index that is there already, or refuse it."""
    found = read_index(wanted.root)
    if found.info.source != wanted.info.source:
        raise DataError(
            f"{wanted.root}: holds an index of {found.info.source or 'another source'}, "
            f"not of {wanted.info.source}; choose another folder."
        )
    if found != wanted:
        raise DataError(
            f"{wanted.root}: holds an index of {found.info.source} with other labels, sizes or "
            f"draws for validation than asked for now; choose another folder."
        )
    check_files(found)
    return found


def _write_images(index: Index, pictures: list[NDArray[np.uint8]], progress: Progress) -> None:
    files = [index.file(face) for face in index.faces]
    domains = [face.domain for face in index.faces]
    pool = ThreadPoolExecutor()
    try:
        for folder in {file.parent for file in files}:
            folder.mkdir(parents=True, exist_ok=True)
        written = pool.map(_write_image, files, pictures, domains)
        for _ in progress(written, total=len(files), desc="writing digits"):
            pass
    except OSError as error:
        raise DataError(f"{index.root}: the digits cannot be written ({error}).") from error
    finally:
        pool.shutdown(cancel_futures=True)  # an interruption need not wait for all the rest


def _write_image(file: Path, pixels: NDArray[np.uint8], domain: Domain) -> None:
    picture = Image.fromarray(pixels)
    if domain == "thermal":
        picture = picture.convert("L")  # by ITU-R BT.601
    picture.save(file, compress_level=1)  # the fastest: these files are small anyway
