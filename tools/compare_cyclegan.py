"""Bring a generator of the widely used PyTorch CycleGAN code over, for ``cycada translate``.

    python tools/compare_cyclegan.py latest_net_G_A.pth --back latest_net_G_B.pth --out runs/theirs
    cycada translate runs/theirs data/rgb --out data/translated

The first checkpoint turns RGB into thermal, ``--back`` thermal into RGB. Only the weights are read,
never a pickle. Before anything is written, the networks that cycada will use are compared with the
paper's, as ``textbook.py`` has it, on random images. See docs/coming-over.md.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import textbook
import torch
from ending import run_tool
from torch import Tensor

from cycada import images
from cycada.config import GeneratorConfig, TranslatorConfig
from cycada.data.index import Index, read_index
from cycada.data.subjects import DIGESTS_KEY, digests_of
from cycada.errors import DataError, RunError, UsageError
from cycada.locking import holds_anything, sole_writer
from cycada.models.cyclegan import CycleGANGenerator, CycleGANGenerators, CycleGANShape
from cycada.thermal import Unit, Window
from cycada.training.run import open_run
from cycada.training.run_reading import FOREIGN_KEY
from cycada.weights import read_tensors

CLOSE = 1e-5
"""Largest difference to the textbook's network, of images in [-1, 1]."""

_WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
_LEFTOVERS = ("running_mean", "running_var", "num_batches_tracked")
_FIRST_BLOCK = 10  # three layers with their padding, normalisation and activation come before
_WIDEST, _DEEPEST = 1024, 64  # channels of the first layer, blocks; theirs have 64 and 9
_DROPPED = {"6": "5"}  # where a block has dropout, its second convolution comes one later
_IMAGES, _SIDE = 4, 64  # of the comparison


class Theirs(NamedTuple):
    """A generator out of a checkpoint."""

    shape: CycleGANShape
    weights: dict[str, Tensor]  # by the names of CycleGANGenerator


def main() -> None:
    """Read the checkpoints, compare, and write the run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="Of the generator from RGB to thermal.")
    parser.add_argument("--back", type=Path, help="That of the generator from thermal to RGB.")
    parser.add_argument("--out", type=Path, required=True, help="Folder of the new run.")
    parser.add_argument(
        "--size", type=int, default=256, metavar="PX",
        help="Side of the images that it was trained on: crop_size there (default: 256).",
    )  # fmt: skip
    parser.add_argument(
        "--window", type=float, nargs=2, metavar=("LOW", "HIGH"),
        help="Temperatures of black and white in its thermal images, in deg C, if they had any.",
    )  # fmt: skip
    parser.add_argument(
        "--data", type=Path, action="append", default=[], metavar="INDEX",
        help="Index of faces that it was trained on; repeatable. Pages show them, and nobody is "
        "evaluated whom it knows.",
    )  # fmt: skip
    given = parser.parse_args()
    difference = bring_over(
        given.checkpoint, given.back, given.out, size=given.size, data=given.data,
        window=Window(*given.window) if given.window else None,
    )  # fmt: skip
    print(f"differs from the textbook's network by {difference:.1e} at most (images in [-1, 1])")
    if not given.data:
        print(
            "Whom it has learned from is not known: give their indexes with --data, or see to it "
            "yourself that nobody is evaluated whom it knows."
        )
    print(f"cycada translate {given.out} SOURCE --out OUT")


def bring_over(
    checkpoint: Path, back: Path | None, out: Path, *, size: int, data: list[Path],
    window: Window | None,
) -> float:  # fmt: skip
    """Write a run that ``cycada translate`` and the other verbs read.

    Args:
        checkpoint: Of the generator from RGB to thermal.
        back: Of that from thermal to RGB; ``None`` leaves that direction out.
        out: Folder of the new run.
        size: Shorter side in px of the images that it is shown.
        data: Indexes of the faces that it has learned from, for pages and against leaks.
        window: Temperatures of -1 and 1 of its thermal images; ``None``: they had none.

    Returns:
        The largest difference to the textbook's network, of images in [-1, 1].

    Raises:
        CycadaError: A checkpoint is none of such a generator, an index cannot be read, or ``out``
            is not empty.
    """
    if size < 16 or size % 4:
        raise UsageError(f"--size must be a multiple of 4, from 16 on, found {size}.")
    if out.exists() and (not out.is_dir() or holds_anything(out)):
        raise RunError(f"{out}: is not empty; choose another --out.")
    given = [(read_generator(file), file) for file in (checkpoint, back) if file is not None]
    indexes = [read_index(path) for path in data]
    for path, index in zip(data, indexes, strict=True):
        _check_window(path, index, window)
    networks = CycleGANGenerators(given[0][0].shape, given[1][0].shape if back else None)
    difference = 0.0
    for (theirs, file), ours in zip(given, (networks.to_thermal, networks.to_rgb), strict=False):
        assert ours is not None  # noqa: S101 - one for each that was given
        ours.load_state_dict(theirs.weights)
        difference = max(difference, difference_to_textbook(ours.eval(), theirs))
        if not difference <= CLOSE:
            raise DataError(
                f"{file}: the networks made of it differ by {difference:.1e}, more than {CLOSE:g}, "
                "from the textbook's; please tell us."
            )
    learned = {face.subject for index in indexes for face in index.faces if face.split == "train"}
    about = {
        "window": None if window is None else [window.low, window.high],
        "unit": _unit(window),
        DIGESTS_KEY: sorted(
            digests_of(learned).union(*(index.info.seen for index in indexes))
        ),
        FOREIGN_KEY: networks.to_json(),
    }  # fmt: skip
    shape = given[0][0].shape
    config = TranslatorConfig(
        data=tuple(map(str, data)), size=size, steps=1, mixed_precision="no", trackers=(),
        generator=GeneratorConfig(width=shape.width, blocks=shape.blocks, skips=False),
    )  # fmt: skip
    with sole_writer(out):
        inputs = {str(path): index.fingerprint() for path, index in zip(data, indexes, strict=True)}
        run = open_run(
            out, "translator", config, writes=True, inputs=inputs, trained_with="CycleGAN"
        )
        run.save(1, state={}, weights={"generators": networks}, about=about, keep=1)
    return difference


def _check_window(path: Path, index: Index, window: Window | None) -> None:
    """Refuse thermal faces whose black and white are other temperatures than was told."""
    if not any(face.domain == "thermal" for face in index.faces):
        return
    own = None if index.info.unit == "grey" else index.info.window
    if own != window:
        raise UsageError(
            f"--data {path}: its thermal images span {_told(own)}, and --window tells "
            f"{_told(window)}; give the one that it was trained with."
        )


def _told(window: Window | None) -> str:
    return "no temperatures" if window is None else f"{window.low:g} to {window.high:g} deg C"


def read_generator(file: Path) -> Theirs:
    """Return the generator that a checkpoint holds.

    Raises:
        DataError: It holds something else; says what, where that can be told.
    """
    found = _whole(read_tensors(file), file)
    if other := _other_network(found):
        raise DataError(f"{file}: {other}; the ResNet generator of CycleGAN is read.")
    weights = {
        _without_dropout(name): value.float()
        for name, value in found.items()
        if name.rpartition(".")[2] not in _LEFTOVERS
    }
    if len(weights) < sum(name.rpartition(".")[2] not in _LEFTOVERS for name in found):
        raise DataError(f"{file}: holds a convolution of a block both with dropout and without.")
    shape = _shape(weights)
    if shape is not None and (shape.width > _WIDEST or shape.blocks > _DEEPEST):
        raise DataError(
            f"{file}: has {shape.width} channels and {shape.blocks} blocks; up to {_WIDEST} and "
            f"{_DEEPEST} are read."
        )
    with torch.device("meta"):  # the shapes alone
        expected = CycleGANGenerator(shape, made_channels=1).state_dict() if shape else {}
    for name, value in expected.items():
        if name not in weights:
            raise DataError(f"{file}: is no whole ResNet generator of CycleGAN: it lacks {name}.")
        if weights[name].shape != value.shape:
            raise DataError(
                f"{file}: is no ResNet generator of CycleGAN: {name} is "
                f"{_size(weights[name])} instead of {_size(value)}."
            )
        if not weights[name].isfinite().all():
            raise DataError(f"{file}: {name} is not finite; its training has failed.")
    if surplus := sorted(set(weights) - set(expected)):
        raise DataError(
            f"{file}: is no ResNet generator of CycleGAN: it holds {surplus[0]} besides."
        )
    if shape is None:
        raise DataError(f"{file}: is no ResNet generator of CycleGAN: it holds no weights.")
    return Theirs(shape, weights)


@torch.no_grad()
def difference_to_textbook(ours: CycleGANGenerator, theirs: Theirs) -> float:
    """Return the largest difference between what both make of random images in [-1, 1]."""
    shape = theirs.shape
    plain = textbook.Generator(
        shape.channels, shape.out_channels, width=shape.width, blocks=shape.blocks
    )
    plain.load_state_dict({
        name.removeprefix("model.").replace("conv_block", "layers"): value
        for name, value in theirs.weights.items()
    })  # fmt: skip
    draw = torch.Generator().manual_seed(0)
    seen = torch.rand(_IMAGES, shape.channels, _SIDE, _SIDE, generator=draw) * 2 - 1
    wanted = images.with_channels(plain.eval()(seen), ours.made_channels)
    return float((ours(seen) - wanted).abs().max())


def _whole(given: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Return tensors by their names without wrappers.

    Raises:
        DataError: Two have one name, or one is not simply its numbers.
    """
    found: dict[str, Tensor] = {}
    for name, value in given.items():
        plain = _unwrapped(name)
        if plain in found:
            raise DataError(f"{file}: holds {plain} twice, with and without its wrapper.")
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            raise DataError(f"{file}: {name} is no dense tensor of numbers.")
        found[plain] = value
    return found


def _unwrapped(name: str) -> str:
    while wrapper := next((each for each in _WRAPPERS if name.startswith(each)), None):
        name = name.removeprefix(wrapper)
    return name


def _without_dropout(name: str) -> str:
    """Return the name of a block's convolution in a network without dropout, which does nothing."""
    block, part, rest = name.partition(".conv_block.")
    index, dot, what = rest.partition(".")
    return f"{block}{part}{_DROPPED.get(index, index)}{dot}{what}"


def _other_network(found: Mapping[str, Tensor]) -> str | None:
    """Return which known network else the names are of."""
    if any(name.startswith("model.model.") for name in found):
        return "holds a U-Net generator (netG unet_256 or unet_128)"
    if any(name.endswith(".filt") for name in found):
        return "holds a generator that smooths when it resizes, as CUT's does"
    if "model.0.weight" in found:
        return "holds a discriminator, it seems (netD)"
    if any(name.endswith(".weight") and value.ndim == 1 for name, value in found.items()):
        return (
            "holds a network whose normalisation has weights (norm batch, pix2pix's default), "
            "where CycleGAN's has none"
        )
    return None


def _shape(weights: Mapping[str, Tensor]) -> CycleGANShape | None:
    """Return the shape that the weights seem to have; the caller compares them with it."""
    blocks = {name.split(".")[1] for name in weights if re.match(r"model\.\d+\.conv_block\.", name)}
    first = weights.get("model.1.weight")
    last = weights.get(f"model.{_FIRST_BLOCK + len(blocks) + 7}.weight")
    if first is None or last is None or first.ndim != 4 or last.ndim != 4:
        return None
    channels, out = first.shape[1], last.shape[0]
    if channels not in (1, 3) or out not in (1, 3):
        return None
    return CycleGANShape(
        channels=channels, out_channels=out, width=first.shape[0], blocks=len(blocks)
    )


def _unit(window: Window | None) -> Unit:
    return "grey" if window is None else "centikelvin"


def _size(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"


if __name__ == "__main__":
    run_tool(main)
