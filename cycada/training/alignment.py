"""What each method of alignment adds to the detector's loss.

ADDA, which learns without labels in a step of its own, is in :mod:`cycada.training.adda`. How to
add a method is told in ``docs/tutorials/add-your-own.md``.
"""

from __future__ import annotations

from torch import Tensor

from cycada.config import DetectorConfig
from cycada.losses.adversarial import certainty_weights, domain_accuracy, domain_loss
from cycada.models.detector import Adapted, Detector
from cycada.models.domain import DomainClassifier
from cycada.task import TaskKind

REVERSING = ("dann", "cdan")
"""Methods with a domain classifier whose gradient is reversed on its way into the detector."""


def make_domain_classifier(config: DetectorConfig, detector: Detector) -> DomainClassifier:
    """Return the domain classifier of the settings, with freshly drawn weights."""
    alignment = config.alignment
    return DomainClassifier(
        detector.backbone.features, detector.head.out_features, hidden=alignment.hidden,
        reads="product" if alignment.method == "cdan" else alignment.reads, kind=detector.kind,
    )  # fmt: skip


def alignment_loss(
    out: Adapted, *, kind: TaskKind, config: DetectorConfig
) -> tuple[Tensor | None, dict[str, Tensor]]:
    """Return what the chosen method makes small in one batch, and figures to log.

    Its weight, ``alignment.weight``, rises over ``alignment.warm_up``; it is applied by who calls
    this, but for reversed gradients, which have it already.

    Args:
        out: Answers and features of source and target faces; scores of the domain classifier
            where the method has one.
        kind: Action Units or classes.
        config: Settings.

    Returns:
        The unweighted term, ``None`` where nothing is aligned, and the figures.
    """
    if config.alignment.method in REVERSING and out.source_domain is not None:
        return _reversed_loss(out, kind, config)
    return None, {}


def _reversed_loss(
    out: Adapted, kind: TaskKind, config: DetectorConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    here, there = out.source_domain, out.target_domain
    if here is None or there is None or out.target_logits is None:
        raise ValueError("there are no domain scores")
    weights = None
    if config.alignment.method == "cdan":
        weights = certainty_weights(out.logits, kind), certainty_weights(out.target_logits, kind)
    loss = domain_loss(here, there, weights=weights)
    return loss, {"domain": loss, "domain_accuracy": domain_accuracy(here, there)}
