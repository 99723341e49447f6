"""What may be given as an image: a file, an array, or a picture of Pillow."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cycada import image_reading
from cycada.errors import UsageError

Picture = str | os.PathLike[str] | NDArray[Any] | Image.Image
"""A path; an array ``(H, W)`` or ``(H, W, 1 or 3)`` with the values of a file; or a picture."""


def listed(given: Picture | Iterable[Picture]) -> list[Picture]:
    """Return the images that were given, one or several, as a list.

    Raises:
        TypeError: Something among them is no image.
    """
    alone = isinstance(given, str | os.PathLike | np.ndarray | Image.Image)
    pictures: list[Any] = [given] if alone else list(given)  # type: ignore[arg-type]
    for picture in pictures:
        if not isinstance(picture, str | os.PathLike | np.ndarray | Image.Image):
            raise TypeError(
                f"expected paths, numpy arrays or pictures of Pillow, found {type(picture)!r}"
            )
    return pictures


def check_choice(name: str, given: object, choices: Sequence[object]) -> None:
    """Refuse an argument that is none of those there are.

    Raises:
        UsageError: Naming it and them.
    """
    if given not in choices:
        told = ", ".join(map(repr, choices))
        raise UsageError(f"{name}: expected one of {told}, found {given!r}.")


def path_of(picture: Picture) -> Path | None:
    """Return the path that was given, ``None`` for what is in memory."""
    return Path(picture) if isinstance(picture, str | os.PathLike) else None


def name_of(picture: Picture, number: int) -> Path:
    """Return what errors and tables call an image: its path, or its place among the others."""
    return path_of(picture) or Path(f"image-{number}")


def pixels_of(picture: Picture, number: int) -> Tensor:
    """Return ``(C, H, W)`` with the values of the file, or those that are in memory.

    Raises:
        DataError: It cannot be read, or is no image.
    """
    name = name_of(picture, number)
    if isinstance(picture, np.ndarray):
        return image_reading.from_array(picture, name)
    if isinstance(picture, Image.Image):
        return image_reading.from_pillow(picture, name)
    return image_reading.read_image(name)
