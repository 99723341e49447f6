"""Points come from what is seen, what is missing is told, and nothing is made up."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from cycada.errors import ConfigError
from cycada.settings import load_config
from cycada.vitals.alarms import Alarm, Event
from cycada.vitals.dyspnea import Dyspnea, DyspneaConfig, Observed, dyspnea_score
from cycada.vitals.expressivity import TalkMonitor
from cycada.vitals.smoothing import Smoother

UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 17, 20, 23, 24, 25, 26, 38, 43)


def face(*units: int, shown: float = 0.85, others: float = 0.1) -> dict[int, float]:
    return {unit: shown if unit in units else others for unit in UNITS}


CALM = face()
FEAR = face(1, 2, 4, 5, 7, 20, 25, 26)
SMILE = face(6, 12, 25)
SURPRISE = face(1, 2, 5, 25, 26)
PAIN = face(4, 6, 7, 9, 10, 25, 43)


def points(told: Dyspnea) -> dict[str, float]:
    return {each.name: each.points for each in told.items}


@pytest.mark.parametrize(
    ("rate", "expected"), [(6, 0), (18.4, 0), (18.6, 1), (30.4, 1), (30.6, 2), (45, 2)]
)
def test_the_respiratory_rate_has_the_steps_of_rdos(rate: float, expected: float) -> None:
    told = dyspnea_score(Observed(respiration_rate=rate, action_units=CALM))
    assert points(told)["respiratory rate"] == expected
    assert told.score == pytest.approx(expected / 6)
    assert not told.items[0].hypothesis


def test_fear_with_fast_breathing_is_dyspnea_and_calm_is_none() -> None:
    assert dyspnea_score(Observed(respiration_rate=14, action_units=CALM)).score == 0
    told = dyspnea_score(Observed(respiration_rate=34, action_units=FEAR | {38: 0.9}))
    assert told.score == 1
    assert (told.points, told.most) == (6, 6)
    assert "fearful face 3.0 of 3 (eyes 0.85, tension 0.85, lips 0.85)" in told.reasons
    assert "respiratory rate 2.0 of 2 (34 breaths per minute)" in told.reasons


@pytest.mark.parametrize("seen", [SMILE, SURPRISE, PAIN, face(25, 26), face(4), face(12, 25, 26)])
@pytest.mark.parametrize("rate", [15.0, math.nan])
def test_no_other_face_alone_reaches_the_alarm(seen: Mapping[int, float], rate: float) -> None:
    told = dyspnea_score(Observed(respiration_rate=rate, action_units=seen))
    assert told.score is not None
    assert told.score < DyspneaConfig().alarm.on
    assert points(told)["fearful face"] < 0.5


def test_a_fearful_face_reaches_it_before_the_rate_has_followed() -> None:
    for rate in (14.0, math.nan):
        told = dyspnea_score(Observed(respiration_rate=rate, action_units=FEAR))
        assert told.score is not None
        assert told.score > DyspneaConfig().alarm.on


def test_what_is_missing_is_told_with_the_reason_and_gives_no_points() -> None:
    fear = {unit: value for unit, value in FEAR.items() if unit != 38}
    told = dyspnea_score(Observed(respiration_reason="no rhythm", action_units=fear))
    assert told.missing == "respiratory rate (no rhythm); nasal flaring (AU38 is not assessed)"
    assert math.isnan(points(told)["respiratory rate"])
    # 3 of fear and 0.5 of the mouth, of the 3.5 that these can give; the other 2.5 may be 0.
    assert (told.score, told.lowest, told.highest) == pytest.approx((1, 3.5 / 6, 1))


ANGER, SADNESS = face(4, 5, 7, 23, 24), face(1, 4, 15, 17)


def test_one_missed_au_of_each_sign_leaves_the_look_of_fear() -> None:
    for missed in (1, 2, 4, 5, 7, 20):
        told = dyspnea_score(Observed(action_units=FEAR | {missed: 0.05}))
        assert points(told)["fearful face"] == 3
    for other in (ANGER, SADNESS):
        assert points(dyspnea_score(Observed(action_units=other)))["fearful face"] < 0.5


def test_unknown_and_absent_differ() -> None:
    unknown = dyspnea_score(Observed(respiration_rate=40, action_units=CALM | {38: math.nan}))
    absent = dyspnea_score(Observed(respiration_rate=40, action_units=CALM | {38: 0.0}))
    assert unknown.score == pytest.approx(2 / 5.5)
    assert absent.score == pytest.approx(2 / 6)


def test_without_the_face_there_is_no_score_however_fast_the_breathing() -> None:
    told = dyspnea_score(Observed(respiration_rate=40, face_reason="head turned away"))
    assert told.score is None
    assert "fast breathing alone may be effort or fever" in told.reason
    assert "fearful face (head turned away)" in told.missing
    few = dyspnea_score(Observed(respiration_rate=40, action_units={4: 0.9, 7: 0.9, 25: 0.9}))
    assert few.score is None
    assert "fearful face (too few of its AUs are assessed: AU04, AU07, AU25)" in few.missing


def test_a_covered_mouth_leaves_the_look_of_fear_to_eyes_and_brows() -> None:
    upper = {unit: FEAR[unit] for unit in (1, 2, 4, 5, 7)}
    told = dyspnea_score(Observed(respiration_reason="intubated", action_units=upper))
    assert told.score == 1
    assert "mouth breathing (lips are not assessed)" in told.missing
    calm = dyspnea_score(Observed(action_units=dict.fromkeys(upper, 0.1)))
    assert calm.score == 0


def test_too_little_known_for_a_score_is_said() -> None:
    config = load_config(DyspneaConfig, None, ["least_known=0.6"])
    told = dyspnea_score(Observed(action_units=FEAR | {38: math.nan}), config)
    assert told.score is None
    assert told.reason == (
        "no score, for the known items could give 3.5 of 6 points, and 60% is the least"
    )


def test_confounders_are_told() -> None:
    assert "a smile (AU12 0.85)" in dyspnea_score(Observed(action_units=SMILE)).reasons
    assert "a grimace as in pain" in dyspnea_score(Observed(action_units=PAIN)).reasons
    broad = dyspnea_score(Observed(action_units=face(6, 7, 10, 12, 25, 43)))
    assert broad.confounders == ("a smile (AU12 0.85)",)
    talking = dyspnea_score(Observed(action_units=face(25, 26), talks=True))
    assert "talk (the mouth opens and shuts)" in talking.reasons
    assert points(talking)["mouth breathing"] == 0
    assert not dyspnea_score(Observed(respiration_rate=14, action_units=CALM)).confounders
    assert not dyspnea_score(Observed(respiration_rate=34, action_units=FEAR)).confounders


def test_a_smile_takes_from_parted_lips_and_nothing_from_fear() -> None:
    """Some detectors take the stretched lips of fear for a smile."""
    both = dyspnea_score(Observed(action_units=FEAR | {12: 0.9}))
    assert points(both)["fearful face"] == 3
    assert points(both)["mouth breathing"] == 0
    assert "a smile (AU12 0.90)" in both.reasons
    slight = dyspnea_score(Observed(action_units=FEAR | {12: 0.4}))
    assert points(slight)["mouth breathing"] == 0.5


def test_breathing_seen_at_the_mouth_is_mouth_breathing_whatever_the_lips_show() -> None:
    told = dyspnea_score(Observed(respiration_rate=15, part="mouth", action_units=CALM))
    assert points(told)["mouth breathing"] == 0.5
    told = dyspnea_score(Observed(part="mouth", action_units=CALM))  # no rate: it is not seen
    assert points(told)["mouth breathing"] == 0


def test_points_and_sources_can_be_replaced() -> None:
    config = load_config(
        DyspneaConfig, None, ["mouth.points=0", "rate.points=4", "rate.source=our ward"]
    )
    told = dyspnea_score(Observed(respiration_rate=40, action_units=CALM), config)
    assert "mouth breathing" not in points(told)
    assert told.score == pytest.approx(4 / 7.5)
    for table in (config.rate, config.flaring, config.fear, config.mouth):
        assert table.source
        assert table.hypothesis == (table is not config.rate)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("fear.low=0.9", r"fear\.low must be below fear\.high"),
        ("fear.eyes=[3]", r"fear\.eyes: FACS has no AU 3"),
        ("mouth.units=[]", r"mouth\.units needs at least one AU"),
        ("rate.points=-1", r"rate\.points must be at least 0"),
        ('fitted.features=["AU04"]', r"found 1 features, 0 weights and 0 means"),
        (
            "fitted={features=['pulse'], weights=[1.0], means=[0.0]}",
            "'pulse' is no feature of a dyspnea score",
        ),
        (
            "fitted_face={features=['AU04'], weights=[1.0], means=[0.0]}",
            "fitted_face is used where fitted lacks the breathing",
        ),
    ],
)
def test_settings_that_make_no_score_are_refused(override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(DyspneaConfig, None, [override])


FITTED = {
    "fitted": {
        "features": ["respiration_rate", "AU04", "expressivity_rate"],
        "weights": [0.1, 2.0, -0.05],
        "means": [18.0, 0.3, 10.0],
        "intercept": -1.0,
    },
    "fitted_face": {
        "features": ["AU04"], "weights": [3.0], "means": [0.3], "intercept": -0.8,
    },
}  # fmt: skip


def test_a_fitted_model_gives_the_probability_of_its_formula() -> None:
    config = load_config(DyspneaConfig, values=FITTED)
    told = dyspnea_score(
        Observed(respiration_rate=30, action_units={4: 0.8}, expressivity=4), config
    )
    odds = -1 + 0.1 * 12 + 2 * 0.5 - 0.05 * -6
    assert told.score == pytest.approx(1 / (1 + math.exp(-odds)))
    assert "respiration_rate +1.2 (30.00)" in told.reasons


def test_a_fitted_model_falls_back_to_the_face_and_says_so() -> None:
    config = load_config(DyspneaConfig, values=FITTED)
    told = dyspnea_score(
        Observed(respiration_reason="no rhythm", action_units={4: 0.8}, expressivity=4), config
    )
    assert told.score == pytest.approx(1 / (1 + math.exp(0.8 - 1.5)))
    assert told.missing == "respiration_rate (no rhythm)"
    nothing = dyspnea_score(Observed(respiration_rate=30, expressivity=4), config)
    assert nothing.score is None
    assert nothing.reason == "no score, for the fitted model needs AU04"


# A patient by the second: what a detector and the breathing say.


def alarms(course: Iterator[tuple[float, Mapping[int, float], float]]) -> list[Event]:
    """Return the alarms that end, of frames as (seconds, probabilities, respiration rate)."""
    config = DyspneaConfig()
    smoother, talk, alarm = Smoother(config.smoothing), TalkMonitor(), Alarm(config.alarm)
    found, second, last = [], 0, 0.0
    for seconds, probabilities, rate in course:
        smoother.see(seconds, probabilities)
        talk.see(seconds, probabilities)
        last = seconds
        if seconds >= second + 1:
            second += 1
            told = dyspnea_score(
                Observed(
                    respiration_rate=rate, respiration_reason="estimators disagree",
                    action_units=smoother.tell(seconds), talks=talk.tell(seconds),
                ),
                config,
            )  # fmt: skip
            event = alarm.see(seconds, told.lowest, told.reasons)
            if event is not None and not event.lasts:
                found.append(event)
    event = alarm.close(last)
    return [*found, *([event] if event else [])]


def patient(
    look: Mapping[int, float], rate: float, *, seed: int, mouth: bool = False, length: float = 180
) -> Iterator[tuple[float, Mapping[int, float], float]]:
    """Yield a calm patient who looks so from 60 to 120 s; the rate follows 20 s behind.

    What a detector says is noisy in every frame, an AU of the look is missed altogether now and
    then, and a tenth of the frames have no face.
    """
    draw = np.random.default_rng(seed)
    missed = {unit for unit in look if draw.random() < 0.1}
    for frame in range(round(length * 9)):
        seconds = frame / 9
        shown = 60 <= seconds < 120
        odds = {
            unit: math.log(value / (1 - value)) + draw.normal(0, 1.0)
            for unit, value in (look if shown else CALM).items()
        }
        said = {
            unit: CALM[unit] if unit in missed else 1 / (1 + math.exp(-each))
            for unit, each in odds.items()
        }
        if mouth and shown:  # talk: syllables, and pauses between phrases
            apart = math.sin(2 * math.pi * 3.1 * seconds) > 0 and seconds % 4 < 3
            said |= dict.fromkeys((25, 26), 0.8 if apart else 0.15)
        if 60 <= seconds < 80 or 120 <= seconds < 140:
            told = math.nan if seconds % 60 > 8 else (14.0 if shown else rate)
        else:
            told = rate if 80 <= seconds < 120 else 14.0
        yield seconds, {} if draw.random() < 0.1 else said, told


@pytest.mark.parametrize("seed", range(20))
def test_fear_and_fast_breathing_raise_one_alarm_within_ten_seconds(seed: int) -> None:
    (event,) = alarms(patient(FEAR, 34.0, seed=seed))
    assert 60 <= event.start <= event.raised < 70
    assert 120 <= event.end < 140
    assert "fearful face" in event.reason


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("look", [SMILE, SURPRISE, PAIN], ids=["smile", "surprise", "pain"])
def test_other_faces_raise_none(look: Mapping[int, float], seed: int) -> None:
    assert not alarms(patient(look, 15.0, seed=seed))


@pytest.mark.parametrize("seed", range(6))
def test_a_talking_patient_raises_none(seed: int) -> None:
    assert not alarms(patient(CALM, 18.0, seed=seed, mouth=True))


def test_fast_breathing_with_a_calm_face_raises_none() -> None:
    assert not alarms(patient(CALM, 40.0, seed=0))
