"""Stage two: train the detector on labelled faces while its features are aligned."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from cycada.config import DetectorConfig
from cycada.data.dataset import FaceImages, step_batches
from cycada.data.sampling import Order, Share, generator
from cycada.models.detector import AdaptiveDetector, Detector
from cycada.progress import Progress
from cycada.training import loop
from cycada.training.adda import Adversary, adda_step, without_dropout
from cycada.training.alignment import REVERSING, make_domain_classifier
from cycada.training.average import update_average
from cycada.training.detector_step import DetectorState, detector_step, make_learn
from cycada.training.examples import Examples, Frequencies, Labelled, Mixture, augmented
from cycada.training.finite import check_weights, slow_down
from cycada.training.health import Health, shift_of_one_answer
from cycada.training.launch import loss_scale, my_share, processes_of, restore_loss_scale
from cycada.training.optimizing import adam
from cycada.training.recording import make_plain
from cycada.training.run import Run
from cycada.training.run_reading import read_log
from cycada.training.selection import Comparison, Selection, judged_on_target, validate
from cycada.training.self_training import Unlabelled, mean_teacher_answers
from cycada.training.waiting import WaitingForImages

_SHOWN = {"action_units": "loss", "classes": "loss", "domain_accuracy": "dom-acc"}
"""Figures to show while it trains, and what for short."""


class Batch(NamedTuple):
    """The faces of one step on this process, before augmentation."""

    source: Labelled
    target: Labelled | None


@dataclass(frozen=True, slots=True)
class Faces:
    """The faces that the detector learns from."""

    source: Examples
    extra: Examples | None  # labelled target faces
    target: Examples | None  # without its labels: they are what teachers answer, if any
    validation: Examples

    @property
    def parts(self) -> tuple[FaceImages, ...]:
        """What every step reads from."""
        read = (self.source, self.extra, self.target)
        return tuple(part for each in read if each is not None for part in each.parts)


def make_state(
    config: DetectorConfig, detector: Detector, accelerator: Accelerator
) -> DetectorState:
    """Return the state before the first step, around a fresh or an initial ``detector``."""
    alignment = config.alignment
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        domain = make_domain_classifier(config, detector)
    if config.double:
        detector.double()
        domain.double()
    detector.to(memory_format=torch.channels_last)  # a tenth faster in half precision
    average = copy.deepcopy(detector).requires_grad_(False).eval().to(accelerator.device)  # noqa: FBT003
    best = copy.deepcopy(average)
    if alignment.method == "adda":
        teacher = copy.deepcopy(average)
        encoder, domain, optimizer, domain_optimizer = accelerator.prepare(
            without_dropout(detector.backbone),
            domain,
            adam(config, (detector.backbone, config.learning_rate)),
            adam(config, (domain, alignment.learning_rate)),
        )
        adversary = Adversary(teacher, domain, domain_optimizer)
        return DetectorState(encoder, optimizer, average, best, Selection(), adversary)
    adaptive = AdaptiveDetector(detector, domain if alignment.method in REVERSING else None)
    players: list[tuple[nn.Module, float]] = [(detector, config.learning_rate)]
    if adaptive.domain is not None:
        players.append((domain, alignment.learning_rate))
    model, optimizer = accelerator.prepare(adaptive, adam(config, *players))
    return DetectorState(model, optimizer, average, best, Selection())


def train_detector(
    run: Run,
    config: DetectorConfig,
    *,
    detector: Detector,
    faces: Faces,
    about: dict[str, Any],
    slower: float = 1.0,
    accelerator: Accelerator,
    progress: Progress,
) -> None:
    """Train from the newest checkpoint of ``run`` to ``config.steps``.

    Args:
        run: Directory to continue and to write to.
        config: Settings.
        detector: Fresh or initial weights, which are not changed.
        faces: What to learn from.
        about: Facts for users of the weights; thresholds are added.
        slower: Factor of the learning rates.
        accelerator: From :func:`cycada.training.launch.make_accelerator`.
        progress: Shows the steps.

    Raises:
        NonFiniteError: A loss is not finite.
    """
    # The initial one may turn out to be the better one. What teachers answer is less sure than what
    # they teach from, so there the comparison would mislead.
    compared = config.initial and faces.target is not None and not config.teachers
    unadapted = detector if compared else None
    state = make_state(config, copy.deepcopy(detector), accelerator)
    done = restore(state, run, accelerator)
    slow_down(state.optimizers(), slower)
    run.forget_after(done)
    choice = _choice(config)
    if choice == "last" and done < config.steps:
        state.selection = Selection()  # of a finished run that goes on: its end was not the end
    make = _batch_maker(config, faces, accelerator)
    expected = Frequencies.of(faces.source, config).expected

    def judged(weights: Detector) -> dict[str, float]:
        if faces.target is None:
            return {}
        return judged_on_target(weights, faces.target, accelerator, expected=expected)

    slowness = WaitingForImages(faces.parts, cache_mb=config.cache_mb, workers=config.workers)
    health = Health(config.steps, one_answer=shift_of_one_answer(expected, faces.source.task.kind))
    health.replay(read_log(run.root))

    def log(number: int, figures: dict[str, float], waiting: float) -> None:
        run.log(number, figures, waiting=waiting)
        progress.show({short: figures[name] for name, short in _SHOWN.items() if name in figures})
        for told in (*slowness.look(waiting), *health.look(number, figures)):
            progress.say(f"{run.root}: {told}")

    def look(number: int) -> None:
        check_weights(state.networks(), number)
        score = validate(state.average, faces.validation, accelerator).score
        without_labels = judged(state.average)
        settled = choice != "last" or number == config.steps
        # How well the source is read does not tell how well the target is.
        if settled and (wanted := without_labels.get(choice, score)) > state.selection.score:
            state.selection = Selection(wanted, number)
            state.best.load_state_dict(state.average.state_dict())
        told = {f"criterion_{name}": value for name, value in without_labels.items()}
        run.log(number, {"validation": score, **told})
        progress.show({"val": score})

    def save(number: int) -> None:
        check_weights(state.networks(), number)
        weights = state.best if state.selection.step else state.average
        facts = {
            **about, "expected": expected.tolist(), "chosen_step": state.selection.step or number
        }  # fmt: skip
        if unadapted is not None and number == config.steps:
            before = judged(unadapted.to(accelerator.device))
            comparison = Comparison(before, judged(weights))
            facts |= comparison.to_json()
            if not comparison.adapted_is_better:
                weights = unadapted
            progress.say(comparison.told(run.root, config.initial))
        facts["validation"], thresholds, calibration, intensity = validate(
            weights, faces.validation, accelerator, target=faces.target,
            source_detector=state.adversary.teacher if state.adversary else None,
        )  # fmt: skip
        facts["thresholds"] = thresholds.tolist()
        facts["calibration"] = calibration.to_json()
        if intensity is not None:
            facts["intensity"] = intensity.to_json()
        run.save(
            number, state=collect(state, accelerator), weights={"detector": weights}, about=facts,
            keep=config.keep,
        )  # fmt: skip

    loop.run(
        progress(
            step_batches(
                make, done=done, total=config.steps,
                workers=0 if all(part.cached for part in faces.parts) else config.workers,
            ),
            done=done, total=config.steps, desc="detector",
            images=config.batch_size * (1 if faces.target is None else 2),
        ),
        _stepper(state, config, faces, accelerator, progress.say),
        done=done,
        total=config.steps,
        log=log,
        log_every=config.log_every,
        since_log=state.since_log,
        processes=processes_of(accelerator, log_every=config.log_every),
        periodic=[
            loop.Periodic(config.validate_every, look), loop.Periodic(config.save_every, save)
        ],
        on_stop=save,
    )  # fmt: skip


def _choice(config: DetectorConfig) -> str:
    if config.choose != "auto":
        return config.choose
    return "last" if config.target else "validation"


def collect(state: DetectorState, accelerator: Accelerator) -> dict[str, Any]:
    """Return the training state by name."""
    saved = {
        "model": accelerator.unwrap_model(state.model).state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "average": state.average.state_dict(),
        "best": state.best.state_dict(),
        "selection": {"score": state.selection.score, "step": state.selection.step},
        "since_log": state.since_log,
        **loss_scale(accelerator),
    }
    if state.adversary is not None:
        saved["teacher"] = state.adversary.teacher.state_dict()
        saved["domain"] = accelerator.unwrap_model(state.adversary.domain).state_dict()
        saved["domain_optimizer"] = state.adversary.optimizer.state_dict()
    return saved


def restore(state: DetectorState, run: Run, accelerator: Accelerator) -> int:
    """Load the newest checkpoint into ``state``; returns the steps made, 0 without one."""
    checkpoint = run.newest()
    if checkpoint is None:
        return 0
    saved = checkpoint.state()
    accelerator.unwrap_model(state.model).load_state_dict(saved["model"])
    state.optimizer.load_state_dict(saved["optimizer"])
    state.average.load_state_dict(saved["average"])
    state.best.load_state_dict(saved["best"])
    state.selection = Selection(**saved["selection"])
    state.since_log += saved.get("since_log", [])  # earlier versions saved none
    restore_loss_scale(accelerator, saved)
    if state.adversary is not None:
        state.adversary.teacher.load_state_dict(saved["teacher"])
        accelerator.unwrap_model(state.adversary.domain).load_state_dict(saved["domain"])
        state.adversary.optimizer.load_state_dict(saved["domain_optimizer"])
    for optimizer in state.optimizers():
        make_plain(optimizer)
    return checkpoint.step


def _stepper(
    state: DetectorState,
    config: DetectorConfig,
    faces: Faces,
    accelerator: Accelerator,
    tell: Callable[[str], None],
) -> Callable[[Batch, int], dict[str, Tensor]]:
    """Return the step of the chosen method, from a batch as loaded."""
    share = my_share(config.batch_size, accelerator)
    dtype = torch.float64 if config.double else torch.float32
    frequencies = Frequencies.of(faces.source, config).to(accelerator.device, dtype)
    learn = make_learn(state, frequencies, config, accelerator, tell)

    def moved(batch: Labelled) -> Labelled:
        landmarks = batch.landmarks
        return Labelled(
            batch.images.to(accelerator.device, dtype, non_blocking=True),
            batch.labels.to(accelerator.device, non_blocking=True),
            batch.known.to(accelerator.device, non_blocking=True),
            None
            if landmarks is None
            else landmarks.to(accelerator.device, dtype, non_blocking=True),
        )

    def changed(batch: Labelled, examples: Examples, number: int, stream: str) -> Any:
        key = (config.seed, "augment", stream, number)
        return augmented(batch, examples, config.augment, share=share, key=key)

    def step(batch: Batch, number: int) -> dict[str, Tensor]:
        # ConvNeXt drops layers by PyTorch's global generator.
        torch.manual_seed(generator(config.seed, "network", number, share.first).initial_seed())
        source, _ = changed(moved(batch.source), faces.source, number, "source")
        target = None
        if batch.target is not None and faces.target is not None:
            plain = moved(batch.target)
            seen, changes = changed(plain, faces.target, number, "target")
            target = Unlabelled(seen.images, answers=seen if config.teachers else None)
            if config.self_training.consistency:
                taught = mean_teacher_answers(
                    state.average, plain.images, config=config, accelerator=accelerator
                )
                target = target._replace(
                    mean_teacher=Labelled(
                        seen.images, *faces.target.mirror(*taught, changes.flipped)
                    )
                )
        if target is not None and state.adversary is not None:
            figures = adda_step(
                state.model, state.optimizer, state.adversary, source.images, target.images,
                step=number, expected=frequencies.expected, config=config,
                accelerator=accelerator,
            )  # fmt: skip
            update_average(
                state.average.backbone, accelerator.unwrap_model(state.model),
                decay=config.average_decay, step=number + 1,
            )  # fmt: skip
            return figures
        return detector_step(
            state, source, target, step=number, learn=learn, config=config,
            accelerator=accelerator,
        )  # fmt: skip

    return step


def _batch_maker(
    config: DetectorConfig, faces: Faces, accelerator: Accelerator
) -> Callable[[int], Batch]:
    share = my_share(config.batch_size, accelerator)
    mixture = Mixture(
        faces.source, faces.extra, share=share, extra_share=config.labelled_share, seed=config.seed
    )
    order = (
        None
        if faces.target is None
        else Order(len(faces.target), share.lanes, seed=config.seed, stream="target")
    )
    # Not a function inside this one: the workers of some platforms could not be sent it.
    return partial(_make_batch, mixture, faces.target, share, order)


def _make_batch(
    mixture: Mixture, target: Examples | None, share: Share, order: Order | None, step: int
) -> Batch:
    if target is None or order is None:
        return Batch(mixture.batch(step), None)
    return Batch(mixture.batch(step), target.batch(share.of(order(step))))
