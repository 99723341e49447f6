"""Make wide frames of phantom faces, as a camera takes them, to look at in full size.

    cycada phantom --subjects 3 --frames-per-subject 2 --size 480 --out phantom
    python tools/whole_frames.py phantom frames
    cycada translate demo/translator frames --out translated
    cycada report translated --out page
    python tools/screenshots.py --whole-frames page/report.html

RGB frames are 5:3 with the height of the phantoms; thermal ones have 4/5 of that, for their cameras
have fewer pixels. What is beside a face is the last column of its image, continued.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cycada import image_reading, image_writing, images
from cycada.data.index import Index, read_index, write_index

_RATIO = 5 / 3
_THERMAL_SCALE = 4 / 5


def main() -> None:
    """Write the frames and their index."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("phantom", type=Path, help="index of cycada phantom")
    parser.add_argument("out", type=Path, help="folder of the new index")
    options = parser.parse_args()
    write_frames(read_index(options.phantom), options.out)


def write_frames(index: Index, out: Path) -> None:
    """Write a frame for every image of an index of phantoms, under the same path."""
    for face in index.faces:
        other = "thermal" if face.domain == "rgb" else "rgb"
        for path, domain in ((face.path, face.domain), (face.pair, other)):
            image = image_reading.read_image(index.root / path)
            image_writing.write_image(
                out / path, _frame(image, 1 if domain == "rgb" else _THERMAL_SCALE)
            )
    write_index(replace(index, root=out))


def _frame(image: Tensor, scale: float) -> Tensor:
    height = round(image.shape[-2] * scale)
    square = images.resize(image.float()[None], height)
    left = (round(height * _RATIO) - height) // 2
    wide = F.pad(square, (left, round(height * _RATIO) - height - left, 0, 0), mode="replicate")
    whole = wide[0].round()
    return whole.to(torch.int32).to(image.dtype)


if __name__ == "__main__":
    main()
