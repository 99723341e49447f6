"""One step of stage one: the generators learn, then the discriminators (CycleGAN; CyCADA)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from cycada import images
from cycada.config import TranslatorConfig
from cycada.losses.adversarial import discriminator_loss, generator_loss
from cycada.losses.consistency import colour_distance, image_distance
from cycada.losses.perceptual import PerceptualDistance
from cycada.models.cycle import Discriminators, Generators, Judgement, Translation
from cycada.training.average import update_average
from cycada.training.examples import Labelled
from cycada.training.judging import Readers, semantic_term, teach_follower, teach_joint_judge
from cycada.training.launch import frozen, set_learning_rate
from cycada.training.optimizing import descend, known_per_portion, mean_figures, rejoined
from cycada.training.pool import ReplayPool
from cycada.training.recording import Recorded, make_recordable
from cycada.training.schedule import linear_decay

Figures = dict[str, Tensor]


@dataclass(slots=True)
class TranslatorState:
    """Everything that changes while the translator trains."""

    generators: nn.Module
    discriminators: nn.Module
    average: Generators
    generator_optimizer: Any
    discriminator_optimizer: Any
    rgb_pool: ReplayPool
    thermal_pool: ReplayPool
    learner: nn.Module | None  # the judge of the semantic term that learns along
    learner_optimizer: Any
    since_log: list[dict[str, float]] = field(default_factory=list)  # figures of steps

    def networks(self) -> list[nn.Module]:
        """Return all that learn or are averaged."""
        others = [] if self.learner is None else [self.learner]
        return [self.generators, self.discriminators, self.average, *others]

    def optimizers(self) -> list[Any]:
        """Return the optimizers of all that learn."""
        others = [] if self.learner is None else [self.learner_optimizer]
        return [self.generator_optimizer, self.discriminator_optimizer, *others]


@dataclass(frozen=True, slots=True)
class Judges:
    """Fixed networks that the generators' loss asks."""

    readers: Readers | None
    perceptual: PerceptualDistance | None


class Halves(NamedTuple):
    """The two halves of a step; between them the made images go through the replay pools."""

    generators: Callable[..., tuple[Translation, Figures]]
    """Takes RGB and thermal images, and labels and which of them are known, each or ``None``."""

    discriminators: Callable[..., Figures]
    """Takes real and shown RGB, real and shown thermal images, and the new translations."""


def plain_halves(
    state: TranslatorState, judges: Judges, config: TranslatorConfig, accelerator: Accelerator
) -> Halves:
    """Return the halves, each called anew in every step."""
    return Halves(
        partial(_improve_generators, state, judges, config, accelerator),
        partial(_improve_discriminators, state, judges, config, accelerator),
    )


def recorded_halves(
    state: TranslatorState,
    judges: Judges,
    config: TranslatorConfig,
    accelerator: Accelerator,
    tell: Callable[[str], None],
) -> Halves:
    """Return the halves as CUDA graphs; nothing of the state may be replaced afterwards.

    ``tell`` takes a sentence for the user where one cannot be recorded.
    """
    for optimizer in state.optimizers():
        make_recordable(optimizer)
    plain = plain_halves(state, judges, config, accelerator)
    return Halves(Recorded(plain.generators, tell), Recorded(plain.discriminators, tell))


def translator_step(
    state: TranslatorState,
    rgb: Tensor,
    thermal: Tensor,
    *,
    labelled: Labelled | None = None,
    step: int,
    halves: Halves,
    config: TranslatorConfig,
    accelerator: Accelerator,
) -> Figures:
    """Improve the generators, then the discriminators, on one unpaired batch.

    Where a batch is gone through in portions, a judge that learns jointly goes through all of them
    and makes its step, then the generators, then, with what these made of the whole batch and the
    replay pools gave for it, the discriminators, then a judge that follows.

    Args:
        state: Changed in place.
        rgb: ``(B, 3, S, S)`` in [-1, 1].
        thermal: ``(B, 1, S, S)`` in [-1, 1].
        labelled: ``rgb`` with labels, for a judge that is trained jointly.
        step: Number of this step, from 0.
        halves: Of this state.
        config: Settings.
        accelerator: Runs the backward passes.

    Returns:
        Every term of both losses, unweighted, as scalars on the device.
    """
    factor = linear_decay(step, total=config.steps, start=config.decay_from)
    set_learning_rate(state.generator_optimizer, factor)
    set_learning_rate(state.discriminator_optimizer, factor)
    labels = (None, None) if labelled is None else (labelled.labels, labelled.known)
    made, figures = halves.generators(rgb, thermal, *labels)
    update_average(
        state.average, accelerator.unwrap_model(state.generators),
        decay=config.average_decay, step=step + 1,
    )  # fmt: skip
    shown_rgb = state.rgb_pool.swap(made.rgb, step)
    shown_thermal = state.thermal_pool.swap(made.thermal, step)
    figures = figures | halves.discriminators(rgb, shown_rgb, thermal, shown_thermal, made.thermal)
    # Copied together, for what a recorded half gives is overwritten in the next step.
    return dict(zip(figures, torch.stack(list(figures.values())).unbind(), strict=True))


def _improve_generators(
    state: TranslatorState,
    judges: Judges,
    config: TranslatorConfig,
    accelerator: Accelerator,
    rgb: Tensor,
    thermal: Tensor,
    labels: Tensor | None,
    known: Tensor | None,
) -> tuple[Translation, Figures]:
    """Make one step of the generators; return what they had made, and the terms of their loss."""
    weights = config.weights
    same = weights.identity > 0
    labelled = None if labels is None or known is None else Labelled(rgb, labels, known)
    figures: Figures = {}
    annotated: Tensor | None = None
    if judges.readers is not None and state.learner is not None and labelled is not None:
        annotated = known_per_portion(labelled.known, rgb.dtype, accelerator)
        figures["joint_judge"] = teach_joint_judge(
            state.learner, state.learner_optimizer, labelled=labelled,
            detector=judges.readers.rgb, accelerator=accelerator,
        )  # fmt: skip

    def loss_of(
        part: tuple[Tensor, Tensor, Labelled | None],
    ) -> tuple[Tensor, tuple[Translation, Figures]]:
        rgb, thermal, labelled = part
        made: Translation = state.generators(
            rgb,
            thermal,
            images.with_channels(thermal, 3) if same else None,
            images.with_channels(rgb, 1) if same else None,
        )
        terms = _generator_terms(
            state, made, rgb, thermal, labelled, judges, config, accelerator, annotated=annotated
        )
        if "joint_judge" in figures:
            # A judge that knows nothing yet would only add noise.
            terms["semantic"] = terms["semantic"] * (figures["joint_judge"] < config.semantic_below)
        loss = terms["adversarial"] + sum(
            getattr(weights, name) * value for name, value in terms.items() if name != "adversarial"
        )
        freed = Translation(*(None if image is None else image.detach() for image in made))  # type: ignore[arg-type]
        return loss, (freed, _detached(terms))

    told = descend(
        state.generator_optimizer, state.generators, loss_of, (rgb, thermal, labelled),
        clip_norm=config.clip_norm, accelerator=accelerator,
    )  # fmt: skip
    made, terms = zip(*told, strict=True)
    return rejoined(made), _detached(figures) | mean_figures(terms)


def _improve_discriminators(
    state: TranslatorState,
    judges: Judges,
    config: TranslatorConfig,
    accelerator: Accelerator,
    rgb: Tensor,
    shown_rgb: Tensor,
    thermal: Tensor,
    shown_thermal: Tensor,
    made_thermal: Tensor,
) -> Figures:
    """Make one step of the discriminators, and of a judge that follows the translations."""

    def loss_of(part: tuple[Tensor, ...]) -> tuple[Tensor, Figures]:
        judged: Judgement = state.discriminators(*part)
        figures = {
            "judge_rgb": discriminator_loss(judged.real_rgb, judged.made_rgb, config.adversarial),
            "judge_thermal": discriminator_loss(
                judged.real_thermal, judged.made_thermal, config.adversarial
            ),
        }
        return figures["judge_rgb"] + figures["judge_thermal"], _detached(figures)

    figures = mean_figures(
        descend(
            state.discriminator_optimizer, state.discriminators, loss_of,
            (rgb, shown_rgb, thermal, shown_thermal), clip_norm=config.clip_norm,
            accelerator=accelerator,
        )
    )  # fmt: skip
    readers = judges.readers
    following = config.semantic_judge == "following"
    if readers is not None and state.learner is not None and following:
        figures["follower"] = teach_follower(
            state.learner, state.learner_optimizer, detector=readers.rgb, rgb=rgb,
            made=made_thermal, config=config, accelerator=accelerator,
        )  # fmt: skip
    return figures


def _detached(figures: Figures) -> Figures:
    return {name: value.detach() for name, value in figures.items()}


def _generator_terms(
    state: TranslatorState,
    made: Translation,
    rgb: Tensor,
    thermal: Tensor,
    labelled: Labelled | None,
    judges: Judges,
    config: TranslatorConfig,
    accelerator: Accelerator,
    *,
    annotated: Tensor | None = None,
) -> dict[str, Tensor]:
    judge: Discriminators = accelerator.unwrap_model(state.discriminators)
    with frozen(judge), accelerator.autocast():
        scores = judge.rgb(made.rgb), judge.thermal(made.thermal)
    terms = {
        "adversarial": sum(generator_loss(s.to(rgb.dtype), config.adversarial) for s in scores),
        "cycle": config.weights.rgb_cycle
        * colour_distance(made.rgb_again, rgb, block=config.rgb_cycle_block)
        + image_distance(made.thermal_again, thermal),
    }
    if made.thermal_same is not None and made.rgb_same is not None:
        terms["identity"] = image_distance(made.thermal_same, thermal) + image_distance(
            made.rgb_same, rgb
        )
    if judges.readers is not None and config.weights.semantic:
        terms["semantic"] = semantic_term(
            made, rgb, thermal, readers=judges.readers, learner=state.learner, labelled=labelled,
            annotated=annotated, config=config, accelerator=accelerator,
        )  # fmt: skip
    if judges.perceptual is not None:
        terms["perceptual"] = judges.perceptual(made.rgb_again, rgb) + judges.perceptual(
            made.thermal_again, thermal
        )
    return terms  # type: ignore[return-value]
