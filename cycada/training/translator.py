"""Stage one: train the generators against the discriminators (CycleGAN, with CyCADA's term)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from cycada.config import TranslatorConfig
from cycada.data.dataset import FaceImages, signed, step_batches
from cycada.data.sampling import Order, Share, generator
from cycada.models.build import build_discriminators, build_generators
from cycada.progress import Progress
from cycada.training import loop
from cycada.training.examples import Labelled
from cycada.training.finite import check_weights, slow_down
from cycada.training.judging import make_learner
from cycada.training.launch import loss_scale, my_share, processes_of, restore_loss_scale
from cycada.training.pool import ReplayPool
from cycada.training.recording import can_record, make_plain
from cycada.training.run import Run
from cycada.training.samples import write_samples
from cycada.training.translator_step import (
    Halves,
    Judges,
    TranslatorState,
    plain_halves,
    recorded_halves,
    translator_step,
)
from cycada.training.waiting import WaitingForImages

BETAS = (0.5, 0.999)  # of Adam; CycleGAN's released settings

_WELL_COPIED = 128  # px, from which copying an image takes longer than starting operations

_SHOWN = {"cycle": "cycle", "adversarial": "adv", "semantic": "sem"}
"""Figures to show while it trains, and what for short."""


class Batch(NamedTuple):
    """The images of one step on this process, as stored, and which are mirrored."""

    rgb: Tensor  # (B, 3, S, S) uint8
    thermal: Tensor  # (B, 1, S, S) int32
    mirrored: Tensor  # (2, B) bool: RGB, thermal
    rows: Tensor  # (B,) numbers of the RGB images


def make_state(
    config: TranslatorConfig, judges: Judges, accelerator: Accelerator
) -> TranslatorState:
    """Return the state before the first step: the same weights on every process."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        generators, discriminators = build_generators(config), build_discriminators(config)
        for module in (generators, discriminators):
            module.apply(_initialise)
            if _channels_last_pay(config, accelerator):
                module.to(memory_format=torch.channels_last)
    average = copy.deepcopy(generators).requires_grad_(False)  # noqa: FBT003
    if config.double:
        for module in (generators, discriminators, average):
            module.double()
    optimizers = [
        torch.optim.Adam(module.parameters(), lr=config.learning_rate, betas=BETAS)
        for module in (generators, discriminators)
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["base"] = config.learning_rate
    learner = learner_optimizer = None
    if judges.readers is not None:
        made = make_learner(judges.readers, config, accelerator)
        learner, learner_optimizer = made or (None, None)
    share = my_share(config.batch_size, accelerator)
    prepared = accelerator.prepare(generators, discriminators, *optimizers)
    return TranslatorState(
        generators=prepared[0],
        discriminators=prepared[1],
        average=average.to(accelerator.device),
        generator_optimizer=prepared[2],
        discriminator_optimizer=prepared[3],
        rgb_pool=ReplayPool(config.pool, share, seed=config.seed, stream="rgb"),
        thermal_pool=ReplayPool(config.pool, share, seed=config.seed, stream="thermal"),
        learner=learner,
        learner_optimizer=learner_optimizer,
    )


def _channels_last_pay(config: TranslatorConfig, accelerator: Accelerator) -> bool:
    """Tell whether a processor's convolutions are better given this memory layout.

    They compute in it, and else copy all they take and give. But its instance normalisation goes
    back an image at a time, which takes longer than the copies where images are small: measured
    at 64 px 0.8 times as fast, at 128 px 1.2 times.
    """
    on_processor = accelerator.device.type == "cpu" and accelerator.mixed_precision == "bf16"
    return on_processor and config.size >= _WELL_COPIED


def train_translator(
    run: Run,
    config: TranslatorConfig,
    *,
    rgb: FaceImages,
    thermal: FaceImages,
    samples: tuple[Tensor, Tensor],
    judges: Judges,
    about: dict[str, Any],
    slower: float = 1.0,
    accelerator: Accelerator,
    progress: Progress,
) -> None:
    """Train from the newest checkpoint of ``run`` to ``config.steps``.

    Args:
        run: Directory to continue and to write to.
        config: Settings.
        rgb: Training faces.
        thermal: Training faces.
        samples: RGB and thermal images in [-1, 1] to show in ``samples/``.
        judges: Fixed networks.
        about: Facts for users of the weights, stored with every checkpoint.
        slower: Factor of the learning rates.
        accelerator: From :func:`cycada.training.launch.make_accelerator`.
        progress: Shows the steps.

    Raises:
        NonFiniteError: A loss is not finite.
    """
    state = make_state(config, judges, accelerator)
    done = restore(state, run, accelerator)
    slow_down(state.optimizers(), slower)
    run.forget_after(done)
    halves = make_halves(state, judges, config, accelerator, progress.say)
    dtype = torch.float64 if config.double else torch.float32
    make = _batch_maker(config, rgb, thermal, my_share(config.batch_size, accelerator))
    workers = 0 if rgb.cached and thermal.cached else config.workers

    slowness = WaitingForImages((rgb, thermal), cache_mb=config.cache_mb, workers=config.workers)

    def step(batch: Batch, number: int) -> dict[str, Tensor]:
        device = accelerator.device
        pictures = [
            _mirrored(
                signed(stored.to(device, non_blocking=True), dtype=dtype),
                flips.to(device, non_blocking=True),
            )
            for stored, flips in zip(batch[:2], batch.mirrored, strict=True)
        ]
        return translator_step(
            state,
            *pictures,
            labelled=_labelled(batch, pictures[0], judges),
            step=number,
            halves=halves,
            config=config,
            accelerator=accelerator,
        )

    def log(number: int, figures: dict[str, float], waiting: float) -> None:
        run.log(number, figures, waiting=waiting)
        progress.show({short: figures[name] for name, short in _SHOWN.items() if name in figures})
        for told in slowness.look(waiting):
            progress.say(f"{run.root}: {told}")

    def save(number: int) -> None:
        check_weights(state.networks(), number)
        saved = collect(state, accelerator)
        run.save(
            number, state=saved, weights={"generators": state.average}, about=about,
            keep=config.keep,
        )  # fmt: skip

    def show(number: int) -> None:
        check_weights(state.networks(), number)
        if run.writes:
            write_samples(run.sample_file(number), state.average, *samples)
            run.show_samples(number)

    loop.run(
        progress(step_batches(make, done=done, total=config.steps, workers=workers),
                 done=done, total=config.steps, desc="translator", images=2 * config.batch_size),
        step,
        done=done,
        total=config.steps,
        periodic=[
            loop.Periodic(config.sample_every, show), loop.Periodic(config.save_every, save)
        ],
        log=log,
        log_every=config.log_every,
        since_log=state.since_log,
        processes=processes_of(accelerator, log_every=config.log_every),
        on_stop=save,
    )  # fmt: skip


def make_halves(
    state: TranslatorState,
    judges: Judges,
    config: TranslatorConfig,
    accelerator: Accelerator,
    tell: Callable[[str], None],
) -> Halves:
    """Return the halves of a step as this hardware does them fastest."""
    if can_record(accelerator):
        return recorded_halves(state, judges, config, accelerator, tell)
    return plain_halves(state, judges, config, accelerator)


def collect(state: TranslatorState, accelerator: Accelerator) -> dict[str, Any]:
    """Return the training state by name; all processes must call it, for the pools are gathered."""
    pools = {"rgb_pool": state.rgb_pool, "thermal_pool": state.thermal_pool}
    return {
        "generators": accelerator.unwrap_model(state.generators).state_dict(),
        "discriminators": accelerator.unwrap_model(state.discriminators).state_dict(),
        "average": state.average.state_dict(),
        "generator_optimizer": state.generator_optimizer.state_dict(),
        "discriminator_optimizer": state.discriminator_optimizer.state_dict(),
        "since_log": state.since_log,
        **loss_scale(accelerator),
        **_learner_state(state, accelerator),
        **{
            name: None if pool.images is None else accelerator.gather(pool.images)
            for name, pool in pools.items()
        },
    }


def _learner_state(state: TranslatorState, accelerator: Accelerator) -> dict[str, Any]:
    if state.learner is None:
        return {}
    return {
        "learner": accelerator.unwrap_model(state.learner).state_dict(),
        "learner_optimizer": state.learner_optimizer.state_dict(),
    }


def restore(state: TranslatorState, run: Run, accelerator: Accelerator) -> int:
    """Load the newest checkpoint into ``state``; returns the steps made, 0 without one."""
    checkpoint = run.newest()
    if checkpoint is None:
        return 0
    saved = checkpoint.state()
    accelerator.unwrap_model(state.generators).load_state_dict(saved["generators"])
    accelerator.unwrap_model(state.discriminators).load_state_dict(saved["discriminators"])
    state.average.load_state_dict(saved["average"])
    state.generator_optimizer.load_state_dict(saved["generator_optimizer"])
    state.discriminator_optimizer.load_state_dict(saved["discriminator_optimizer"])
    state.since_log += saved.get("since_log", [])  # earlier versions saved none
    restore_loss_scale(accelerator, saved)
    if state.learner is not None:
        accelerator.unwrap_model(state.learner).load_state_dict(saved["learner"])
        state.learner_optimizer.load_state_dict(saved["learner_optimizer"])
    for optimizer in state.optimizers():
        make_plain(optimizer)
    for name in ("rgb_pool", "thermal_pool"):
        pool: ReplayPool = getattr(state, name)
        if saved[name] is not None:
            pool.images = pool.share.of(saved[name]).to(accelerator.device).clone()
    return checkpoint.step


def _batch_maker(
    config: TranslatorConfig, rgb: FaceImages, thermal: FaceImages, share: Share
) -> Callable[[int], Batch]:
    orders = {
        name: Order(len(faces), share.lanes, seed=config.seed, stream=name)
        for name, faces in (("rgb", rgb), ("thermal", thermal))
    }
    return partial(_make_batch, config, rgb, thermal, share, orders)


def _make_batch(
    config: TranslatorConfig,
    rgb: FaceImages,
    thermal: FaceImages,
    share: Share,
    orders: dict[str, Order],
    step: int,
) -> Batch:
    coins = torch.rand(2, share.lanes, generator=generator(config.seed, "flip", step))
    flips = (coins < 0.5) & torch.tensor(config.flip)
    rows = share.of(orders["rgb"](step))
    return Batch(
        rgb=rgb.batch(rows),
        thermal=thermal.batch(share.of(orders["thermal"](step))),
        mirrored=flips[:, share.first : share.last],
        rows=rows,
    )


def _labelled(batch: Batch, rgb: Tensor, judges: Judges) -> Labelled | None:
    """Return the RGB images as mirrored with their labels, where a judge learns from them."""
    if judges.readers is None or judges.readers.labels is None:
        return None
    examples = judges.readers.labels
    found = examples.labels[batch.rows], examples.known[batch.rows]
    labels, known = (
        column.to(rgb.device, non_blocking=True)
        for column in examples.mirror(*found, batch.mirrored[0])
    )
    return Labelled(rgb, labels, known)


def _mirrored(pictures: Tensor, flips: Tensor) -> Tensor:
    return torch.where(flips.view(-1, 1, 1, 1), pictures.flip(-1), pictures)


def _initialise(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02) (CycleGAN, appendix 7.1)."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
