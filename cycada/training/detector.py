"""Stage two: train the AU detector on labelled faces while its features are aligned."""

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
from cycada.data.dataset import step_batches
from cycada.data.sampling import Order, Share, generator
from cycada.losses.action_units import action_unit_loss, positive_weights
from cycada.losses.adversarial import confusion_loss, domain_accuracy, domain_loss
from cycada.models.detector import Adapted, AdaptiveDetector, Detector
from cycada.models.domain import DomainClassifier
from cycada.progress import Progress
from cycada.training import loop
from cycada.training.average import update_average
from cycada.training.examples import Examples, Labelled, Mixture, augmented
from cycada.training.launch import (
    frozen,
    loss_scale,
    my_share,
    restore_loss_scale,
    set_learning_rate,
)
from cycada.training.run import Run
from cycada.training.schedule import cosine, dann_strength
from cycada.training.selection import Selection, validate


@dataclass(slots=True)
class Adversary:
    """ADDA's other half: the frozen source encoder, and the domain classifier."""

    teacher: Detector
    domain: nn.Module
    optimizer: Any


@dataclass(slots=True)
class DetectorState:
    """Everything that changes while the detector trains."""

    model: nn.Module  # AdaptiveDetector; with adda the target encoder alone
    optimizer: Any
    average: Detector
    best: Detector  # the averaged weights that did best on the validation faces
    selection: Selection
    adversary: Adversary | None = None  # with adda


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


def make_state(
    config: DetectorConfig, detector: Detector, accelerator: Accelerator
) -> DetectorState:
    """Return the state before the first step, around a fresh or an initial ``detector``."""
    alignment = config.alignment
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        domain = DomainClassifier(detector.backbone.features, hidden=alignment.hidden)
    if config.double:
        detector.double()
        domain.double()
    detector.to(memory_format=torch.channels_last)  # a tenth faster in half precision
    average = copy.deepcopy(detector).requires_grad_(False).eval().to(accelerator.device)  # noqa: FBT003
    best = copy.deepcopy(average)
    if alignment.method == "adda":
        teacher = copy.deepcopy(average)
        encoder, domain, optimizer, domain_optimizer = accelerator.prepare(
            detector.backbone,
            domain,
            _adam(config, (detector.backbone, config.learning_rate)),
            _adam(config, (domain, alignment.learning_rate)),
        )
        adversary = Adversary(teacher, domain, domain_optimizer)
        return DetectorState(encoder, optimizer, average, best, Selection(), adversary)
    adaptive = AdaptiveDetector(detector, domain if alignment.method == "dann" else None)
    players: list[tuple[nn.Module, float]] = [(detector, config.learning_rate)]
    if adaptive.domain is not None:
        players.append((domain, alignment.learning_rate))
    model, optimizer = accelerator.prepare(adaptive, _adam(config, *players))
    return DetectorState(model, optimizer, average, best, Selection())


def detector_step(
    state: DetectorState,
    source: Labelled,
    target: Labelled | None,
    *,
    step: int,
    positive_weight: Tensor,
    config: DetectorConfig,
    accelerator: Accelerator,
) -> dict[str, Tensor]:
    """Learn from one labelled batch and adapt to an unlabelled one.

    With ``dann`` their features are aligned. With teachers the target's faces are learned with the
    teachers' probabilities as labels (Hinton et al., 2015), as in self-training.

    Args:
        state: Changed in place.
        source: Labelled images, augmented.
        target: Real thermal images, augmented, their labels being the teachers' answers; or
            ``None``.
        step: Number of this step, from 0.
        positive_weight: ``(A,)`` weight of present AUs.
        config: Settings.
        accelerator: Runs the backward pass.

    Returns:
        The unweighted terms, as scalars on the device.
    """
    set_learning_rate(state.optimizer, cosine(step, total=config.steps))
    alignment = config.alignment
    strength = alignment.weight * dann_strength(step, total=config.steps, warm_up=alignment.warm_up)
    out: Adapted = state.model(source.images, None if target is None else target.images, strength)
    annotated = accelerator.reduce(source.known.sum().to(out.logits.dtype), "mean")
    loss = action_unit_loss(
        out.logits, source.labels, source.known, positive_weight=positive_weight, total=annotated
    )
    figures = {"action_units": loss}
    if out.source_domain is not None and out.target_domain is not None:
        domain = domain_loss(out.source_domain, out.target_domain)
        figures["domain"] = domain
        figures["domain_accuracy"] = domain_accuracy(out.source_domain, out.target_domain)
        loss = loss + domain
    if config.teachers and target is not None and out.target_logits is not None:
        answered = accelerator.reduce(target.known.sum().to(loss.dtype), "mean")
        figures["teachers"] = action_unit_loss(
            out.target_logits, target.labels, target.known, total=answered
        )
        loss = loss + config.teacher_weight * figures["teachers"]
    _update(state.optimizer, state.model, loss, config, accelerator)
    update_average(
        state.average, accelerator.unwrap_model(state.model).detector,
        decay=config.average_decay, step=step + 1,
    )  # fmt: skip
    return {name: value.detach() for name, value in figures.items()}


def adda_step(
    state: DetectorState,
    source: Tensor,
    target: Tensor,
    *,
    step: int,
    config: DetectorConfig,
    accelerator: Accelerator,
) -> dict[str, Tensor]:
    """Improve the domain classifier, then, while it is good enough, the target encoder.

    The source encoder is frozen, and so is the head, which reads the features of both encoders
    (ADDA, Tzeng et al., CVPR 2017, section 4). The gate, ``healthy_from``, is CyCADA's: a poor
    classifier teaches nothing.

    Args:
        state: Changed in place.
        source: ``(S, C, H, W)`` images in [-1, 1].
        target: ``(T, C, H, W)`` real thermal images in [-1, 1].
        step: Number of this step, from 0.
        config: Settings.
        accelerator: Runs the backward passes.

    Returns:
        The unweighted terms; ``confusion`` only where the encoder learned.
    """
    if state.adversary is None:
        raise ValueError("adda_step needs a state made for adda")
    adversary, dtype = state.adversary, source.dtype
    factor = cosine(step, total=config.steps)
    set_learning_rate(adversary.optimizer, factor)
    set_learning_rate(state.optimizer, factor)
    encoder = accelerator.unwrap_model(state.model)
    with torch.no_grad(), accelerator.autocast():
        features = adversary.teacher.backbone(source), encoder(target)
    scores: Tensor = adversary.domain(torch.cat(features).to(dtype))
    source_scores, target_scores = torch.split(scores, [len(source), len(target)])
    domain = domain_loss(source_scores, target_scores)
    accuracy = accelerator.reduce(domain_accuracy(source_scores, target_scores), "mean")
    _update(adversary.optimizer, adversary.domain, domain, config, accelerator)
    figures = {"domain": domain, "domain_accuracy": accuracy}
    if accuracy >= config.alignment.healthy_from:
        judge = accelerator.unwrap_model(adversary.domain)
        with frozen(judge):
            target_features = state.model(target)
            with accelerator.autocast():
                confusion = confusion_loss(judge(target_features).to(dtype))
            _update(
                state.optimizer, state.model, config.alignment.weight * confusion, config,
                accelerator,
            )  # fmt: skip
        figures["confusion"] = confusion
    update_average(state.average.backbone, encoder, decay=config.average_decay, step=step + 1)
    return {name: value.detach() for name, value in figures.items()}


def train_detector(
    run: Run,
    config: DetectorConfig,
    *,
    detector: Detector,
    faces: Faces,
    about: dict[str, Any],
    accelerator: Accelerator,
    progress: Progress,
) -> None:
    """Train from the newest checkpoint of ``run`` to ``config.steps``.

    Args:
        run: Directory to continue and to write to.
        config: Settings.
        detector: Fresh or initial weights.
        faces: What to learn from.
        about: Facts for users of the weights; thresholds are added.
        accelerator: From :func:`cycada.training.launch.make_accelerator`.
        progress: Shows the steps.
    """
    state = make_state(config, detector, accelerator)
    done = restore(state, run, accelerator)
    run.forget_after(done)
    if faces.target is not None and done < config.steps:
        state.selection = Selection()  # of a finished run that goes on: its end was not the end
    make = _batch_maker(config, faces, accelerator)
    cached = all(e is None or e.cached for e in (faces.source, faces.extra, faces.target))
    thresholds = torch.full((faces.source.labels.shape[1],), 0.5)

    def log(number: int, figures: dict[str, float]) -> None:
        run.log(number, figures)
        progress.show(figures)

    def look(number: int) -> None:
        score, _ = validate(state.average, faces.validation, accelerator)
        # How well the source is read does not tell how well the target is.
        settled = faces.target is None or number == config.steps
        if settled and score > state.selection.score:
            state.selection = Selection(score, number)
            state.best.load_state_dict(state.average.state_dict())
        run.log(number, {"validation": score})

    def save(number: int) -> None:
        weights = state.best if state.selection.step else state.average
        score, thresholds[:] = validate(
            weights, faces.validation, accelerator, target=faces.target,
            source_detector=state.adversary.teacher if state.adversary else None,
        )  # fmt: skip
        facts = {
            **about,
            "thresholds": thresholds.tolist(),
            "validation": score,
            "chosen_step": state.selection.step or number,
        }
        run.save(
            number, state=collect(state, accelerator), weights={"detector": weights}, about=facts,
            keep=config.keep,
        )  # fmt: skip

    loop.run(
        progress(
            step_batches(
                make, done=done, total=config.steps, workers=0 if cached else config.workers
            ),
            done=done, total=config.steps, desc="detector",
        ),
        _stepper(state, config, faces, accelerator),
        done=done,
        total=config.steps,
        log=log,
        log_every=config.log_every,
        over_processes=partial(accelerator.reduce, reduction="mean"),
        periodic=[
            loop.Periodic(config.validate_every, look), loop.Periodic(config.save_every, save)
        ],
        on_stop=save if accelerator.num_processes == 1 else None,
    )  # fmt: skip


def collect(state: DetectorState, accelerator: Accelerator) -> dict[str, Any]:
    """Return the training state by name."""
    saved = {
        "model": accelerator.unwrap_model(state.model).state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "average": state.average.state_dict(),
        "best": state.best.state_dict(),
        "selection": {"score": state.selection.score, "step": state.selection.step},
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
    restore_loss_scale(accelerator, saved)
    if state.adversary is not None:
        state.adversary.teacher.load_state_dict(saved["teacher"])
        accelerator.unwrap_model(state.adversary.domain).load_state_dict(saved["domain"])
        state.adversary.optimizer.load_state_dict(saved["domain_optimizer"])
    return checkpoint.step


def _stepper(
    state: DetectorState, config: DetectorConfig, faces: Faces, accelerator: Accelerator
) -> Callable[[Batch, int], dict[str, Tensor]]:
    """Return the step of the chosen method, from a batch as loaded."""
    share = my_share(config.batch_size, accelerator)
    dtype = torch.float64 if config.double else torch.float32
    weight = positive_weights(faces.source.labels, faces.source.known, config.positive_weight)
    weight = weight.to(accelerator.device, dtype)

    def prepared(batch: Labelled, examples: Examples, number: int, stream: str) -> Labelled:
        moved = Labelled(
            *(column.to(accelerator.device) for column in batch._replace(
                images=batch.images.to(dtype)))
        )  # fmt: skip
        key = (config.seed, "augment", stream, number)
        return augmented(moved, examples, config.augment, share=share, key=key)

    def step(batch: Batch, number: int) -> dict[str, Tensor]:
        # ConvNeXt drops layers by PyTorch's global generator.
        torch.manual_seed(generator(config.seed, "network", number, share.first).initial_seed())
        source = prepared(batch.source, faces.source, number, "source")
        target = None
        if batch.target is not None and faces.target is not None:
            target = prepared(batch.target, faces.target, number, "target")
        if target is not None and config.alignment.method == "adda":
            return adda_step(
                state, source.images, target.images, step=number, config=config,
                accelerator=accelerator,
            )  # fmt: skip
        return detector_step(
            state, source, target, step=number, positive_weight=weight, config=config,
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


def _update(
    optimizer: Any, module: nn.Module, loss: Tensor, config: DetectorConfig,
    accelerator: Accelerator,
) -> None:  # fmt: skip
    optimizer.zero_grad()
    accelerator.backward(loss)
    if config.clip_norm:
        accelerator.clip_grad_norm_(module.parameters(), config.clip_norm)
    optimizer.step()


def _adam(config: DetectorConfig, *players: tuple[nn.Module, float]) -> torch.optim.AdamW:
    """Return AdamW over the players, each with its own ``base`` learning rate."""
    groups = [
        {"params": list(module.parameters()), "lr": rate, "base": rate} for module, rate in players
    ]
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)
