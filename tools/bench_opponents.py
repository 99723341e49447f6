"""What ``bench.py`` times: the package and the textbook, each as a function that makes one round.

A round is one training step, or one pass over a folder of images. Each opponent is built in a
process of its own (:mod:`bench_process`), so that memory, compiled code and settings of one do not
help or hinder the other.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import textbook
import torch
from torch import Tensor

from cycada.config import (
    DetectorConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    TranslatorConfig,
    TranslatorWeights,
)
from cycada.data.dataset import signed
from cycada.data.subjects import DIGESTS_KEY
from cycada.footage import ReadOptions
from cycada.models.build import build_detector, build_generators
from cycada.progress import Progress
from cycada.stages.detect import DetectOptions, detect
from cycada.stages.finding import WHOLE
from cycada.stages.translate import run_translation
from cycada.task import Task
from cycada.training import detector as detector_training
from cycada.training import translator as translator_training
from cycada.training.detector_step import detector_step, make_learn
from cycada.training.examples import Frequencies, Labelled
from cycada.training.launch import make_accelerator
from cycada.training.run import open_run
from cycada.training.translator_step import Judges, translator_step

Part = Literal["train", "translate", "detector_step", "detect"]
Side = Literal["textbook", "package", "knee"]
Backbone = Literal["resnet18", "resnet50"]

ACTION_UNITS = (1, 2, 4, 6, 7, 9, 10, 12, 14, 15, 25, 26)
DETECTOR_SIZE, DETECTOR_BATCH = 128, 32
RUN = "run"  # in the scratch folder: what bulk translation and detection use
_SMALL = 128  # px; below it the discriminators are those of the demo
_BATCHES = 8  # different ones, in memory


class Configuration(NamedTuple):
    """Networks and batch of a translator's training, as ``size/blocks/width/batch``."""

    size: int  # px
    blocks: int  # residual blocks
    width: int  # channels of the generators' first layer
    batch: int

    @classmethod
    def read(cls, text: str) -> Configuration:
        """Read ``256/9/64/1``; raises ValueError with a sentence."""
        try:
            found = cls(*map(int, text.split("/")))
        except (TypeError, ValueError):
            raise ValueError(f"{text}: give size/blocks/width/batch, such as 256/9/64/1.") from None
        if min(found) < 1 or found.size % 4:
            raise ValueError(f"{text}: all are at least 1, and the size is a multiple of 4.")
        return found

    def __str__(self) -> str:
        """Return ``size/blocks/width/batch``."""
        return "/".join(map(str, self))

    @property
    def judge(self) -> tuple[int, int]:
        """Width and strided layers of the discriminators: the paper's, or the demo's."""
        return (64, 3) if self.size >= _SMALL else (32, 2)

    def package(self) -> TranslatorConfig:
        """Return the package's settings for the paper's networks and losses."""
        width, layers = self.judge
        return TranslatorConfig(
            size=self.size,
            generator=GeneratorConfig(width=self.width, blocks=self.blocks, skips=False),
            discriminator=DiscriminatorConfig(width=width, layers=layers),
            weights=TranslatorWeights(
                cycle=textbook.CYCLE, identity=textbook.IDENTITY, semantic=0.0
            ),
            batch_size=self.batch, pool=textbook.POOL, mixed_precision="auto",
        )  # fmt: skip


PAPER = Configuration(256, 9, 64, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """Which opponent to build."""

    part: Part
    side: Side
    device: str
    configuration: Configuration = PAPER
    backbone: Backbone = "resnet18"
    pictures: Path = Path()  # folder of RGB images
    scratch: Path = Path()  # an empty folder for runs and results


class Opponent(NamedTuple):
    """A built opponent."""

    round: Callable[[], Any]
    precision: str  # in which it multiplies


def build(spec: Spec) -> Opponent:
    """Return an opponent that is ready for its first round."""
    device = torch.device(spec.device)
    make = _BUILDERS[spec.part, "textbook" if spec.side == "textbook" else "package"]
    return make(spec, device)


def package_stepper(
    config: TranslatorConfig, device: torch.device, *, first: int
) -> tuple[Callable[[tuple[Tensor, Tensor]], Mapping[str, Tensor]], str]:
    """Return what makes one step of the package on a stored batch, and its precision.

    Args:
        config: Settings; no fixed networks judge.
        device: Where the package must work; it chooses by itself.
        first: Number of the first step; from ``config.pool`` on the pool is full.

    Returns:
        The step, of RGB ``(B, 3, S, S)`` uint8 and thermal ``(B, 1, S, S)`` int32 in memory.
    """
    accelerator = make_accelerator(config.mixed_precision, double=False)
    _check_device(accelerator.device, device)
    judges = Judges(None, None)
    state = translator_training.make_state(config, judges, accelerator)
    halves = translator_training.make_halves(state, judges, config, accelerator, _fail)
    numbers = itertools.count(first)

    def step(batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor]:
        rgb, thermal = (
            signed(stored.to(accelerator.device, non_blocking=True)) for stored in batch
        )
        return translator_step(
            state, rgb, thermal, step=next(numbers), halves=halves, config=config,
            accelerator=accelerator,
        )  # fmt: skip

    return step, str(accelerator.mixed_precision)


def textbook_stepper(
    configuration: Configuration, device: torch.device
) -> Callable[[tuple[Tensor, Tensor]], Mapping[str, Tensor]]:
    """Return what makes one step of the textbook on a stored batch, its pools being full."""
    width, layers = configuration.judge
    player = textbook.CycleGAN(
        width=configuration.width, blocks=configuration.blocks, judge_width=width,
        judge_layers=layers, device=device,
    )  # fmt: skip
    for pool, channels in ((player.rgb_pool, 3), (player.thermal_pool, 1)):
        shape = (channels, configuration.size, configuration.size)
        pool.held = [torch.zeros(shape, device=device) for _ in range(pool.size)]

    def step(batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor]:
        return player.step(*(textbook.signed(stored.to(device)) for stored in batch))

    return step


def stored_batches(configuration: Configuration) -> list[tuple[Tensor, Tensor]]:
    """Return batches as decoded: smooth random images, RGB uint8 and thermal int32."""
    draw = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(_BATCHES):
        coarse = torch.rand(configuration.batch, 4, 8, 8, generator=draw)
        side = configuration.size
        fine = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")
        batches.append(((255 * fine[:, :3]).to(torch.uint8), (65535 * fine[:, 3:]).to(torch.int32)))
    return batches


def _train_textbook(spec: Spec, device: torch.device) -> Opponent:
    step = textbook_stepper(spec.configuration, device)
    batches = itertools.cycle(stored_batches(spec.configuration))
    return Opponent(lambda: step(next(batches)), "no")


def _train_package(spec: Spec, device: torch.device) -> Opponent:
    config = spec.configuration.package()
    step, precision = package_stepper(config, device, first=config.pool)
    batches = itertools.cycle(stored_batches(spec.configuration))
    return Opponent(lambda: step(next(batches)), precision)


def _translate_textbook(spec: Spec, device: torch.device) -> Opponent:
    size = spec.configuration
    generator = textbook.Generator(3, 1, width=size.width, blocks=size.blocks).to(device).eval()
    files = sorted(spec.pictures.glob("*.png"))

    def translate() -> None:
        out = spec.scratch / "made"
        textbook.translate_files(generator, files, out, device=device)
        shutil.rmtree(out)

    return Opponent(translate, "no")


def _translate_package(spec: Spec, device: torch.device) -> Opponent:
    run, out = spec.scratch / RUN, spec.scratch / "made"

    def translate() -> None:
        run_translation(run, spec.pictures, out, depth="auto", progress=Progress(shown=False))
        shutil.rmtree(out)

    del device  # the package chooses; bench_process hides the GPU where it must not be taken
    return Opponent(translate, "as the package chooses")


def _detector_step_textbook(spec: Spec, device: torch.device) -> Opponent:
    training = textbook.DetectorTraining(spec.backbone, outputs=len(ACTION_UNITS), device=device)
    pictures, labels = _labelled_faces()

    def step() -> Tensor:
        return training.step(textbook.signed(pictures.to(device)), labels.to(device))

    return Opponent(step, "no")


def _detector_step_package(spec: Spec, device: torch.device) -> Opponent:
    config = _detector_config(spec.backbone)
    task = Task(action_units=ACTION_UNITS)
    accelerator = make_accelerator(config.mixed_precision, double=False)
    _check_device(accelerator.device, device)
    module = build_detector(config, channels=3, task=task)
    state = detector_training.make_state(config, module, accelerator)
    even = torch.ones(len(task))
    frequencies = Frequencies(even, even / 2).to(accelerator.device, torch.float32)
    learn = make_learn(state, frequencies, config, accelerator, _fail)
    pictures, labels = _labelled_faces()
    known = torch.ones_like(labels, dtype=torch.bool)
    numbers = itertools.count(config.steps // 2)

    def step() -> Mapping[str, Tensor]:
        here = accelerator.device
        faces = Labelled(signed(pictures.to(here)), labels.to(here), known.to(here))
        return detector_step(
            state, faces, None, step=next(numbers), learn=learn, config=config,
            accelerator=accelerator,
        )  # fmt: skip

    return Opponent(step, str(accelerator.mixed_precision))


def _detect_textbook(spec: Spec, device: torch.device) -> Opponent:
    network = textbook.PlainDetector(spec.backbone, outputs=len(ACTION_UNITS)).to(device).eval()
    files = sorted(spec.pictures.glob("*.png"))

    def read() -> None:
        out = spec.scratch / "made"
        textbook.detect_files(network, files, out / "faces.csv", device=device, size=DETECTOR_SIZE)
        shutil.rmtree(out)

    return Opponent(read, "no")


def _detect_package(spec: Spec, device: torch.device) -> Opponent:
    options = DetectOptions(
        run=spec.scratch / RUN, sources=(spec.pictures,), out=spec.scratch / "made",
        read=ReadOptions(domain="rgb"), faces=WHOLE, device=device,
    )  # fmt: skip

    def read() -> None:
        detect(options, progress=Progress(shown=False))
        shutil.rmtree(options.out)

    return Opponent(read, "as the package chooses")


_BUILDERS: Mapping[tuple[Part, Side], Callable[[Spec, torch.device], Opponent]] = {
    ("train", "textbook"): _train_textbook,
    ("train", "package"): _train_package,
    ("translate", "textbook"): _translate_textbook,
    ("translate", "package"): _translate_package,
    ("detector_step", "textbook"): _detector_step_textbook,
    ("detector_step", "package"): _detector_step_package,
    ("detect", "textbook"): _detect_textbook,
    ("detect", "package"): _detect_package,
}


def _fail(told: str) -> None:
    """Do not measure a step that is not what users get."""
    raise RuntimeError(told)


def writing(spec: Spec) -> tuple[Callable[..., None], Path, Any]:
    """Return what writes the run that the package is to use, where to, and of which settings.

    To be called in another process: what it leaves in memory is not what using a run takes.
    """
    if spec.part == "detect":
        return write_detector, spec.scratch / RUN, _detector_config(spec.backbone)
    config = spec.configuration.package()
    if spec.side == "knee":
        config = replace(config, generator=TranslatorConfig(size=config.size).generator)
    return write_translator, spec.scratch / RUN, config


def write_translator(root: Path, config: TranslatorConfig) -> None:
    """Write the run of a translator that has learned nothing, of grey thermal images."""
    run = open_run(root, "translator", config, writes=True)
    about: dict[str, Any] = {"window": None, "unit": "grey", DIGESTS_KEY: []}
    run.save(1, state={}, weights={"generators": build_generators(config)}, about=about, keep=1)


def write_detector(root: Path, config: DetectorConfig) -> None:
    """Write the run of a detector of RGB faces that has learned nothing."""
    run, task = open_run(root, "detector", config, writes=True), Task(action_units=ACTION_UNITS)
    about = {
        **task.to_json(), "channels": 3, "window": None, "source_domains": ["rgb"],
        "thresholds": [0.5] * len(task), DIGESTS_KEY: [],
    }  # fmt: skip
    module = build_detector(config, channels=3, task=task)
    run.save(1, state={}, weights={"detector": module}, about=about, keep=1)


def _detector_config(backbone: Backbone) -> DetectorConfig:
    return DetectorConfig(
        backbone=backbone, pretrained="none", size=DETECTOR_SIZE, channels=3,
        batch_size=DETECTOR_BATCH,
    )  # fmt: skip


def _labelled_faces() -> tuple[Tensor, Tensor]:
    """Return ``(B, 3, S, S)`` uint8 and ``(B, A)`` labels."""
    rgb, _ = stored_batches(Configuration(DETECTOR_SIZE, 1, 1, DETECTOR_BATCH))[0]
    labels = torch.arange(len(rgb) * len(ACTION_UNITS)).view(len(rgb), -1) % 3 == 0
    return rgb, labels.float()


def _check_device(found: torch.device, wanted: torch.device) -> None:
    if found.type != wanted.type:
        raise RuntimeError(f"the package works on {found}, not on {wanted}")
