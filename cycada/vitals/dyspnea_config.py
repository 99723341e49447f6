"""What the dyspnea score is made of: points, thresholds, and where each comes from.

A table that replaces points or thresholds should replace its ``source`` and ``hypothesis``, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cycada.action_units import BY_NUMBER
from cycada.errors import ConfigError
from cycada.settings import setting
from cycada.vitals.alarms import AlarmConfig
from cycada.vitals.expressivity import LIPS, ExpressivityConfig
from cycada.vitals.smoothing import SmoothingConfig

_SOURCE = "where points and thresholds come from"
_HYPOTHESIS = "whether no published study supports them as they are measured here"
_POINTS = "points that it gives at most; 0 leaves it out"

_RDOS = "RDOS (Campbell, Templin & Walch, Journal of Palliative Medicine 2010, 13:285)"


def check_feature(name: str) -> None:
    """Refuse a name that is no feature of a fitted score.

    Raises:
        ConfigError: Saying which ones there are.
    """
    if name in ("respiration_rate", "expressivity_rate"):
        return
    if re.fullmatch(r"AU\d\d", name) and int(name[2:]) in BY_NUMBER:
        return
    raise ConfigError(
        f"{name!r} is no feature of a dyspnea score; known are respiration_rate, "
        "expressivity_rate and AUs such as AU04."
    )


def _check_order(name: str, low: float, high: float) -> None:
    if not low < high:
        raise ConfigError(f"{name}.low must be below {name}.high, found {low:g} and {high:g}.")


def _check_units(name: str, units: tuple[int, ...]) -> None:
    if not units:
        raise ConfigError(f"{name} needs at least one AU.")
    for unit in units:
        if unit not in BY_NUMBER:
            raise ConfigError(f"{name}: FACS has no AU {unit}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class RateItem:
    """Respiratory rate, in steps as RDOS has them."""

    points: float = setting(2.0, _POINTS, low=0)
    low: float = setting(18.0, "breaths per minute up to which it gives none", low=0)
    high: float = setting(30.0, "breaths per minute up to which it gives half", low=0)
    source: str = setting(f"{_RDOS}: up to 18, 19 to 30, above 30 per minute", _SOURCE)
    hypothesis: bool = setting(False, _HYPOTHESIS)

    def __post_init__(self) -> None:
        """Refuse thresholds out of order."""
        _check_order("rate", self.low, self.high)


@dataclass(frozen=True, kw_only=True, slots=True)
class FlaringItem:
    """Nasal flaring: AU38, nostril dilator."""

    points: float = setting(0.5, _POINTS, low=0)
    low: float = setting(0.4, "probability of AU38 up to which it gives none", low=0, high=1)
    high: float = setting(0.8, "probability from which it gives all", low=0, high=1)
    source: str = setting(
        f"an item of {_RDOS}, with 2 points; a quarter of them here, for in DiapHRaGM (Tulaimat & "
        "Trick, PLoS One 2017, e0179641) it explained nothing more; that AU38 tells it, the "
        "points, and the probabilities, are a hypothesis",
        _SOURCE,
    )
    hypothesis: bool = setting(True, _HYPOTHESIS)

    def __post_init__(self) -> None:
        """Refuse thresholds out of order."""
        _check_order("flaring", self.low, self.high)


@dataclass(frozen=True, kw_only=True, slots=True)
class FearItem:
    """Look of fear: eyes wide open and a tense face, and a mouth open."""

    points: float = setting(3.0, _POINTS, low=0)
    eyes: tuple[int, ...] = setting((1, 2, 5), "AUs of eyes wide open: brows and upper lids")
    tense: tuple[int, ...] = setting((4, 7, 20), "AUs of a tense face: frown, lids, lips")
    lips: tuple[int, ...] = setting((25, 26), "AUs of an open mouth, of which the surer counts")
    least_units: int = setting(
        3, "AUs of these that must be assessed, at least one of eyes and one of tense", low=2
    )
    low: float = setting(0.42, "strength up to which it gives none", low=0, high=1)
    high: float = setting(0.65, "strength from which it gives all", low=0, high=1)
    source: str = setting(
        f"an item of {_RDOS} and of MV-RDOS (Decavèle et al., European Respiratory Journal 2018), "
        "0 or 2 points in RDOS; more here, for the rate follows half a minute late; the AUs are "
        "EMFACS' fear (1+2+4+5+7+20+25/26), and that they tell the item, the points, and the "
        "thresholds, are a hypothesis",
        _SOURCE,
    )
    hypothesis: bool = setting(True, _HYPOTHESIS)

    def __post_init__(self) -> None:
        """Refuse thresholds out of order, and what is no AU."""
        _check_order("fear", self.low, self.high)
        for name, units in (("eyes", self.eyes), ("tense", self.tense), ("lips", self.lips)):
            _check_units(f"fear.{name}", units)


@dataclass(frozen=True, kw_only=True, slots=True)
class MouthItem:
    """Breathing through the mouth: seen there, or lips that stay apart without talk."""

    points: float = setting(0.5, _POINTS, low=0)
    units: tuple[int, ...] = setting(LIPS, "AUs of parted lips, of which the surest counts")
    low: float = setting(0.5, "probability up to which it gives none", low=0, high=1)
    high: float = setting(0.8, "probability from which it gives all", low=0, high=1)
    source: str = setting(
        "parted lips were found in acute illness in 3 studies (scoping review by Cramer et al.); "
        "no observation scale of dyspnea has them: a hypothesis",
        _SOURCE,
    )
    hypothesis: bool = setting(True, _HYPOTHESIS)

    def __post_init__(self) -> None:
        """Refuse thresholds out of order, and what is no AU."""
        _check_order("mouth", self.low, self.high)
        _check_units("mouth.units", self.units)


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedModel:
    """A logistic regression that a group has fitted to its own labels (``cycada fit-dyspnea``)."""

    features: tuple[str, ...] = setting(
        (),
        "columns of vitals.csv: respiration_rate, expressivity_rate, AU01 and so on; [] no model",
    )
    weights: tuple[float, ...] = setting((), "log-odds per unit of each feature, calibrated")
    means: tuple[float, ...] = setting((), "usual value of each feature, at which it gives 0")
    intercept: float = setting(0.0, "log-odds where all features are usual")
    source: str = setting("", "what it was fitted to, and how it did on subjects it had not seen")
    hypothesis: bool = setting(True, _HYPOTHESIS)

    def __post_init__(self) -> None:
        """Refuse a model that says nothing, or too much, of a feature."""
        if not len(self.features) == len(self.weights) == len(self.means):
            raise ConfigError(
                f"a fitted model needs one weight and one mean for each feature, found "
                f"{len(self.features)} features, {len(self.weights)} weights and "
                f"{len(self.means)} means."
            )
        for name in self.features:
            check_feature(name)


@dataclass(frozen=True, kw_only=True, slots=True)
class DyspneaConfig:
    """The dyspnea score and its alarm: what ``cycada monitor --score FILE`` reads."""

    least_known: float = setting(
        0.25, "share of all points that the known items must be able to give", low=0, high=1
    )
    smile_from: float = setting(
        0.5,
        "probability of AU12 from which a smile is told, and parted lips count less by as much as "
        "it is",
        low=0,
        high=1,
    )
    pain_from: float = setting(
        0.5,
        "probability of AU4, and mean probability of PSPI's AUs, from which a grimace as in pain "
        "is told",
        low=0,
        high=1,
    )
    rate: RateItem = setting(RateItem(), "")
    flaring: FlaringItem = setting(FlaringItem(), "")
    fear: FearItem = setting(FearItem(), "")
    mouth: MouthItem = setting(MouthItem(), "")
    fitted: FittedModel = setting(FittedModel(), "")
    fitted_face: FittedModel = setting(FittedModel(), "")
    smoothing: SmoothingConfig = setting(SmoothingConfig(), "")
    expressivity: ExpressivityConfig = setting(ExpressivityConfig(), "")
    alarm: AlarmConfig = setting(AlarmConfig(), "")

    def __post_init__(self) -> None:
        """Refuse a score that nothing can give."""
        points = (self.rate.points, self.flaring.points, self.fear.points, self.mouth.points)
        if not any(points) and not self.fitted.features:
            raise ConfigError("a score needs an item with points above 0, or a fitted model.")
        if self.fitted_face.features and not self.fitted.features:
            raise ConfigError("fitted_face is used where fitted lacks the breathing; fit both.")
