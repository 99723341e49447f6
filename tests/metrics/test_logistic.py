"""Fits are those of the definition, and judged on people that they have not seen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from cycada.metrics.bootstrap import Floats
from cycada.metrics.calibration import probability
from cycada.metrics.detection import roc_auc
from cycada.metrics.logistic import PENALTIES, Bools, fit, folds_of, judged_fit, out_of_fold


def drawn(count: int, weights: Floats, *, seed: int = 0) -> tuple[Floats, Bools]:
    """Return features of very different scales, and a sign whose log-odds are linear in them."""
    draw = np.random.default_rng(seed)
    features = draw.normal(0, 1, (count, len(weights)))
    present = draw.uniform(size=count) < probability(features @ weights - 0.5)
    return features * 10.0 ** np.arange(len(weights)), present


@pytest.mark.parametrize("penalty", [0.3, 10.0, 100.0])
def test_the_fit_is_the_optimum_that_a_general_optimiser_finds(penalty: float) -> None:
    features, present = drawn(120, np.array([1.0, -2.0, 0.0]))
    standard = (features - features.mean(0)) / features.std(0)

    def loss(values: Floats) -> float:
        odds = standard @ values[:-1] + values[-1]
        return float(
            (np.logaddexp(0, odds) - present * odds).sum() + penalty * (values[:-1] ** 2).sum() / 2
        )

    best = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-9}).x
    line = fit(features, present, penalty=penalty)
    assert line.weights * features.std(0) == pytest.approx(best[:-1], abs=1e-4)
    assert line.intercept == pytest.approx(best[-1], abs=1e-4)
    assert line(features) == pytest.approx(standard @ best[:-1] + best[-1], abs=1e-3)


def test_a_perfect_separation_and_a_feature_that_never_varies_stay_finite() -> None:
    features = np.stack([np.arange(20.0), np.full(20, 3.0)], axis=1)
    line = fit(features, np.arange(20) >= 10, penalty=0.3)
    assert np.isfinite(line(features)).all()
    assert line.weights[0] > 0
    assert line.weights[1] == 0


def test_a_subject_is_in_one_fold_and_no_fold_has_all_of_a_kind() -> None:
    draw = np.random.default_rng(0)
    for _ in range(300):
        people = [f"s{number}" for number in range(draw.integers(4, 12))]
        subjects = [str(draw.choice(people)) for _ in range(40)]
        inclined = dict(zip(people, draw.choice([0.0, 1.0, 0.3], len(people)), strict=True))
        present = np.array([draw.uniform() < inclined[each] for each in subjects])
        order = sorted(set(subjects))
        folds = folds_of(subjects, present, count=min(5, len(order)), order=order)
        assert all(len({*folds[np.array(subjects) == each]}) == 1 for each in order)
        for kind in (True, False):
            showing = {each for each, there in zip(subjects, present, strict=True) if there == kind}
            assert len(showing) < 2 or len({*folds[present == kind]}) > 1


def test_what_a_fit_knows_of_a_person_does_not_count_for_it() -> None:
    """Features that tell who somebody is, and nothing else, seem to tell the sign within people."""
    draw = np.random.default_rng(2)
    who = np.repeat(np.arange(30), 10)
    present = (np.arange(30) % 2 == 0)[who]
    features = draw.normal(0, 1, (30, 20))[who] + draw.normal(0, 0.1, (300, 20))
    everywhere = np.ones((300, 1), dtype=bool)
    subjects = [str(each) for each in who]
    order = sorted(set(subjects), key=int)
    folds = folds_of(subjects, present, count=5, order=order)
    mixed = np.arange(300) % 5
    unseen, seen = (
        roc_auc(
            out_of_fold(features, present, each, penalty=1.0)[:, None], present[:, None], everywhere
        )[0]
        for each in (folds, mixed)
    )
    assert seen > 0.95
    assert unseen < 0.75


def test_probabilities_out_of_fold_mean_what_they_say() -> None:
    features, present = drawn(3000, np.array([1.5, -1.0]), seed=4)
    subjects = [str(each // 100) for each in range(3000)]
    folds = folds_of(subjects, present, count=5, order=sorted(set(subjects)))
    judged = judged_fit(features, present, folds)
    assert judged.penalty in PENALTIES
    truth = features / [1, 10] @ [1.5, -1.0] - 0.5
    assert judged.line(features) == pytest.approx(truth, abs=0.6)
    upper = judged.probabilities > 0.5
    for part in (upper, ~upper):
        said, happened = judged.probabilities[part].mean(), present[part].mean()
        assert said == pytest.approx(happened, abs=0.05)


def test_noise_gets_the_strongest_penalty_or_no_slope() -> None:
    draw = np.random.default_rng(3)
    features, present = draw.normal(0, 1, (80, 8)), draw.uniform(size=80) < 0.5
    subjects = [str(each // 8) for each in range(80)]
    folds = folds_of(subjects, present, count=5, order=sorted(set(subjects)))
    judged = judged_fit(features, present, folds)
    assert judged.penalty == PENALTIES[0]
    assert np.abs(judged.line(features)).max() < 1.5
