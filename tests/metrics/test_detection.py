"""Detection scores against brute force, hand-made cases and known properties."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from cycada.metrics.bootstrap import bootstrap_mean, interval, subject_draws
from cycada.metrics.detection import (
    DetectionScores,
    average_precision,
    best_thresholds,
    bootstrap_f1,
    bootstrap_roc_auc,
    counts_by_subject,
    f1_of_counts,
    f1_scores,
    gap_closed,
    mean_over_units,
    prevalence,
    roc_auc,
    score_detector,
)


@pytest.fixture(scope="module")
def frames() -> dict[str, np.ndarray]:
    """120 frames of 6 subjects with ties in the scores and gaps in the annotation."""
    draw = np.random.default_rng(3)
    labels = (draw.random((120, 4)) < [0.5, 0.2, 0.05, 0.4]).astype(float)
    scores = np.clip(np.round(0.35 * labels + draw.random((120, 4)) * 0.7, 1), 0, 1)
    return {
        "scores": scores,
        "labels": labels,
        "known": draw.random((120, 4)) < 0.8,
        "subjects": np.repeat(["f", "a", "e", "b", "d", "c"], 20),
    }


def pairs(scores: np.ndarray, truth: np.ndarray) -> float:
    """ROC-AUC by its definition: every present frame against every absent one."""
    return float(
        np.mean(
            [
                (yes > no) + 0.5 * (yes == no)
                for yes in scores[truth == 1]
                for no in scores[truth == 0]
            ]
        )
    )


def test_f1_pools_true_and_false_positives_over_frames():
    predicted = np.array([[1, 1], [1, 0], [0, 0], [1, 1]], dtype=bool)
    labels = np.array([[1, 1], [0, 1], [1, 0], [1, 1]])
    assert f1_scores(predicted, labels, np.ones((4, 2), bool)) == pytest.approx([4 / 6, 4 / 5])


def test_f1_ignores_frames_without_annotation():
    predicted = np.array([[True], [True], [False]])
    labels = np.array([[1], [np.nan], [-1]])
    assert f1_scores(predicted, labels, np.array([[True], [False], [False]])) == pytest.approx([1])


def test_f1_is_undefined_for_an_au_that_nobody_shows_and_left_out_of_the_mean():
    labels = np.array([[1, 0, 1], [0, 0, 1]])
    known = np.array([[True, True, False], [True, True, False]])
    scores = f1_scores(np.ones((2, 3), bool), labels, known)
    assert scores[0] == pytest.approx(2 / 3)
    assert np.isnan(scores[1:]).all()
    assert mean_over_units(scores) == pytest.approx(2 / 3)
    assert math.isnan(mean_over_units([np.nan, np.nan]))


def test_f1_is_zero_when_every_present_frame_is_missed():
    assert f1_scores([[False]], [[1]], [[True]]) == pytest.approx([0])


def test_roc_auc_is_the_share_of_pairs_in_the_right_order(frames):
    found = roc_auc(frames["scores"], frames["labels"], frames["known"])
    for unit in range(4):
        mask = frames["known"][:, unit]
        expected = pairs(frames["scores"][mask, unit], frames["labels"][mask, unit])
        assert found[unit] == pytest.approx(expected, abs=1e-12)


def test_roc_auc_is_undefined_with_one_class_only():
    assert np.isnan(roc_auc([[0.1], [0.9]], [[1], [1]], [[True], [True]])).all()


def test_average_precision_sums_precision_over_gained_recall(frames):
    found = average_precision(frames["scores"], frames["labels"], frames["known"])
    for unit in range(4):
        mask = frames["known"][:, unit]
        scores, truth = frames["scores"][mask, unit], frames["labels"][mask, unit]
        total, before = 0.0, 0.0
        for level in sorted(set(scores), reverse=True):
            chosen = scores >= level
            recall = truth[chosen].sum() / truth.sum()
            total += (recall - before) * truth[chosen].mean()
            before = recall
        assert found[unit] == pytest.approx(total, abs=1e-12)


def test_prevalence_counts_annotated_frames_only():
    labels, known = np.array([[1], [0], [1]]), np.array([[True], [True], [False]])
    assert prevalence(labels, known) == pytest.approx([0.5])
    assert np.isnan(prevalence(labels, np.zeros((3, 1), bool))).all()


def test_thresholds_beat_every_cut_that_brute_force_can_find(frames):
    cuts = best_thresholds(frames["scores"], frames["labels"], frames["known"])
    reached = f1_scores(frames["scores"] >= cuts, frames["labels"], frames["known"])
    for unit in range(4):
        present = (frames["labels"] * frames["known"])[:, unit].sum()
        if present < 5:
            assert cuts[unit] == 0.5
            continue
        for cut in np.linspace(0.001, 0.999, 500):
            decided = frames["scores"] >= cut
            other = f1_scores(decided, frames["labels"], frames["known"])[unit]
            assert reached[unit] >= other - 1e-12


def test_a_threshold_stays_at_half_with_fewer_than_five_present_frames():
    labels = np.array([[1]] * 4 + [[0]] * 6)
    scores = np.linspace(0.2, 0.1, 10)[:, None]
    assert best_thresholds(scores, labels, np.ones_like(labels)) == pytest.approx([0.5])


def test_a_threshold_lies_halfway_between_the_classes():
    labels = np.array([[1]] * 5 + [[0]] * 5)
    scores = np.array([[0.3]] * 5 + [[0.1]] * 5)
    assert best_thresholds(scores, labels, np.ones_like(labels)) == pytest.approx([0.2])


def test_resampled_f1_equals_f1_of_the_repeated_frames(frames):
    decided = frames["scores"] >= 0.5
    counts = counts_by_subject(decided, frames["labels"], frames["known"], frames["subjects"])
    draws = subject_draws(6, resamples=5, seed=1)
    samples = bootstrap_f1(counts, draws)
    auc = bootstrap_roc_auc(
        frames["scores"],
        frames["labels"],
        frames["known"],
        subjects=frames["subjects"],
        draws=draws,
    )
    for sample, f1, area in zip(draws, samples, auc, strict=True):
        chosen = np.concatenate(
            [
                np.flatnonzero(np.tile(frames["subjects"] == name, 1))
                for name, times in zip("abcdef", sample, strict=True)
                for _ in range(times)
            ]
        )
        labels, known = frames["labels"][chosen], frames["known"][chosen]
        assert f1 == pytest.approx(f1_scores(decided[chosen], labels, known), nan_ok=True)
        expected = roc_auc(frames["scores"][chosen], labels, known)
        assert area == pytest.approx(expected, nan_ok=True)


def test_subjects_that_differ_widen_the_interval_that_frames_would_give():
    values = np.repeat([0.0, 1.0, 0.0, 1.0, 0.0, 1.0], 100)
    by_subject = bootstrap_mean(values, np.repeat(np.arange(6), 100))
    by_frame = bootstrap_mean(values, np.arange(600))
    assert by_subject.high - by_subject.low > 5 * (by_frame.high - by_frame.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    draw, covered = np.random.default_rng(0), 0
    for seed in range(200):
        person = draw.normal(size=30)
        values = np.repeat(person, 4) + 0.1 * draw.normal(size=120)
        low, high = bootstrap_mean(values, np.repeat(np.arange(30), 4), resamples=300, seed=seed)
        covered += low <= 0 <= high
    assert 0.88 <= covered / 200 <= 0.98


def test_one_subject_gives_no_interval(frames):
    scores = score_detector(
        frames["scores"],
        frames["labels"],
        frames["known"],
        subjects=["only"] * 120,
        thresholds=[0.5] * 4,
        action_units=[1, 2, 4, 6],
    )
    assert math.isnan(scores.macro_f1_interval.low)
    assert scores.macro_f1 > 0
    assert math.isnan(bootstrap_mean([1.0, 2.0], ["x", "x"]).low)
    assert math.isnan(interval([np.nan]).low)


def test_scores_survive_the_way_to_json_and_back(frames):
    labels = frames["labels"].copy()
    labels[:, 2] = 0
    scores = score_detector(
        frames["scores"],
        labels,
        frames["known"],
        subjects=frames["subjects"],
        thresholds=[0.5, 0.4, 0.5, 0.6],
        action_units=[1, 2, 4, 6],
        resamples=50,
    )
    text = json.dumps(scores.to_json(), allow_nan=False)
    again = DetectionScores.from_json(json.loads(text))
    assert repr(again) == repr(scores)
    assert scores.left_out == (4,)
    assert scores.averaged == (1, 2, 6)
    assert scores.units[0].f1_interval.low <= scores.units[0].f1 <= scores.units[0].f1_interval.high


def test_intervals_depend_on_the_seed_only(frames):
    def made(seed: int) -> DetectionScores:
        return score_detector(
            frames["scores"],
            frames["labels"],
            frames["known"],
            subjects=frames["subjects"],
            thresholds=[0.5] * 4,
            action_units=[1, 2, 4, 6],
            seed=seed,
            resamples=100,
        )

    assert made(1) == made(1)
    assert made(1).macro_f1_interval != made(2).macro_f1_interval


def test_gap_closed_is_undefined_without_a_gap():
    assert gap_closed(0.4, 0.7, 0.8) == pytest.approx(0.75)
    assert math.isnan(gap_closed(0.8, 0.7, 0.8))


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match="one \\(N, A\\) shape"):
        f1_scores(np.ones((3, 1)), np.ones((3, 2)), np.ones((3, 2)))


def test_counts_add_up_over_subjects(frames):
    decided = frames["scores"] >= 0.5
    counts = counts_by_subject(decided, frames["labels"], frames["known"], frames["subjects"])
    pooled = f1_scores(decided, frames["labels"], frames["known"])
    assert f1_of_counts(counts.sum(axis=0)) == pytest.approx(pooled)
