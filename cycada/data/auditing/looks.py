"""What is seen of every image file, measured once and kept in a file beside the index."""

from __future__ import annotations

import hashlib
import math
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cycada import image_reading, images
from cycada.data.index import Face, Index, IndexInfo
from cycada.errors import DataError
from cycada.files import replacing
from cycada.progress import Progress
from cycada.stopping import threads

LOOKS_NAME = "audit.npz"
CELLS = 32  # rows and columns of the small copy

PALETTE = 10.0
"""Mean difference of the channels, of 255, above which an image is in colour; a grey JPEG stays
below 2."""

_VERSION = 1  # of what is measured: looks of another version are taken anew
_DETAIL_SIDE = 128  # px to which an image is reduced before its sharpness is measured
_CLEAR = 8.0  # times the noise: details below say nothing of the lens
_LEAST = 100  # pixels without which noise and sharpness are not judged
_QUANTISATION = 0.2  # of a step of the file: finer noise is lost in it
_SAMPLED = 65536  # pixels of which quantiles are taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one image file holds; all values are those of the file, colours as luminance."""

    length: int  # bytes; with ``modified``, tells whether the file has changed
    modified: int  # ns
    problem: str = ""  # why it cannot be read; the rest says nothing then
    bits: int = 0  # 8, 16, or 32 for floats
    channels: int = 0
    height: int = 0  # px
    width: int = 0  # px
    low: float = 0.0  # smallest value
    high: float = 0.0  # largest value
    low_share: float = 0.0  # of the pixels, share that has the smallest value
    high_share: float = 0.0
    dark: float = 0.0  # 1 % quantile
    median: float = 0.0
    bright: float = 0.0  # 99 % quantile
    warm: float = 0.0  # 95 % quantile of the middle, of a thermal face the warm skin
    colour: float = 0.0  # mean difference between the channels, of 255
    noise: float = math.nan  # standard deviation; NaN of images in colour, which need none
    sharpness: float = math.nan  # log2 of fine over coarse detail; NaN, too, where noise hides it
    digest: bytes = b""  # of the decoded pixels; equal images of one channel or three are equal
    cells: bytes = b""  # the image reduced to CELLS x CELLS, from its darkest to its brightest


@dataclass(frozen=True, slots=True)
class Seen:
    """A row of an index, and what was seen of its image."""

    face: Face
    file: Path
    root: Path  # of the index
    info: IndexInfo
    look: Look

    @property
    def place(self) -> str:
        """The file as it is told to the user."""
        return os.path.normpath(self.file)


def look_at_all(indexes: Sequence[Index], *, progress: Progress) -> list[Seen]:
    """Look at every image of the indexes.

    What was seen is kept in ``audit.npz`` beside each ``index.csv``, and read from there while the
    size and the time of a file stay the same. Where nothing can be written, all is looked at anew
    the next time.
    """
    seen = []
    for index in indexes:
        looks = _load(index.root)
        rows = [(face, index.file(face)) for face in index.faces]
        stale = {face.path: file for face, file in rows if not _fresh(looks.get(face.path), file)}
        if stale:
            with threads() as pool:
                found = pool.map(look_at, stale.values())
                shown = progress(found, total=len(stale), desc="looking at images")
                looks.update(zip(stale, shown, strict=True))
            _save(index.root, looks)
        seen += [Seen(face, file, index.root, index.info, looks[face.path]) for face, file in rows]
    return seen


def look_at(file: Path) -> Look:
    """Measure one image; what keeps it from being read is noted, not raised."""
    length, modified = _stat(file)
    try:
        image = image_reading.read_image(file)
    except DataError as error:
        problem = str(error).removeprefix(f"{file}: ").rstrip(".")
        return Look(length=length, modified=modified, problem=problem)
    pixels = image.to(torch.float32)
    grey = images.with_channels(pixels, 1)
    values = grey.numpy()
    low, high = float(values.min()), float(values.max())
    height, width = values.shape[-2:]
    sample = values.reshape(-1)[:: 1 + values.size // _SAMPLED]
    middle = values[0, height // 4 : height - height // 4, width // 4 : width - width // 4]
    dark, median, bright = np.quantile(sample, (0.01, 0.5, 0.99)).tolist()
    bits = {torch.uint8: 8, torch.uint16: 16}.get(image.dtype, 32)
    step, colour = (0.0 if bits == 32 else _QUANTISATION), _colour(pixels, bits)
    grain = (math.nan, math.nan)
    if colour <= PALETTE:
        grain = (_noise(*_middle(grey), step), _sharpness(grey, step))
    return Look(
        length=length, modified=modified, bits=bits, channels=len(image), height=height,
        width=width, low=low, high=high, low_share=float((values == low).mean()),
        high_share=float((values == high).mean()), dark=dark, median=median, bright=bright,
        warm=float(np.quantile(middle, 0.95)), colour=colour,
        noise=grain[0], sharpness=grain[1], digest=_digest(image), cells=_cells(grey),
    )  # fmt: skip


def cells_of(look: Look) -> NDArray[np.float32]:
    """Return the small copy of an image, ``(CELLS, CELLS)``, from 0 to 1."""
    cells = np.frombuffer(look.cells, dtype=np.uint8).reshape(CELLS, CELLS)
    return cells.astype(np.float32) / np.float32(255)


def detail(grey: Tensor) -> Tensor:
    """Return ``(N, H, W)`` images without what is coarser than 5 px, as vectors of length 1.

    Aligned faces are alike as a whole and differ in detail, so this is what tells two images of
    one face from two faces. An image without any detail becomes 0.
    """
    coarse = F.avg_pool2d(grey[:, None], 5, stride=1, padding=2, count_include_pad=False)[:, 0]
    fine = (grey - coarse).flatten(1)
    fine = fine - fine.mean(1, keepdim=True)
    return F.normalize(fine, eps=1e-6)


def readable(seen: Iterable[Seen]) -> list[Seen]:
    """Return the rows whose image can be read."""
    return [one for one in seen if not one.look.problem]


def _stat(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _fresh(look: Look | None, file: Path) -> bool:
    return look is not None and look.length >= 0 and (look.length, look.modified) == _stat(file)


def _digest(image: Tensor) -> bytes:
    if len(image) == 3 and bool((image[0] == image[1]).all() and (image[1] == image[2]).all()):
        image = image[:1]
    known = f"{image.dtype} {tuple(image.shape)} ".encode()
    return hashlib.blake2b(known + image.numpy().tobytes(), digest_size=16).digest()


def _colour(pixels: Tensor, bits: int) -> float:
    """Return the mean difference between the channels; floats are compared with their range."""
    difference = float((pixels.amax(0) - pixels.amin(0)).mean())
    span = {8: 255.0, 16: 65535.0}.get(bits) or max(float(pixels.max() - pixels.min()), 1e-9)
    return difference / span * 255


def _cells(grey: Tensor) -> bytes:
    small = images.resize(grey, CELLS)[0]
    low, high = small.amin(), small.amax()
    share = (small - low) / (high - low).clamp(min=1e-9)
    return (share * 255).round().to(torch.uint8).numpy().tobytes()


def _middle(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Return the middle of an image, and where 9 x 9 px around hold none of its darkest shade.

    Many thermal faces are cut out upon black, whose ragged edge is no detail of the face.
    """
    height, width = grey.shape[-2:]
    part = grey[:, height // 4 : height - height // 4, width // 4 : width - width // 4]
    low, high = part.amin(), part.amax()
    rows = F.max_pool2d(-part[None], (9, 1), stride=1, padding=(4, 0))
    darkest = -F.max_pool2d(rows, (1, 9), stride=1, padding=(0, 4))[0]
    return part, darkest > low + 0.02 * (high - low)


def _noise(part: Tensor, judged: Tensor, least: float) -> float:
    """Return the noise by the median of what no plane explains (after Immerkaer, CVIU 1996)."""
    if int(judged.sum()) < _LEAST:
        return math.nan
    kernel = part.new_tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])
    rough = F.conv2d(part[None], kernel[None, None], padding=1)[0].abs()
    return max(float(rough[judged].median()) / 0.6745 / 6, least)


def _sharpness(grey: Tensor, least: float) -> float:
    """Return log2 of the detail of 3 px over that of 5 to 9 px, at one size for all images."""
    height, width = grey.shape[-2:]
    scale = _DETAIL_SIDE / min(height, width)
    if scale < 1:
        grey = images.resize(grey, (round(height * scale), round(width * scale)))
    part, judged = _middle(grey)
    noise = _noise(part, judged, least)
    if math.isnan(noise):
        return math.nan

    def smooth(window: int) -> Tensor:
        pad = window // 2
        return F.avg_pool2d(part[None], window, stride=1, padding=pad, count_include_pad=False)[0]

    coarse = (smooth(5) - smooth(9)).abs()[judged].numpy()
    clear, usual = np.quantile(coarse, (0.95, 0.8)).tolist()
    if clear < _CLEAR * noise:
        return math.nan
    fine = (part - smooth(3)).abs()[judged].numpy()
    return math.log2((float(np.quantile(fine, 0.8)) + 1e-6) / (usual + 1e-6))


_TEXT = "U256"
_KINDS: Mapping[str, str] = {
    "length": "i8", "modified": "i8", "problem": _TEXT, "bits": "i4", "channels": "i4",
    "height": "i4", "width": "i4", "low": "f8", "high": "f8", "low_share": "f8",
    "high_share": "f8", "dark": "f8", "median": "f8", "bright": "f8", "warm": "f8",
    "colour": "f8", "noise": "f8", "sharpness": "f8", "digest": "S32",
}  # fmt: skip


def _load(root: Path) -> dict[str, Look]:
    """Return what was seen before, nothing where that was another version or is damaged."""
    if not (root / LOOKS_NAME).is_file():
        return {}
    try:
        with np.load(root / LOOKS_NAME, allow_pickle=False) as stored:
            if int(stored["version"]) != _VERSION:
                return {}
            table = {name: stored[name].tolist() for name in _KINDS}
            paths, cells = stored["path"].tolist(), stored["cells"]
            table["digest"] = [bytes.fromhex(text.decode()) for text in table["digest"]]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
    rows = zip(*table.values(), cells, strict=True)
    return {
        path: Look(
            **dict(zip(table, row[:-1], strict=True)),
            cells=b"" if row[2] else row[-1].tobytes(),
        )
        for path, row in zip(paths, rows, strict=True)
    }


def _save(root: Path, looks: Mapping[str, Look]) -> None:
    """Keep what was seen; a folder that cannot be written to only costs time."""
    kept = {path: look for path, look in looks.items() if look.length >= 0}
    columns: dict[str, Any] = {
        name: np.array([_stored(getattr(look, name)) for look in kept.values()], dtype=kind)
        for name, kind in _KINDS.items()
    }
    blank = bytes(CELLS * CELLS)
    cells = np.frombuffer(
        b"".join(look.cells or blank for look in kept.values()), dtype=np.uint8
    ).reshape(len(kept), CELLS * CELLS)
    try:
        with replacing(root / LOOKS_NAME) as temporary:
            np.savez(
                temporary, version=np.array(_VERSION), path=np.array(list(kept), dtype=np.str_),
                cells=cells, **columns,
            )  # fmt: skip
    except OSError:
        return


def _stored(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value
