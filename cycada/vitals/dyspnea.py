"""A score of dyspnea from what a camera sees of the observation scales RDOS and MV-RDOS.

Four items give points: respiratory rate, nasal flaring and a fearful face, as in RDOS, and
breathing through an open mouth. What a camera does not see (heart rate, neck muscles, abdominal
paradox, restlessness, grunting) is left out, so neither the points nor the cut-offs of those
scales hold here. An item that is missing is told, never made up. Research use only.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from cycada.action_units import column
from cycada.vitals.dyspnea_config import (
    DyspneaConfig,
    FearItem,
    FittedModel,
    FlaringItem,
    MouthItem,
    RateItem,
)

__all__ = ["Dyspnea", "DyspneaConfig", "Item", "Observed", "dyspnea_score"]

_PAIN = ((4,), (6, 7), (9, 10), (43,))
"""PSPI (Prkachin & Solomon, 2008): brow, the surer of two at eyes and at nose, eyes closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What is known of a patient at one time.

    Attributes:
        respiration_rate: Breaths per minute; NaN where none is given.
        respiration_reason: Why none is given.
        part: Of the face at which breathing is seen, ``nostrils``, ``mouth`` or another.
        action_units: FACS number -> smoothed probability; AUs that cannot be assessed are left
            out or NaN; empty where there is no face.
        face_reason: Why there is no face or no AU at all.
        expressivity: Onsets of AUs per minute; NaN where unknown. Fitted scores may use it.
        talks: Whether the mouth moves as in talk, as
            :class:`cycada.vitals.expressivity.TalkMonitor` tells.
    """

    respiration_rate: float = math.nan
    respiration_reason: str = ""
    part: str = ""
    action_units: Mapping[int, float] = field(default_factory=dict)
    face_reason: str = ""
    expressivity: float = math.nan
    talks: bool = False

    def probability(self, unit: int) -> float:
        """Return the probability of an AU; NaN where it cannot be assessed."""
        return self.action_units.get(unit, math.nan)

    def value(self, feature: str) -> float:
        """Return what a fitted score calls ``feature``; NaN where it is unknown."""
        if feature == "respiration_rate":
            return self.respiration_rate
        if feature == "expressivity_rate":
            return self.expressivity
        return self.probability(int(feature.removeprefix("AU")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What one item of the score says.

    Attributes:
        name: ``respiratory rate``, ``nasal flaring``, ``fearful face``, ``mouth breathing``; of a
            fitted score the feature.
        points: It gives, from 0 to ``most``; of a fitted score log-odds more than for a usual
            value; NaN where it is missing.
        most: It could give; NaN of a fitted score.
        text: What was seen, such as ``32 breaths per minute``.
        missing: Why it cannot be told; empty where it is.
        hypothesis: Whether no published study supports it as it is measured here.
    """

    name: str
    points: float
    most: float
    text: str = ""
    missing: str = ""
    hypothesis: bool

    def __str__(self) -> str:
        """Return the item in words: ``fearful face 1.6 of 2 (…)``."""
        if math.isnan(self.most):
            return f"{self.name} {self.points:+.1f} ({self.text})"
        return f"{self.name} {self.points:.1f} of {self.most:g} ({self.text})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dyspnea:
    """The score at one time.

    Attributes:
        score: From 0 to 1; ``None`` where too little is known. Points of the known items, as a
            share of what these could give; or the probability of a fitted model.
        lowest: What the score would be if the missing items gave nothing; NaN where there is none.
        highest: If they gave all they can.
        points: Of the items that are known, together.
        most: They could have given.
        items: All of them, the missing ones as well.
        confounders: What else may look like this: a smile, talk, pain.
        reason: Why there is no score; empty where there is one.
    """

    score: float | None
    lowest: float
    highest: float
    points: float
    most: float
    items: tuple[Item, ...]
    confounders: tuple[str, ...]
    reason: str

    def highest_with(self, names: Collection[str]) -> float:
        """Return what the score would be if of the missing items those named gave all they can.

        The others give nothing. A fitted score is its own highest; NaN where there is no score.
        """
        if math.isnan(self.most):
            return self.lowest
        lost = sum(each.most for each in self.items if each.missing and each.name in names)
        return self.lowest + lost / sum(each.most for each in self.items)

    @property
    def missing(self) -> str:
        """The items that are missing, for the table: ``nasal flaring (AU38 is not assessed)``."""
        return "; ".join(f"{each.name} ({each.missing})" for each in self.items if each.missing)

    @property
    def reasons(self) -> str:
        """What gave points, and what else may look so, in one line for the table."""
        given = [str(each) for each in self.items if not each.missing and abs(each.points) >= 0.05]
        return "; ".join([*given, *self.confounders, *filter(None, [self.reason])])


def dyspnea_score(observed: Observed, config: DyspneaConfig | None = None) -> Dyspnea:
    """Return the score of what is observed at one time; nothing that is missing is made up.

    Args:
        observed: The breathing and the face.
        config: Items, points and thresholds; the defaults if left out. If it holds a fitted
            model, that gives the score.
    """
    config = config or DyspneaConfig()
    smile = observed.probability(12)
    told = tuple(_confounders(observed, config))
    if config.fitted.features:
        return _fitted_score(observed, config, told)
    shown = 0.0 if math.isnan(smile) or smile < config.smile_from else smile
    items: tuple[Item, ...] = (
        _rate(observed, config.rate),
        _flaring(observed, config.flaring),
        _fear(observed, config.fear),
        _mouth(observed, config.mouth, smile=shown),
    )
    items = tuple(each for each in items if each.most)
    return _of_items(items, config, told)


def _of_items(
    items: tuple[Item, ...], config: DyspneaConfig, confounders: tuple[str, ...]
) -> Dyspnea:
    known = [each for each in items if not each.missing]
    points, most = sum(each.points for each in known), sum(each.most for each in known)
    all_ = sum(each.most for each in items)
    fear = next((each for each in items if each.name == "fearful face"), None)
    reason = ""
    if fear is not None and fear.missing:
        reason = "no score without the face, for fast breathing alone may be effort or fever"
    elif not most or most / all_ < config.least_known:
        reason = (
            f"no score, for the known items could give {most:g} of {all_:g} points, and "
            f"{config.least_known:.0%} is the least"
        )
    return Dyspnea(
        score=None if reason else points / most,
        lowest=math.nan if reason else points / all_,
        highest=math.nan if reason else (points + all_ - most) / all_,
        points=points, most=most, items=items, confounders=confounders, reason=reason,
    )  # fmt: skip


def _rate(observed: Observed, item: RateItem) -> Item:
    name, rate = "respiratory rate", observed.respiration_rate
    if math.isnan(rate):
        why = observed.respiration_reason or "no rate"
        return _missing(name, item.points, why, hypothesis=item.hypothesis)
    whole = round(rate)  # as people count, so that 18.4 is 18 and not above it
    share = 0.0 if whole <= item.low else 0.5 if whole <= item.high else 1.0
    text = f"{rate:.0f} breaths per minute"
    return Item(
        name=name, points=share * item.points, most=item.points, text=text,
        hypothesis=item.hypothesis,
    )  # fmt: skip


def _flaring(observed: Observed, item: FlaringItem) -> Item:
    name, seen = "nasal flaring", observed.probability(38)
    if math.isnan(seen):
        why = "AU38 is not assessed" if observed.action_units else _no_face(observed)
        return _missing(name, item.points, why, hypothesis=item.hypothesis)
    return Item(
        name=name, points=_ramp(seen, item.low, item.high) * item.points, most=item.points,
        text=f"AU38 {seen:.2f}", hypothesis=item.hypothesis,
    )  # fmt: skip


def _fear(observed: Observed, item: FearItem) -> Item:
    """Tell a look of fear: eyes wide open and a tense face together, and a mouth open.

    The harmonic mean of the first two counts twice, so one without the other hardly counts: a
    surprised face has wide eyes alone, one in pain is tense alone. A mouth that is open may talk,
    and counts once. Of each sign the two surest AUs tell
    its strength, since people show fear without one or the other, and detectors miss some. A
    smile takes nothing from it: a felt one has no wide eyes, and some detectors take the
    stretched lips of fear (AU20) for one (AU12).
    """
    name = "fearful face"
    eyes, tense = _known(observed, item.eyes), _known(observed, item.tense)
    lips = _known(observed, item.lips)
    if not eyes or not tense or len(eyes) + len(tense) + len(lips) < item.least_units:
        why = _no_face(observed)
        if observed.action_units:
            units = ", ".join(map(column, sorted({*eyes, *tense, *lips}))) or "none"
            why = f"too few of its AUs are assessed: {units}"
        return _missing(name, item.points, why, hypothesis=item.hypothesis)
    signs = [("eyes", _of_surest(eyes)), ("tension", _of_surest(tense))]
    strength = _harmonic_mean(signs[0][1], signs[1][1])
    if lips:
        signs.append(("lips", max(lips.values())))
        strength = (2 * strength + max(lips.values())) / 3
    text = ", ".join(f"{sign} {value:.2f}" for sign, value in signs)
    return Item(
        name=name, points=_ramp(strength, item.low, item.high) * item.points,
        most=item.points, text=text, hypothesis=item.hypothesis,
    )  # fmt: skip


def _mouth(observed: Observed, item: MouthItem, *, smile: float) -> Item:
    name, lips = "mouth breathing", _known(observed, item.units)
    if observed.part == "mouth" and not math.isnan(observed.respiration_rate):
        share, text = 1.0, "breathing is seen at the mouth"
    elif not lips:
        why = "lips are not assessed" if observed.action_units else _no_face(observed)
        return _missing(name, item.points, why, hypothesis=item.hypothesis)
    elif observed.talks:
        share, text = 0.0, "the mouth moves as in talk"
    else:
        apart = max(lips.values())
        share, text = _ramp(apart * (1 - smile), item.low, item.high), f"lips apart {apart:.2f}"
        if smile:
            text += f", less for a smile {smile:.2f}"
    return Item(
        name=name, points=share * item.points, most=item.points, text=text,
        hypothesis=item.hypothesis,
    )  # fmt: skip


def _confounders(observed: Observed, config: DyspneaConfig) -> list[str]:
    """Return what else is seen that may look like dyspnea, or hide it."""
    told = []
    smile = observed.probability(12)
    if smile >= config.smile_from:
        told.append(f"a smile (AU12 {smile:.2f})")
    if observed.talks:
        told.append("talk (the mouth opens and shuts)")
    signs = [_known(observed, units) for units in _PAIN]
    pain = [max(known.values()) for known in signs if known]
    # A felt smile narrows the eyes and lifts the lip, too; the brow tells it from pain.
    frown = observed.probability(4) >= config.pain_from
    if frown and len(pain) >= 3 and sum(pain) / len(pain) >= config.pain_from:
        told.append(f"a grimace as in pain (AUs 4, 6/7, 9/10, 43: {sum(pain) / len(pain):.2f})")
    return told


def _fitted_score(
    observed: Observed, config: DyspneaConfig, confounders: tuple[str, ...]
) -> Dyspnea:
    """Return the probability of the first model of which everything is known."""
    models = [config.fitted, config.fitted_face]
    models = [model for model in models if model.features]
    model = next((each for each in models if not _unknown(observed, each)), models[-1])
    unknown = _unknown(observed, models[0])
    items = [
        _missing(
            feature, math.nan,
            observed.respiration_reason or "no rate" if feature == "respiration_rate"
            else "not assessed" if observed.action_units else _no_face(observed),
            hypothesis=model.hypothesis,
        )
        for feature in unknown
    ]  # fmt: skip
    reason, score, points = "", None, 0.0
    if _unknown(observed, model):
        reason = f"no score, for the fitted model needs {', '.join(_unknown(observed, model))}"
    else:
        for feature, weight, usual in zip(model.features, model.weights, model.means, strict=True):
            value = observed.value(feature)
            given = weight * (value - usual)
            points += given
            items.append(Item(
                name=feature, points=given, most=math.nan, text=f"{value:.2f}",
                hypothesis=model.hypothesis,
            ))  # fmt: skip
        score = 0.5 * (1 + math.tanh((model.intercept + points) / 2))
    bound = math.nan if score is None else score
    return Dyspnea(
        score=score, lowest=bound, highest=bound, points=points, most=math.nan,
        items=tuple(items), confounders=confounders, reason=reason,
    )  # fmt: skip


def _unknown(observed: Observed, model: FittedModel) -> list[str]:
    return [name for name in model.features if math.isnan(observed.value(name))]


def _missing(name: str, most: float, why: str, *, hypothesis: bool) -> Item:
    return Item(name=name, points=math.nan, most=most, missing=why, hypothesis=hypothesis)


def _no_face(observed: Observed) -> str:
    return observed.face_reason or "no face"


def _known(observed: Observed, units: tuple[int, ...]) -> dict[int, float]:
    values = {unit: observed.probability(unit) for unit in units}
    return {unit: value for unit, value in values.items() if not math.isnan(value)}


def _of_surest(values: Mapping[int, float]) -> float:
    surest = sorted(values.values())[-2:]
    return sum(surest) / len(surest)


def _harmonic_mean(one: float, other: float) -> float:
    return 2 * one * other / (one + other) if one + other else 0.0


def _ramp(value: float, low: float, high: float) -> float:
    """Return 0 up to ``low``, 1 from ``high`` on, and a straight line between."""
    return min(max((value - low) / (high - low), 0.0), 1.0)
