"""RGB faces as thermal ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch
from numpy.typing import NDArray
from torch import Tensor

from cycada import image_reading, image_writing, images, thermal
from cycada.api.pictures import Picture, check_choice, listed, name_of, path_of, pixels_of
from cycada.api.shared import Shared
from cycada.cores import lone_threads
from cycada.data.dataset import scaled_size
from cycada.errors import DataError
from cycada.models.tiling import TILE, padded, translate_any_size
from cycada.stages.flow import in_order
from cycada.stages.sharing import located, opened
from cycada.stages.translate import unit_to_write
from cycada.stages.translate_images import WINDOW, Scale, passes, suits_a_core
from cycada.thermal import Unit, Window
from cycada.training.loading import LoadedTranslator, device_named, load_translator


@dataclass(frozen=True, slots=True)
class ThermalImage:
    """A thermal image that a translator made, with the values that ``cycada translate`` writes."""

    name: str  # of its original: the path, or the place among the images that were given
    pixels: NDArray[Any]  # (H, W) uint8 or uint16
    unit: Unit  # what the pixels count; "grey": no temperatures
    window: Window | None  # deg C that the translator knows; None: it knows no temperatures

    @property
    def celsius(self) -> NDArray[Any] | None:
        """``(H, W)`` float32 in deg C; ``None`` where the translator knows no temperatures."""
        if self.unit == "grey":
            return None
        return thermal.celsius_from_counts(torch.from_numpy(self.pixels), self.unit).numpy()

    def save(self, file: str | Path) -> None:
        """Write the image whole or not at all: PNG or TIFF (uint8: JPEG, too), or NPY.

        Raises:
            DataError: The format cannot hold the values, or the file cannot be written.
        """
        image_writing.write_image(file, torch.from_numpy(self.pixels))


@dataclass(frozen=True, slots=True)
class Translator(Shared):
    """A trained translator of RGB faces into thermal ones.

    >>> import cycada
    >>> translator = cycada.Translator.from_pretrained("runs/translator")
    >>> made = translator.translate(["faces/rgb.png"])
    >>> made[0].pixels.shape, made[0].unit
    ((32, 32), 'centikelvin')
    >>> bool(20 < made[0].celsius.mean() < 40)
    True
    >>> made[0].save("made.png")
    """

    root: Path
    step: int
    loaded: LoadedTranslator = field(repr=False)

    @classmethod
    def from_pretrained(
        cls, path_or_hub_id: str | Path, *, device: str = "auto", revision: str | None = None
    ) -> Translator:
        """Load a translator from a folder, or from the Hugging Face Hub.

        Args:
            path_or_hub_id: A run of ``cycada train-translator``, what :meth:`save_pretrained` has
                written, or ``OWNER/NAME`` on the Hub, which is downloaded. A folder comes first.
            device: ``cpu``, ``cuda``, or ``auto`` for the accelerator if there is one.
            revision: Branch, tag or commit on the Hub; ``None`` for its main branch.

        Raises:
            RunError: It holds no translator that can be used, or cannot be fetched.
            UsageError: There is no such device.
        """
        place = located(path_or_hub_id, "translator", revision=revision)
        loaded = opened(load_translator, place, device_named(device))
        return cls(place.root, place.step, loaded)

    def translate(
        self, pictures: Picture | Iterable[Picture], *, scale: Scale = "fit"
    ) -> list[ThermalImage]:
        """Return the thermal version of each RGB image, in order and in its size.

        Images that are the same for ``cycada translate`` give the same pixels. All results are in
        memory at once; for whole corpora there is ``cycada translate``.

        Args:
            pictures: One or several: paths, arrays ``(H, W, 3)`` or ``(H, W)`` of uint8 or uint16,
                or pictures of Pillow.
            scale: ``fit`` shows the translator every image at the size that it was trained on,
                ``keep`` (whole frames) the pixels as they are.

        Raises:
            DataError: One cannot be read, or holds floats, whose range is unknown.
            UsageError: There is no such scale.
        """
        check_choice("scale", scale, get_args(Scale))
        given = listed(pictures)
        made: list[ThermalImage] = []
        for start in range(0, len(given), WINDOW):
            made += self._window(given, range(start, min(start + WINDOW, len(given))), scale)
        return made

    def _window(
        self, given: Sequence[Picture], window: Sequence[int], scale: Scale
    ) -> list[ThermalImage]:
        """Translate the images of a window, of which those of one pass are decoded at a time."""
        sizes = [_size(given[number], number) for number in window]
        fits = scale == "fit"
        seen = [scaled_size(size, self.loaded.size) if fits else size for size in sizes]
        together = list(passes(sizes, seen, translator=self.loaded))

        def make(places: Sequence[int]) -> list[ThermalImage]:
            return self._made(given, window, places, sizes, seen)

        cores = torch.get_num_threads()
        small = [places for shape, places in together if suits_a_core(self.loaded, shape)]
        large = [places for shape, places in together if not suits_a_core(self.loaded, shape)]
        with lone_threads(cores) as pool:
            made = list(in_order(pool, make, small, ahead=cores))
        made += map(make, large)
        found = {
            place: image
            for places, result in zip((*small, *large), made, strict=True)
            for place, image in zip(places, result, strict=True)
        }
        return [found[place] for place in range(len(window))]

    def _made(
        self, given: Sequence[Picture], window: Sequence[int], places: Sequence[int],
        sizes: Sequence[tuple[int, int]], seen: Sequence[tuple[int, int]],
    ) -> list[ThermalImage]:  # fmt: skip
        """Translate the images of one pass."""
        numbers = [window[place] for place in places]
        names = [str(name_of(given[number], number)) for number in numbers]
        originals = [pixels_of(given[number], number) for number in numbers]
        shown = [
            padded(images.resize(_signed(original, name), seen[place]))
            for original, name, place in zip(originals, names, places, strict=True)
        ]
        results = _pass(self.loaded, torch.stack(shown))
        made = []
        for place, name, original, result in zip(places, names, originals, results, strict=True):
            height, width = seen[place]
            whole = images.resize(result[:, :height, :width], sizes[place])
            made.append(self._image(name, original, whole))
        return made

    def _image(self, name: str, original: Tensor, made: Tensor) -> ThermalImage:
        unit = unit_to_write(self.loaded, "auto")
        dtype = original.dtype if unit == "grey" else torch.uint16
        pixels = images.from_signed(made, dtype=dtype, unit=unit, window=self.loaded.window)
        return ThermalImage(name, pixels[0].numpy(), unit, self.loaded.window)


def _signed(original: Tensor, name: str) -> Tensor:
    try:
        return images.with_channels(images.to_signed(original), 3)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None


def _size(picture: Picture, number: int) -> tuple[int, int]:
    """Return the height and width of an image, of a file without decoding it."""
    path = path_of(picture)
    if path is not None:
        return image_reading.read_size(path)
    height, width = pixels_of(picture, number).shape[-2:]
    return height, width


def _pass(translator: LoadedTranslator, batch: Tensor) -> Tensor:
    if max(batch.shape[-2:]) > TILE:  # such a batch has one image
        return translate_any_size(translator.to_thermal, batch[0])[None]
    return translator.to_thermal(batch)
