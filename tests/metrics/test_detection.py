"""Detection scores against brute force, hand-made cases and known properties."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from cycada.metrics.bootstrap import bootstrap_mean, interval, subject_draws
from cycada.metrics.detection import (
    accuracy,
    average_precision,
    best_thresholds,
    bootstrap_f1,
    bootstrap_roc_auc,
    confusion_matrix,
    counts_by_subject,
    f1_of_counts,
    f1_scores,
    gap_closed,
    mean_over_units,
    prevalence,
    roc_auc,
)
from cycada.metrics.scores import DetectionScores, score_detector
from cycada.task import Task


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
        task=Task((1, 2, 4, 6)),
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
        task=Task((1, 2, 4, 6)),
        resamples=50,
    )
    text = json.dumps(scores.to_json(), allow_nan=False)
    again = DetectionScores.from_json(json.loads(text))
    assert repr(again) == repr(scores)
    assert scores.left_out == ("AU04",)
    assert scores.averaged == ("AU01", "AU02", "AU06")
    assert scores.units[0].f1_interval.low <= scores.units[0].f1 <= scores.units[0].f1_interval.high


def test_intervals_depend_on_the_seed_only(frames):
    def made(seed: int) -> DetectionScores:
        return score_detector(
            frames["scores"],
            frames["labels"],
            frames["known"],
            subjects=frames["subjects"],
            thresholds=[0.5] * 4,
            task=Task((1, 2, 4, 6)),
            seed=seed,
            resamples=100,
        )

    assert made(1) == made(1)
    assert made(1).macro_f1_interval != made(2).macro_f1_interval


NAMES = ("happy", "neutral", "sad")


@pytest.fixture(scope="module")
def told() -> dict[str, np.ndarray]:
    """90 faces of 5 subjects, three classes, one face in five without a label."""
    draw = np.random.default_rng(5)
    classes = draw.choice(3, size=90, p=[0.5, 0.3, 0.2])
    chances = 0.4 * np.eye(3)[classes] + draw.random((90, 3))
    chances = np.round(chances / chances.sum(1, keepdims=True), 2)
    chances += [2e-6, 1e-6, 0]  # rounded for ties between faces, but none within a face
    return {
        "classes": classes,
        "probabilities": chances,
        "labels": np.eye(3)[classes],
        "labelled": draw.random(90) < 0.8,
        "subjects": draw.choice(["e", "b", "a", "d", "c"], size=90),
    }


def known_rows(told: dict[str, np.ndarray]) -> np.ndarray:
    return np.repeat(told["labelled"][:, None], 3, axis=1)


def right_or_wrong(told: dict[str, np.ndarray]) -> list[tuple[str, int, int]]:
    """Return the subject, the class and the most probable class of each labelled face."""
    rows = zip(
        told["subjects"], told["classes"], told["probabilities"].tolist(), told["labelled"],
        strict=True,
    )  # fmt: skip
    return [
        (str(subject), int(true), max(range(3), key=row.__getitem__))
        for subject, true, row, labelled in rows
        if labelled
    ]


def score_classes(told: dict[str, np.ndarray], **changes: Any) -> DetectionScores:
    given = {
        "subjects": told["subjects"], "thresholds": [0.9, 0.0, 0.5],  # which classes do not have
        "task": Task(classes=NAMES), "resamples": 40, "seed": 2, **changes,
    }  # fmt: skip
    return score_detector(told["probabilities"], told["labels"], known_rows(told), **given)


def test_the_confusion_matrix_counts_each_labelled_face_once(told):
    found = confusion_matrix(told["probabilities"], told["labels"], known_rows(told))
    expected = [[0] * 3 for _ in range(3)]
    for _, true, guess in right_or_wrong(told):
        expected[true][guess] += 1
    assert found.tolist() == expected
    assert found.sum() == told["labelled"].sum() < 90
    assert not np.array_equal(found, found.T)  # so that rows are told from columns


def test_accuracy_is_the_share_of_labelled_faces_that_are_right(told):
    faces = right_or_wrong(told)
    expected = sum(true == guess for _, true, guess in faces) / len(faces)
    assert 0.4 < expected < 0.9
    found = accuracy(told["probabilities"], told["labels"], known_rows(told))
    assert found == pytest.approx(expected, abs=1e-12)


def test_accuracy_is_undefined_without_a_label():
    nothing = np.zeros((4, 3), bool)
    assert math.isnan(accuracy(np.ones((4, 3)), np.eye(3)[[0, 1, 2, 0]], nothing))
    assert not confusion_matrix(np.ones((4, 3)), np.eye(3)[[0, 1, 2, 0]], nothing).any()


def test_scores_of_classes_by_brute_force(told):
    scores = score_classes(told)
    faces = right_or_wrong(told)
    assert (scores.kind, scores.subjects) == ("classes", 5)
    assert [unit.name for unit in scores.units] == list(NAMES)
    shares = []
    for place, unit in enumerate(scores.units):
        hits = sum(true == guess == place for _, true, guess in faces)
        shown = sum(true == place for _, true, _ in faces)
        said = sum(guess == place for _, _, guess in faces)
        shares.append(2 * hits / (shown + said))
        assert unit.f1 == pytest.approx(shares[-1], abs=1e-12)
        assert (unit.frames, unit.present) == (len(faces), shown)
        assert unit.prevalence == pytest.approx(shown / len(faces))
        chosen = told["probabilities"][told["labelled"], place]
        truth = (told["classes"] == place)[told["labelled"]]
        assert unit.roc_auc == pytest.approx(pairs(chosen, truth), abs=1e-12)
    assert scores.macro_f1 == pytest.approx(sum(shares) / 3, abs=1e-12)
    right = sum(true == guess for _, true, guess in faces)
    assert scores.accuracy == pytest.approx(right / len(faces), abs=1e-12)
    assert scores.headline == scores.accuracy
    assert scores.headline_interval == scores.accuracy_interval
    assert sum(map(sum, scores.confusion)) == len(faces)
    assert scores.confusion[0][1] == sum((true, guess) == (0, 1) for _, true, guess in faces)
    assert (scores.averaged, scores.left_out) == (NAMES, ())


def test_the_interval_of_the_accuracy_resamples_the_subjects_of_the_labelled_faces(told):
    scores = score_classes(told)
    samples = []
    for sample in subject_draws(5, resamples=40, seed=2):
        outcomes = [
            true == guess
            for name, times in zip("abcde", sample, strict=True)
            for _ in range(times)
            for subject, true, guess in right_or_wrong(told)
            if subject == name
        ]
        samples.append(sum(outcomes) / len(outcomes))
    expected = np.quantile(samples, [0.025, 0.975])
    assert expected[1] - expected[0] > 0.02
    assert scores.accuracy_interval == pytest.approx(tuple(expected), abs=1e-12)


def test_a_class_that_nobody_shows_is_left_out_of_the_means(told):
    some = told["classes"] != 2
    scores = score_classes({name: values[some] for name, values in told.items()})
    assert (scores.averaged, scores.left_out) == (NAMES[:2], NAMES[2:])
    assert math.isnan(scores.units[2].f1)
    assert scores.macro_f1 == pytest.approx((scores.units[0].f1 + scores.units[1].f1) / 2)
    assert sum(row[2] for row in scores.confusion) > 0  # it is told all the same


def test_scores_of_classes_survive_the_way_to_json_and_back(told):
    scores = score_classes(told)
    again = DetectionScores.from_json(json.loads(json.dumps(scores.to_json(), allow_nan=False)))
    assert again == scores
    assert repr(again) == repr(scores)
    alone = score_classes(told, subjects=["one"] * 90)
    again = DetectionScores.from_json(json.loads(json.dumps(alone.to_json(), allow_nan=False)))
    assert math.isnan(again.accuracy_interval.low)
    assert repr(again) == repr(alone)


def test_the_headline_of_action_units_is_the_mean_f1(frames):
    scores = score_detector(
        frames["scores"], frames["labels"], frames["known"], subjects=frames["subjects"],
        thresholds=[0.5] * 4, task=Task((1, 2, 4, 6)), resamples=20,
    )  # fmt: skip
    assert scores.kind == "action_units"
    assert (scores.headline, scores.headline_interval) == (
        scores.macro_f1,
        scores.macro_f1_interval,
    )
    assert math.isnan(scores.accuracy)
    assert scores.confusion == ()


@pytest.mark.parametrize("at_once", [5_000_000, 25, 1])
def test_resampled_roc_auc_counts_pairs_of_the_drawn_frames(at_once, monkeypatch):
    """With ties, gaps in the annotation, and subjects that are drawn never, once and often."""
    monkeypatch.setattr("cycada.metrics.detection._AT_ONCE", at_once)
    draw = np.random.default_rng(8)
    subjects = np.array(list("cabbacacbaac"))
    scores = np.round(draw.random((12, 3)), 1)
    labels = draw.random((12, 3)) < 0.5
    known = draw.random((12, 3)) < 0.8
    known[:, 2] = False  # an AU that nobody annotated
    draws = np.array([[1, 1, 1], [0, 2, 1], [3, 0, 0], [0, 0, 3], [1, 2, 0], [0, 0, 0]])
    found = bootstrap_roc_auc(scores, labels, known, subjects=subjects, draws=draws)
    assert found.shape == (6, 3)
    ties = 0
    for sample, row in zip(draws, found, strict=True):
        for unit in range(3):
            chosen = [
                frame
                for frame in range(12)
                if known[frame, unit]
                for _ in range(sample["abc".index(subjects[frame])])
            ]
            yes = [scores[frame, unit] for frame in chosen if labels[frame, unit]]
            no = [scores[frame, unit] for frame in chosen if not labels[frame, unit]]
            ties += sum(one == other for one in yes for other in no)
            if not (yes and no):
                assert math.isnan(row[unit])
                continue
            won = sum((one > other) + 0.5 * (one == other) for one in yes for other in no)
            assert row[unit] == pytest.approx(won / (len(yes) * len(no)), abs=1e-12)
    assert ties
    assert np.isfinite(found[:5, :2]).sum() >= 8


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
