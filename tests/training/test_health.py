"""What is said of a training's figures, and when: against runs drawn step by step."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch

from cycada.config import DetectorConfig
from cycada.settings import flatten
from cycada.training.health import Health, shift_of_one_answer

TOTAL = 1000
BATCH = 64  # faces of both domains
ONE_ANSWER = math.log(2)

SOUND = {"domain_accuracy": 0.6, "target_entropy": 0.3, "target_shift": 0.05}

Course = Callable[[int], dict[str, float]]  # figures of a step, counted from 0


def logged(course: Course, *, total: int = TOTAL, every: int = 50) -> list[dict[str, float]]:
    """Return the lines of a run: the mean of each figure since the line before."""
    lines = []
    for start in range(0, total, every):
        steps = range(start, min(start + every, total))
        figures = [course(step) for step in steps]
        means = {name: math.fsum(f[name] for f in figures) / len(steps) for name in figures[0]}
        lines.append({"step": steps[-1] + 1, "seconds": 1.5, **means})
    return lines


def said(
    lines: Iterable[dict[str, float]], health: Health | None = None
) -> list[tuple[int, str, str]]:
    """Return the step, the kind and the sentence of all that is said."""
    health = health or Health(TOTAL, one_answer=ONE_ANSWER)
    return [
        (int(line["step"]), kind_of(text), text)
        for line in lines
        for text in health.look(int(line["step"]), line)
    ]


def kind_of(text: str) -> str:
    words = ("it wins", "it guesses", "they collapse", "move away")
    (kind,) = (word for word in words if word in text)
    return kind


def kinds(course: Course, **how: Any) -> list[tuple[int, str]]:
    return [(step, kind) for step, kind, _ in said(logged(course, **how))]


def guessing(rate: float = 0.5, seed: int = 0, total: int = TOTAL) -> list[float]:
    """Return the accuracy at each step of a classifier that is right by chance."""
    draw = torch.Generator().manual_seed(seed)
    return (torch.rand(total, BATCH, generator=draw) < rate).double().mean(1).tolist()


def accuracy(values: list[float]) -> Course:
    return lambda step: {"domain_accuracy": values[step]}


def test_nothing_is_said_of_a_sound_run() -> None:
    # As in the runs of the demo: the classifier learns, then it is fooled more and more.
    def course(step: int) -> dict[str, float]:
        learning = math.exp(-step / 100)
        return {
            "domain_accuracy": 0.5 + 0.2 * learning + 0.05 * math.sin(step / 30),
            "target_entropy": 0.05 + 0.9 * learning,
            "target_shift": 0.05 + 0.1 * (1 - learning),
        }

    for every in (1, 7, 50, 300):
        assert kinds(course, every=every) == []


def test_a_classifier_that_wins_is_reported_once_with_its_figure_and_the_step() -> None:
    def course(step: int) -> dict[str, float]:
        return SOUND | {"domain_accuracy": 0.7 if step < 300 else 0.995}

    ((step, kind, text),) = said(logged(course))
    assert kind == "it wins"
    assert step == 500  # 20 % of the steps after it began
    assert "since step 300 the domain classifier is right in 99.5% of the faces" in text
    assert "Lower alignment.learning_rate, or raise alignment.weight" in text


def test_a_classifier_that_nearly_wins_is_not_reported() -> None:
    assert kinds(lambda _: {"domain_accuracy": 0.985}) == []


def test_what_has_ended_can_be_reported_anew() -> None:
    def course(step: int) -> dict[str, float]:
        return {"domain_accuracy": 0.6 if 400 <= step < 600 else 1.0}

    assert kinds(course) == [(200, "it wins"), (800, "it wins")]


def test_wavering_about_a_limit_is_reported_once() -> None:
    def course(step: int) -> dict[str, float]:
        return {"domain_accuracy": 0.99 + 0.008 * math.sin(step / 60)}

    assert len(kinds(course, total=5000)) == 1


@pytest.mark.parametrize("rate", [0.5, 0.42])
def test_a_classifier_that_never_learns_is_reported(rate: float) -> None:
    for every in (1, 10, 50):
        ((step, kind, text),) = said(logged(accuracy(guessing(rate)), every=every))
        assert (step, kind) == (200, "it guesses")
        best = re.search(r"right in ([\d.]+)% of the faces at best, over 50 steps", text)
        assert best is not None
        assert rate * 100 <= float(best.group(1)) <= 53
        assert "Raise alignment.learning_rate" in text


def test_chance_is_not_taken_for_learning_nor_learning_for_chance() -> None:
    for seed in range(20):
        assert kinds(accuracy(guessing(seed=seed))) == [(200, "it guesses")]
        assert kinds(accuracy(guessing(0.57, seed=seed))) == []


def test_a_classifier_that_is_fooled_at_once_has_not_learned() -> None:
    assert kinds(lambda _: {"domain_accuracy": 0.3}) == [(200, "it guesses")]


def test_half_is_the_aim_once_the_classifier_has_learned() -> None:
    assert kinds(lambda step: {"domain_accuracy": 0.65 if step < 60 else 0.5}) == []


def test_a_classifier_that_learns_late_is_reported_once() -> None:
    values = guessing()[:500] + [0.7] * 100 + guessing(seed=1)[:400]
    assert kinds(accuracy(values)) == [(200, "it guesses")]


def test_a_collapse_is_reported_with_its_figures_and_what_to_do() -> None:
    course = SOUND | {"target_entropy": 0.02, "target_shift": 0.5}
    ((step, kind, text),) = said(logged(lambda _: course))
    assert (step, kind) == (200, "they collapse")
    assert "since step 0 the answers on target faces are sure (entropy 2.0% of the" in text
    assert "(0.500 nats; one answer for all faces makes 0.693)" in text
    assert "Lower alignment.weight, self_training.information or self_training.consistency" in text


def test_only_sure_and_uniform_answers_are_a_collapse() -> None:
    for entropy, shift in ((0.12, 0.5), (0.02, 0.3)):
        assert kinds(lambda _, e=entropy, s=shift: {"target_entropy": e, "target_shift": s}) == []
    assert kinds(lambda _: {"target_shift": 0.5}) == []
    assert kinds(lambda _: {"target_entropy": 0.02}) == []


def test_answers_that_move_away_are_reported_before_they_collapse() -> None:
    def course(step: int) -> dict[str, float]:
        gone = max(0, step - 300) / 700
        return SOUND | {"target_entropy": 0.3 - 0.3 * gone, "target_shift": 0.1 + 0.55 * gone}

    (first, kind, text), (second, later, _) = said(logged(course))
    assert (kind, later) == ("move away", "they collapse")
    assert 300 < first < second
    assert "from 0.100 to 0.2" in text
    assert re.search(r"since step (2|3)\d\d ", text)


def test_a_collapse_at_one_blow_is_called_a_collapse_alone() -> None:
    def course(step: int) -> dict[str, float]:
        gone = step >= 400
        return {"target_entropy": 0.3 - 0.29 * gone, "target_shift": 0.1 + 0.5 * gone}

    assert kinds(course, every=200) == [(600, "they collapse")]


def test_a_collapse_that_has_ended_can_be_reported_anew() -> None:
    def course(step: int) -> dict[str, float]:
        sound = 300 <= step < 700
        return {"target_entropy": 0.5 if sound else 0.01, "target_shift": 0.1 if sound else 0.6}

    found = kinds(course)
    assert [kind for _, kind in found] == ["they collapse", "move away", "they collapse"]
    assert found[0][0] == 200

    def unsure(step: int) -> dict[str, float]:  # which ends it as well
        return {"target_entropy": 0.5 if 300 <= step < 700 else 0.01, "target_shift": 0.6}

    assert [kind for _, kind in kinds(unsure)] == ["they collapse"] * 2

    def varied(step: int) -> dict[str, float]:  # and so does this
        return {"target_entropy": 0.01, "target_shift": 0.1 if 300 <= step < 700 else 0.6}

    assert [kind for _, kind in kinds(varied)].count("they collapse") == 2

    def wavering(step: int) -> dict[str, float]:
        return {"target_entropy": 0.1 + 0.05 * math.sin(step / 60), "target_shift": 0.6}

    assert len(kinds(wavering, total=5000)) == 1


def test_a_shift_rises_from_its_lowest_and_anew_after_it_has_fallen() -> None:
    def course(step: int) -> dict[str, float]:
        return {"target_shift": [0.3, 0.3, 0.1, 0.1, 0.25, 0.4, 0.1, 0.1, 0.4, 0.4][step // 100]}

    (_, first, text), (_, second, _) = said(logged(course))
    assert first == second == "move away"
    assert "since step 400 " in text
    assert "from 0.100 to " in text


def test_a_shift_of_the_untrained_detector_is_no_beginning_to_rise_from() -> None:
    # Which answers all alike, so that its first answers shift least of all.
    assert kinds(lambda step: {"target_shift": min(step / 400, 0.25)}) == []


def test_a_shift_that_falls_or_stays_is_none_to_speak_of() -> None:
    assert kinds(lambda step: {"target_shift": 0.6 - 0.5 * step / TOTAL}) == []
    assert kinds(lambda _: {"target_shift": 0.3}) == []


def test_the_shift_counts_in_units_of_one_answer_for_all() -> None:
    lines = logged(lambda _: {"target_entropy": 0.02, "target_shift": 0.12})
    assert [kind for _, kind, _ in said(lines, Health(TOTAL, one_answer=0.2))] == ["they collapse"]
    assert said(lines, Health(TOTAL, one_answer=0.3)) == []
    rare = logged(lambda _: {"target_entropy": 0.02, "target_shift": 0.02})
    assert said(rare, Health(TOTAL, one_answer=0.0)) == []  # chance alone


NOISE = guessing(seed=2)


def troubled(step: int) -> dict[str, float]:
    """Return figures of a run with all that can be wrong, and recoveries."""
    phase = step // 100
    noise = NOISE[step] / 100
    values = [0.5, 0.5, 0.5, 0.99, 0.99, 0.99, 0.7, 0.99, 0.99, 0.99]
    shifts = [0.1, 0.1, 0.1, 0.2, 0.3, 0.5, 0.6, 0.1, 0.1, 0.65]
    sure = [0.3, 0.3, 0.3, 0.3, 0.2, 0.05, 0.01, 0.3, 0.3, 0.01]
    return {
        "domain_accuracy": values[phase] + noise / 2,
        "target_entropy": sure[phase] + noise,
        "target_shift": shifts[phase] + noise,
    }


def test_what_is_said_does_not_depend_on_how_often_figures_are_logged() -> None:
    finest = kinds(troubled, every=1)
    assert {kind for _, kind in finest} == {"it wins", "it guesses", "they collapse", "move away"}
    for every in (5, 20, 50):
        found = kinds(troubled, every=every)
        assert [kind for _, kind in found] == [kind for _, kind in finest]
        for (step, _), (exact, _) in zip(found, finest, strict=True):
            assert abs(step - exact) <= every


def test_a_run_that_goes_on_says_what_the_uninterrupted_one_says() -> None:
    lines = logged(troubled, every=20)
    whole = said(lines)
    assert len(whole) >= 4
    for cut in range(len(lines) + 1):
        health = Health(TOTAL, one_answer=ONE_ANSWER)
        health.replay(json.loads(json.dumps(line)) for line in lines[:cut])
        assert said(lines[cut:], health) == [w for w in whole if w[0] > 20 * cut]


def test_lines_of_validation_do_not_count() -> None:
    # They have figures of the same name, of other weights and in other units.
    lines = logged(troubled, every=20)
    mixed = []
    for line in lines:
        extra = {"validation": 0.7, "target_entropy": 1.8, "target_shift": 0.1}
        mixed += [line, {"step": line["step"], **extra}, {"step": line["step"] + 7, **extra}]
    health = Health(TOTAL, one_answer=ONE_ANSWER)
    health.replay(mixed[:90])
    assert said(lines[30:], health) == [w for w in said(lines) if w[0] > 600]


def test_lines_without_figures_of_adaptation_say_nothing() -> None:
    assert kinds(lambda _: {"action_units": 0.1}) == []
    health = Health(TOTAL)
    assert health.look(50, {}) == []
    assert health.look(50, {"domain_accuracy": 1.0}) == []


def test_lines_of_steps_that_were_seen_and_lines_about_other_things_do_not_count() -> None:
    lines = logged(troubled, every=20)
    other = [{"step": line["step"] - 3, "best": 1.0} for line in lines]
    mixed = [some for pair in zip(other, lines, strict=True) for some in pair]
    assert said(mixed[:40] + mixed[10:]) == said(lines)


def test_nothing_is_said_of_a_trial_of_some_steps() -> None:
    lines = logged(
        lambda _: {"domain_accuracy": 1.0, "target_entropy": 0.0, "target_shift": 0.7},
        total=99, every=1,
    )  # fmt: skip
    assert said(lines, Health(99)) == []


def test_figures_must_last_for_a_fifth_of_a_long_run_too() -> None:
    lines = logged(lambda _: {"domain_accuracy": 1.0}, total=6000)
    assert [step for step, _, _ in said(lines, Health(6000))] == [1200]


def test_all_advice_names_settings_that_exist() -> None:
    texts = " ".join(text for _, _, text in said(logged(troubled)))
    named = set(re.findall(r"\b\w+\.[a-z]\w*|\b\w+_\w+", texts))
    known = set(flatten(DetectorConfig()))
    assert named <= known
    assert {"alignment.weight", "alignment.healthy_from", "learning_rate"} <= named


@pytest.mark.parametrize("kind", ["classes", "action_units"])
def test_the_shift_of_one_answer_is_the_least_that_any_single_answer_makes(kind: str) -> None:
    expected = torch.tensor([0.1, 0.25, 0.65], dtype=torch.float64)

    def divergence(found: tuple[float, ...], wanted: list[float]) -> float:
        pairs = zip(found, wanted, strict=True)
        return sum(f * math.log(f / w) for f, w in pairs if f > 0)

    wanted = expected.tolist()
    if kind == "classes":
        answers = [tuple(map(float, row)) for row in torch.eye(3).tolist()]
        least = min(divergence(answer, wanted) for answer in answers)
    else:
        least = min(
            sum(divergence((a, 1 - a), [w, 1 - w]) for a, w in zip(answer, wanted, strict=True)) / 3
            for answer in itertools.product((0.0, 1.0), repeat=3)
        )
    assert shift_of_one_answer(expected, kind) == pytest.approx(least)
