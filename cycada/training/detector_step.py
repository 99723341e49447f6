"""One step of stage two: the detector learns labels, and is adapted to unlabelled faces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from cycada.config import DetectorConfig
from cycada.landmarks import EYE_CORNERS
from cycada.losses.labels import label_loss
from cycada.losses.landmarks import known_landmarks, landmark_loss
from cycada.models.detector import Adapted, Detector
from cycada.training.adda import Adversary
from cycada.training.alignment import REVERSING, alignment_loss
from cycada.training.average import update_average
from cycada.training.examples import Frequencies, Labelled
from cycada.training.launch import set_learning_rate
from cycada.training.optimizing import descend, known_per_portion, mean_figures, rejoined
from cycada.training.recording import Recorded, can_record, make_recordable
from cycada.training.schedule import cosine, dann_strength
from cycada.training.selection import Selection
from cycada.training.self_training import Unlabelled, signs_of_collapse, target_terms

Figures = dict[str, Tensor]
Factor = Any  # a number, or a tensor without dimensions
Learn = Callable[[Labelled, "Unlabelled | None", Factor, Factor], Figures]


@dataclass(slots=True)
class DetectorState:
    """Everything that changes while the detector trains."""

    model: nn.Module  # AdaptiveDetector; with adda the target encoder alone
    optimizer: Any
    average: Detector
    best: Detector  # the averaged weights that did best on the validation faces
    selection: Selection
    adversary: Adversary | None = None  # with adda
    since_log: list[dict[str, float]] = field(default_factory=list)  # figures of steps

    def networks(self) -> list[nn.Module]:
        """Return all that learn or are averaged."""
        others = [] if self.adversary is None else [self.adversary.domain]
        return [self.model, self.average, *others]

    def optimizers(self) -> list[Any]:
        """Return the optimizers of all that learn."""
        others = [] if self.adversary is None else [self.adversary.optimizer]
        return [self.optimizer, *others]


def make_learn(
    state: DetectorState,
    frequencies: Frequencies,
    config: DetectorConfig,
    accelerator: Accelerator,
    tell: Callable[[str], None],
) -> Learn:
    """Return what learns from one batch, as this hardware does it fastest.

    Args:
        state: Nothing of it may be replaced afterwards.
        frequencies: How often each answer occurs, and what it weighs.
        config: Settings.
        accelerator: Runs the backward pass.
        tell: Takes a sentence for the user where the step cannot be recorded.
    """
    learn = partial(_learn, state, frequencies, config, accelerator)
    if state.adversary is not None or not can_record(accelerator):
        return learn
    make_recordable(state.optimizer)
    recorded = Recorded(learn, tell)

    def learn_again(source: Labelled, target: Unlabelled | None, *factors: Factor) -> Figures:
        tensors = (torch.full((), factor, device=accelerator.device) for factor in factors)
        figures = recorded(source, target, *tensors)
        # Copied together, for what is recorded is overwritten in the next step.
        return dict(zip(figures, torch.stack(list(figures.values())).unbind(), strict=True))

    return learn_again


def detector_step(
    state: DetectorState,
    source: Labelled,
    target: Unlabelled | None,
    *,
    step: int,
    learn: Learn,
    config: DetectorConfig,
    accelerator: Accelerator,
) -> Figures:
    """Learn from one labelled batch and adapt to an unlabelled one.

    Their features are aligned by the chosen method (:mod:`cycada.training.alignment`). With
    teachers the target's faces are learned with the teachers' probabilities as labels (Hinton et
    al., 2015), as in self-training. What else the target's faces teach is in
    :class:`cycada.config.SelfTrainingConfig`.

    Args:
        state: Changed in place.
        source: Labelled images, augmented.
        target: Real thermal images, augmented, with what teachers say of them; or ``None``.
        step: Number of this step, from 0.
        learn: From :func:`make_learn`, for this state.
        config: Settings.
        accelerator: Knows the model.

    Returns:
        The unweighted terms, as scalars on the device.
    """
    set_learning_rate(state.optimizer, cosine(step, total=config.steps))
    strength = config.alignment.weight * dann_strength(
        step, total=config.steps, warm_up=config.alignment.warm_up
    )
    rising = dann_strength(step, total=config.steps, warm_up=config.self_training.warm_up)
    figures = learn(source, target, strength, rising)
    update_average(
        state.average, accelerator.unwrap_model(state.model).detector,
        decay=config.average_decay, step=step + 1,
    )  # fmt: skip
    return figures


def _learn(
    state: DetectorState,
    frequencies: Frequencies,
    config: DetectorConfig,
    accelerator: Accelerator,
    source: Labelled,
    target: Unlabelled | None,
    strength: Factor,
    rising: Factor,
) -> Figures:
    """Make one step; ``strength`` is that of the alignment, ``rising`` of what warms up."""
    kind, dtype = state.average.kind, source.images.dtype
    eyes = [] if source.landmarks is None else [
        state.average.landmarks.index(corner) for corner in EYE_CORNERS
    ]  # fmt: skip

    def counted(known: Tensor | None) -> Tensor | None:
        return None if known is None else known_per_portion(known, dtype, accelerator)

    annotated = counted(source.known)
    answered = counted(None if target is None or target.answers is None else target.answers.known)
    located = counted(
        None if source.landmarks is None else known_landmarks(source.landmarks, eyes=eyes)
    )

    def loss_of(
        part: tuple[Labelled, Unlabelled | None],
    ) -> tuple[Tensor, tuple[Figures, Tensor | None]]:
        source, target = part
        out: Adapted = state.model(
            source.images, None if target is None else target.images, strength
        )
        loss = label_loss(
            out.logits, source.labels, source.known, kind=kind, weight=frequencies.weight,
            total=annotated,
        )  # fmt: skip
        figures: Figures = {kind: loss}
        aligned, told = alignment_loss(out, kind=kind, config=config)
        figures |= told
        if aligned is not None:
            # A reversed gradient has its strength already; the domain classifier's has none.
            loss = loss + (aligned if config.alignment.method in REVERSING else strength * aligned)
        if target is not None and out.target_logits is not None:
            terms = target_terms(
                out.target_logits, target, config=config, expected=frequencies.expected, kind=kind,
                answered=answered,
            )  # fmt: skip
            figures |= {name: term.value for name, term in terms.items()}
            loss = loss + sum(
                term.weight * (rising if term.rises else 1) * term.value for term in terms.values()
            )
        if source.landmarks is not None and out.landmarks is not None:
            figures["landmarks"] = landmark_loss(
                out.landmarks, source.landmarks, eyes=eyes, total=located
            )
            # Nothing else teaches the finder, and it teaches nothing else: any weight would do.
            loss = loss + figures["landmarks"]
        logits = None if out.target_logits is None else out.target_logits.detach()
        return loss, ({name: value.detach() for name, value in figures.items()}, logits)

    told, target_logits = zip(
        *descend(
            state.optimizer, state.model, loss_of, (source, target), clip_norm=config.clip_norm,
            accelerator=accelerator,
        ),
        strict=True,
    )  # fmt: skip
    figures, answers = mean_figures(told), rejoined(target_logits)
    if answers is not None:
        figures |= signs_of_collapse(answers, frequencies.expected, kind)
    return figures
