"""Faces of a few squares that show AU12 and AU15, and detectors whose weights read them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from cycada import image_writing, images, thermal
from cycada.config import DetectorConfig, GeneratorConfig, TranslatorConfig
from cycada.data.index import Domain, Face, Index, IndexInfo, read_index, write_index
from cycada.data.landmarks import write_landmarks
from cycada.landmarks import EYE_CORNERS
from cycada.models.build import build_detector, build_discriminators, build_generators
from cycada.task import Task
from cycada.thermal import Window
from cycada.training.loading import LoadedTranslator, load_translator
from cycada.training.run import open_run

SIDE = 32
WINDOW = Window(28.0, 37.0)
TASK = Task((12, 15))
PLACES = {12: (24, 8), 15: (24, 16)}  # px, row and column: multiples of 8
SUBJECTS = (("train", 3), ("val", 2), ("test", 3))
FRAMES = 4


def drawn_faces(root: Path) -> Path:
    """Write RGB faces with their true thermal images, and unpaired thermal faces."""
    draw = torch.Generator().manual_seed(0)
    rows, places = [], []
    for domain in ("rgb", "thermal"):
        for split, count in SUBJECTS:
            for number in range(count):
                for frame in range(FRAMES):
                    units = {12: float(frame % 2), 15: float(frame // 2)}
                    path = f"{domain}/{split}{number}/{frame}.png"
                    shade = 0.4 * torch.rand(1, SIDE, SIDE, generator=draw) - 0.6
                    pair = f"pairs/{split}{number}/{frame}.png" if domain == "rgb" else ""
                    write(root / path, domain, face(shade, units, domain))
                    if pair:
                        write(root / pair, "thermal", face(shade, units, "thermal"))
                    rows.append(
                        Face(path=path, domain=domain, subject=f"{domain}-{split}{number}",
                             split=split, frame=frame, action_units=units, pair=pair)
                    )  # fmt: skip
                    places.append((path, (18.0, 10.0, 22.0, 10.0, 14.0, 10.0, 10.0, 10.0)))
    info = IndexInfo(kind="occurrence", unit="centikelvin", window=WINDOW)
    write_index(Index(root, info, tuple(rows)))
    write_landmarks(root, EYE_CORNERS, places)
    return root


def face(shade: Tensor, units: dict[int, float], domain: Domain) -> Tensor:
    """Return a face: warm above and cool below in thermal, a square for each AU in both."""
    picture = shade.clone()
    if domain == "thermal":
        picture[:, : SIDE // 2] += 0.3
        picture[:, SIDE // 2 :] -= 0.3
    for unit, (row, column) in PLACES.items():
        picture[:, row - 1 : row + 2, column - 1 : column + 2] = 0.9 if units[unit] else -0.9
    return picture.clamp(-1, 1)


def write(path: Path, domain: str, picture: Tensor) -> None:
    """Write a face as files of its domain are."""
    if domain == "rgb":
        pixels = images.from_signed(picture.expand(3, -1, -1), dtype=torch.uint8)
    else:
        celsius = thermal.from_signed(picture, WINDOW)
        pixels = thermal.counts_from_celsius(celsius, "centikelvin")
    image_writing.write_image(path, pixels)


def reading_detector(root: Path, data: Path, domain: Domain) -> Path:
    """Save the run of a detector whose weights read the squares, and nothing else."""
    config = DetectorConfig(
        source=(str(data),), source_domain=domain, backbone="small", width=2, size=SIDE,
        pretrained="none",
    )  # fmt: skip
    channels = 3 if domain == "rgb" else 1
    network = build_detector(config, channels=channels, task=TASK).eval()
    with torch.no_grad():
        for module in network.modules():  # each passes the middle of its window on
            if isinstance(module, nn.Conv2d):
                module.weight.zero_()
                middle = module.kernel_size[0] // 2
                module.weight[0, :, middle, middle] = 0.0
                inputs = module.in_channels if module.in_channels == channels else 1
                module.weight[0, :inputs, middle, middle] = 1 / inputs
        for block in network.backbone.layers:
            if hasattr(block, "second"):
                block.second.weight.zero_()  # x + 0
        network.head.weight.zero_()
        for answer, (row, column) in enumerate(PLACES[unit] for unit in TASK.action_units):
            network.head.weight[answer, row // 8 * 4 + column // 8] = 10.0
            network.head.bias[answer] = -5.0
    run = open_run(root, "detector", config, writes=True)
    about = {
        "action_units": list(TASK.action_units), "landmarks": [], "channels": channels,
        "source_domains": [domain], "seen_digests": [], "validation": 1.0,
        "window": None if domain == "rgb" else [WINDOW.low, WINDOW.high],
        "thresholds": [0.5] * len(TASK),
    }  # fmt: skip
    run.save(1, state={}, weights={"detector": network}, about=about, keep=1)
    return root


def translator_run(root: Path, data: Path, detector: str = "") -> Path:
    """Save the run of a translator with random weights, for what is about its translations."""
    config = TranslatorConfig(
        data=(str(data),), detector=detector, size=SIDE,
        generator=GeneratorConfig(width=4, blocks=1), steps=1,
    )  # fmt: skip
    torch.manual_seed(0)
    run = open_run(root, "translator", config, writes=True)
    about = {"window": [WINDOW.low, WINDOW.high], "unit": "centikelvin", "seen_digests": []}
    state = {"discriminators": build_discriminators(config).state_dict()}
    weights = {"generators": build_generators(config)}
    run.save(1, state=state, weights=weights, about=about, keep=1)
    return root


class HandMade(nn.Module):
    """Both directions by hand: honest, inverting grey, or swapping the two AUs."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def to_thermal(self, rgb: Tensor) -> Tensor:
        grey = rgb.mean(1, keepdim=True)
        if self.how == "inverts":
            return -grey
        made = grey.clone()
        made[..., : SIDE // 2, :] += 0.3
        made[..., SIDE // 2 :, :] -= 0.3
        squares = [patch(grey, PLACES[unit]) for unit in TASK.action_units]
        if self.how == "swaps":
            squares.reverse()
        for unit, square in zip(TASK.action_units, squares, strict=True):
            patch(made, PLACES[unit]).copy_(square)
        return made.clamp(-1, 1)

    def to_rgb(self, thermal: Tensor) -> Tensor:
        if self.how == "inverts":
            return (-thermal).expand(-1, 3, -1, -1)
        grey = thermal.clone()
        grey[..., : SIDE // 2, :] -= 0.3
        grey[..., SIDE // 2 :, :] += 0.3
        squares = [patch(thermal, PLACES[unit]).clone() for unit in TASK.action_units]
        if self.how == "swaps":
            squares.reverse()
        for unit, square in zip(TASK.action_units, squares, strict=True):
            patch(grey, PLACES[unit]).copy_(square)
        return grey.clamp(-1, 1).expand(-1, 3, -1, -1)


def patch(picture: Tensor, place: tuple[int, int]) -> Tensor:
    """Return the square of an AU."""
    row, column = place
    return picture[..., row - 1 : row + 2, column - 1 : column + 2]


def by_hand(run: Path, how: str) -> LoadedTranslator:
    """Return the translator of a run with hand-made directions."""
    loaded = load_translator(run, torch.device("cpu"))
    return replace(loaded, module=HandMade(how))


def read(root: Path) -> Index:
    """Return the index of the drawn faces."""
    return read_index(root)
