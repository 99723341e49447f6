"""Pages of translators that fail in a known way, to see whether the page betrays them.

One inverts the grey of the photograph; one draws every face perfectly, but AU15 for AU12 and AU12
for AU15. Neither is trained: the faces are phantoms, so what such a translator would make can be
drawn. The detectors of a finished demo judge them.

    python tools/planted_failures.py DEMO OUT
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from cycada import image_reading, image_writing, images, thermal
from cycada.data import phantom
from cycada.data.index import Face, Index, IndexInfo, read_index, write_index
from cycada.data.landmarks import write_landmarks
from cycada.data.sampling import generator
from cycada.metrics.nearest import coarse, nearest
from cycada.progress import Progress
from cycada.report.page import Page, Section, files_folder, write_page
from cycada.stages.phantom import UNIT, WINDOW
from cycada.stages.report_choice import GalleryOptions
from cycada.stages.report_translation import translations
from cycada.thermal import counts_from_celsius
from cycada.training.loading import load_translator

_SWAPPED = (12, 15)
_STRONG = 4.0  # of 5
_FRAMES = 4
_READERS = ("structure", "feature", "target_supervised", "regions")


def main() -> None:
    """Draw the faces and write a page for each translator."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path, help="Folder of a finished `cycada demo`.")
    parser.add_argument("out", type=Path, help="Folder for the faces and the pages.")
    parser.add_argument("--subjects", type=int, default=24)
    parser.add_argument("--count", type=int, default=96, help="Faces of each gallery at most.")
    parser.add_argument("--only", choices=("inverts", "swaps"), help="One of the two.")
    given = parser.parse_args()
    honest = load_translator(given.demo / "translator", torch.device("cpu"))
    index, swapped = draw(given.out / "faces", given.subjects, honest.size)
    real = read_index(given.demo / "faces").select(domain="thermal")
    readers = [given.demo / name for name in _READERS if (given.demo / name).is_dir()]
    makers = {"inverts": Inverts(), "swaps": Swaps(index, swapped)}
    for name, module in makers.items():
        if given.only not in (None, name):
            continue
        file = given.out / f"{name}.html"
        options = GalleryOptions(
            folder=files_folder(file), count=given.count, subjects=False,
            device=torch.device("cpu"), progress=Progress(shown=True),
        )  # fmt: skip
        translator = replace(honest, module=module)  # type: ignore[arg-type]
        shown = translations(
            translator, [index, real], readers, options, title="Translations at a glance"
        )
        glance = [] if shown.glance is None else [shown.glance]
        faces = Section(title="Translations", blocks=shown.blocks)
        write_page(file, Page(title=f"A translator that {name}", sections=(*glance, faces)))


def draw(root: Path, subjects: int, size: int) -> tuple[Index, Tensor]:
    """Draw faces with their true images; return them, and those with two AUs swapped.

    Returns:
        The index, and ``(N, 1, size, size)`` thermal images in [-1, 1] in its order.
    """
    numbers = phantom.PHANTOM_ACTION_UNITS
    one, other = (numbers.index(number) for number in _SWAPPED)
    rows, places, swapped = [], [], []
    for subject in range(subjects):
        drawn = generator(7, "planted", subject)
        identity = phantom.sample_identities(1, generator=drawn).take([0] * _FRAMES)
        units = phantom.sample_intensities(_FRAMES, domain="rgb", generator=drawn)
        units[:, one] = torch.tensor([_STRONG, 0.0, 0.0, _STRONG])
        units[:, other] = torch.tensor([0.0, _STRONG, 0.0, 0.0])
        scene = phantom.sample_scenes(_FRAMES, generator=drawn)
        pair = phantom.render_pair(identity, units, scene, size=size)
        turned = units.clone()
        turned[:, [one, other]] = units[:, [other, one]]
        wrong = phantom.render_celsius(identity, turned, scene, size=size)
        swapped.append(thermal.to_signed(wrong, WINDOW)[:, None])
        points = phantom.landmarks(identity, units, scene, size=size)
        for frame in range(_FRAMES):
            face = Face(
                path=f"rgb/{subject:02d}/{frame}.png", domain="rgb", subject=f"rgb{subject}",
                split="test", frame=frame, pair=f"pairs/{subject:02d}/{frame}.png",
                action_units={n: round(float(v), 2) for n, v in zip(numbers, units[frame],
                                                                    strict=True)},
            )  # fmt: skip
            image_writing.write_image(root / face.path, pair.rgb[frame])
            counts = counts_from_celsius(pair.celsius[frame], UNIT)[None]
            image_writing.write_image(root / face.pair, counts)
            rows.append(face)
            places.append((face.path, points[frame].flatten().tolist()))
    index = Index(root, IndexInfo(kind="intensity", unit=UNIT, window=WINDOW), tuple(rows))
    write_landmarks(root, phantom.LANDMARK_NAMES, places)
    write_index(index)
    return index, torch.cat(swapped)


class Inverts(nn.Module):
    """Takes what is dark for warm."""

    def to_thermal(self, rgb: Tensor) -> Tensor:
        """Return ``(B, 1, H, W)``."""
        return -images.with_channels(rgb, 1)

    def to_rgb(self, made: Tensor) -> Tensor:
        """Return ``(B, 3, H, W)``."""
        return images.with_channels(-made, 3)


class Swaps(nn.Module):
    """Draws the drawn faces as they are, but for two AUs; others it inverts."""

    def __init__(self, index: Index, swapped: Tensor) -> None:
        super().__init__()
        files = [index.file(face) for face in index.faces]
        self.rgb = torch.stack([images.to_signed(image_reading.read_image(file)) for file in files])
        self.thermal = swapped

    def to_thermal(self, rgb: Tensor) -> Tensor:
        """Return ``(B, 1, H, W)``."""
        return self._looked_up(rgb, self.rgb, self.thermal)

    def to_rgb(self, made: Tensor) -> Tensor:
        """Return ``(B, 3, H, W)``."""
        return self._looked_up(made, self.thermal, self.rgb)

    def _looked_up(self, pictures: Tensor, known: Tensor, answers: Tensor) -> Tensor:
        _, rows = nearest(coarse(pictures), coarse(known))
        return answers[rows]


if __name__ == "__main__":
    main()
