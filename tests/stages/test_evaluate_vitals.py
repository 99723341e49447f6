"""What was told is compared with what is known, second by second, alarm by alarm."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cycada.cli import main
from cycada.metrics.agreement import Span
from cycada.stages.vitals_scores import Course, score_courses
from cycada.vitals.alarms import Event
from cycada.vitals.record import (
    EVENT_COLUMNS,
    Vitals,
    as_lines,
    event_row,
    vitals_columns,
    vitals_row,
)
from cycada.vitals.truth import Truth

SECONDS = np.arange(1.0, 121.0)


def truth(*, rate: float = 15.0, still: tuple[float, float] | None = None, **more: object) -> Truth:
    seconds = np.arange(1200) / 10
    rates = np.full(1200, rate)
    if still:
        rates[(seconds >= still[0]) & (seconds < still[1])] = 0
    return Truth(seconds, rates, rates == 0, **more)  # type: ignore[arg-type]


def course(
    known: Truth, told: Callable[[float], float], *, subject: str = "a", **more: object
) -> Course:
    return Course(
        subject=subject, truth=known, seconds=SECONDS,
        rate=np.array([told(second) for second in SECONDS]), quality=np.full(120, 0.9),
        **{"apnea": np.zeros(120, dtype=bool), **more},  # type: ignore[arg-type]
    )  # fmt: skip


def test_errors_are_of_given_rates_and_coverage_of_the_seconds_in_which_one_is_owed() -> None:
    told = course(truth(), lambda at: 15.5 if at % 3 else math.nan)
    late = course(truth(rate=30.0), lambda at: 34.0 if at > 100 else math.nan, subject="b")
    found = score_courses([told, late]).breathing
    assert found.windows == 2 * 91  # from 30 s on
    assert found.windows_without == 0
    assert found.all.pairs == 80 + 20
    assert found.all.mae.value == pytest.approx((80 * 0.5 + 20 * 4) / 100)
    assert found.all.wrong.value == pytest.approx(0.2)
    given = sum(1 for at in range(30, 121) if at % 3) + 20
    assert found.coverage.value == pytest.approx(given / 182)


def test_only_sure_rates_count_where_only_sure_ones_are_wanted() -> None:
    quality = np.where(np.arange(120) % 2, 0.95, 0.65)
    told = course(truth(), lambda at: 15.1 if at % 2 == 0 else 16.0)
    sure = Course(
        subject="a", truth=told.truth, seconds=SECONDS, rate=told.rate, quality=quality,
        apnea=told.apnea,
    )  # fmt: skip
    found = score_courses([sure]).breathing
    assert found.high_quality.mae.value == pytest.approx(0.1)
    assert found.coverage_high_quality.value == pytest.approx(46 / 91)


def test_rates_of_who_does_not_breathe_count_in_no_mean_and_are_wrong() -> None:
    silent = course(truth(rate=0.0), lambda at: 12.0 if at > 110 else math.nan)
    tube = course(truth(seen=False), lambda _: math.nan, subject="b")
    found = score_courses([silent, tube]).breathing
    assert found.windows == 0
    assert found.windows_without == 2 * 91
    assert found.silent.value == pytest.approx(1 - 10 / 182)
    assert found.all.pairs == 0
    assert np.isnan(found.all.mae.value)
    assert found.all.wrong.value == 1
    right = course(truth(), lambda at: 15.5 if at > 90 else math.nan, subject="c")
    found = score_courses([silent, tube, right]).breathing
    assert found.all.pairs == 30
    assert found.all.wrong.value == pytest.approx(10 / 40)
    assert found.high_quality.wrong.value == pytest.approx(10 / 40)


def test_an_apnea_is_found_while_it_lasts_and_flags_elsewhere_are_false() -> None:
    flags = ((SECONDS >= 52) & (SECONDS < 60)) | ((SECONDS >= 90) & (SECONDS < 93))
    told = course(truth(still=(40, 60)), lambda _: math.nan, apnea=flags)
    missed = course(truth(still=(40, 60)), lambda _: math.nan, subject="b")
    short = course(truth(still=(40, 46)), lambda _: math.nan, subject="c")
    whole = course(truth(rate=0.0), lambda _: math.nan, subject="d")  # never seen to breathe
    found = score_courses([told, missed, short, whole])
    assert found.apnea.events == 2
    assert found.apnea.found.value == 0.5
    assert found.apnea.delay.value == pytest.approx(12)
    assert found.apnea_seconds.value == pytest.approx(8 / 20)  # of 50 to 60 s, twice
    assert found.apnea.false_per_hour.value == pytest.approx(1 / (4 * 120 / 3600), rel=1e-6)
    breathing = 100 + 100 + 114
    assert found.apnea_false.value == pytest.approx(3 / breathing, rel=0.02)


def test_repeated_flags_of_an_apnea_are_false() -> None:
    flags = np.isin(SECONDS, [51, 52, 54, 55, 57])  # three times in one apnea
    told = course(truth(still=(40, 60)), lambda _: math.nan, apnea=flags)
    found = score_courses([told])
    assert found.apnea.found.value == 1
    assert found.apnea.false_per_hour.value == pytest.approx(2 / (120 / 3600))
    assert found.apnea_false.value == 0


def test_a_flag_holds_while_nobody_can_tell_and_those_seconds_are_not_flagged() -> None:
    flags = np.where(np.isin(SECONDS, [51, 52, 57, 63]), 1.0, np.where(SECONDS < 64, np.nan, 0.0))
    told = course(truth(still=(40, 60)), lambda _: math.nan, apnea=flags)
    found = score_courses([told])
    assert (found.apnea.found.value, found.apnea.false_per_hour.value) == (1, 0)
    assert found.apnea.delay.value == pytest.approx(11)
    assert found.apnea_seconds.value == pytest.approx(3 / 10)
    unknown = course(truth(still=(40, 60)), lambda _: math.nan, apnea=np.full(120, np.nan))
    assert score_courses([unknown]).apnea.found.value == 0


def test_a_flag_that_outlasts_its_apnea_is_found_in_the_seconds_of_breathing() -> None:
    told = course(truth(still=(40, 60)), lambda _: math.nan, apnea=SECONDS >= 50)
    found = score_courses([told])
    assert (found.apnea.found.value, found.apnea.false_per_hour.value) == (1, 0)
    assert found.apnea_false.value == pytest.approx(61 / (39 + 61))  # 1 to 39, 60 to 120 s


def test_who_is_not_seen_to_breathe_has_no_apnea_that_is_missed() -> None:
    tube = course(truth(still=(40, 60), seen=False), lambda _: math.nan)
    found = score_courses([tube])
    assert found.apnea.events == 0
    assert math.isnan(found.apnea_seconds.value)
    flags = np.isin(SECONDS, [45, 50, 90])  # in the pause, again there, and elsewhere
    told = course(truth(still=(40, 60), seen=False), lambda _: math.nan, apnea=flags)
    assert score_courses([told]).apnea.false_per_hour.value == pytest.approx(30)


def test_an_apnea_before_the_breathing_can_be_known_counts() -> None:
    early = course(truth(still=(5, 30)), lambda _: math.nan)
    found = score_courses([early]).apnea
    assert (found.events, found.found.value) == (1, 0)


def test_before_a_truth_begins_nothing_is_right_or_false() -> None:
    seconds = np.arange(600, 1200) / 10
    short_of_breath = seconds < 70
    late = Truth(seconds, np.full(600, 15.0), np.zeros(600, dtype=bool), short_of_breath)
    told = course(
        late, lambda _: 15.0, apnea=SECONDS < 30, score=np.where(SECONDS < 60, 0.9, 0.1),
        alarms=[Span(10, 30), Span(58, 80)],
    )  # fmt: skip
    found = score_courses([told])
    assert found.breathing.windows == 120 - 88  # from 89 s on: the truth begins at 60, give or take
    assert found.breathing.all.pairs == 32
    assert found.apnea.hours == pytest.approx(60 / 3600)
    assert found.apnea.false_per_hour.value == 0
    assert found.apnea_false.value == 0
    assert found.dyspnea is not None
    assert found.dyspnea_false is not None
    assert found.dyspnea_auc is not None
    assert (found.dyspnea.found.value, found.dyspnea.false_per_hour.value) == (1, 0)
    assert found.dyspnea_false.value == pytest.approx(10 / 51)  # 70 to 79 of 70 to 120 s
    assert found.dyspnea_auc.value == 0.5  # 0.1 all the while


def test_alarms_are_late_or_false_and_the_score_separates() -> None:
    short_of_breath = (np.arange(1200) / 10 >= 40) & (np.arange(1200) / 10 < 80)
    known = truth(dyspnea=short_of_breath)
    score = np.where((SECONDS >= 40) & (SECONDS < 80), 0.7, 0.2)
    score[:10] = np.nan
    right = course(known, lambda _: math.nan, score=score, alarms=[Span(47, 84)])
    calm = truth(dyspnea=np.zeros(1200, dtype=bool))
    wrong = course(
        calm, lambda _: math.nan, subject="b", score=np.full(120, 0.1), alarms=[Span(20, 30)]
    )
    found = score_courses([right, wrong])
    assert found.dyspnea is not None
    assert found.dyspnea.events == 1
    assert found.dyspnea.found.value == 1
    assert found.dyspnea.delay.value == pytest.approx(7)
    assert found.dyspnea.false_per_hour.value == pytest.approx(15)
    assert found.dyspnea_false is not None
    assert found.dyspnea_false.value == pytest.approx((4 + 10) / (80 + 120))
    assert found.dyspnea_auc is not None
    assert found.dyspnea_auc.value == 1
    assert score_courses([course(truth(), lambda _: 15.0)]).dyspnea is None


def write_vitals(folder: Path, rates: Sequence[float], events: Sequence[Event] = ()) -> Path:
    folder.mkdir(parents=True)
    rows = [
        Vitals(seconds=at, frames=9, face=1.0, rate=rate, quality=0.9, apnea=False, score=0.2)
        for at, rate in enumerate(rates, start=1)
    ]
    (folder / "vitals.csv").write_text(
        as_lines([vitals_columns([]), *(vitals_row(row, []) for row in rows)]), encoding="utf-8"
    )
    (folder / "events.csv").write_text(
        as_lines([EVENT_COLUMNS, *map(event_row, events)]), encoding="utf-8"
    )
    return folder


def write_truth(file: Path, *, rate: float, seconds: int = 60) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{at},{rate},{int(20 <= at < 40)}" for at in range(seconds + 1)]
    file.write_text("\n".join(["seconds,respiration_rate,dyspnea", *rows, ""]), encoding="utf-8")
    return file


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    alarm = Event(kind="dyspnea", start=20, raised=26, end=math.nan, peak=0.8, reason="fast")
    write_vitals(tmp_path / "watched" / "mary", [12.5] * 60, [alarm])
    write_vitals(tmp_path / "watched" / "john", [math.nan] * 29 + [20.0] * 41)
    write_truth(tmp_path / "truth" / "mary.csv", rate=12.0)
    write_truth(tmp_path / "truth" / "john.csv", rate=21.0)
    return tmp_path


def evaluate(*given: object) -> Result:
    return CliRunner().invoke(main, ["evaluate-vitals", *map(str, given)])


def test_folders_are_compared_with_the_truths_of_their_names(watched: Path) -> None:
    out = watched / "out"
    result = evaluate(watched / "watched", "--truth", watched / "truth", "--out", out)
    assert result.exit_code == 0, result.output
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    assert scores["clips"] == 2
    assert scores["breathing"]["all"]["pairs"] == 60 + 32  # john's truth ends at 60 s, give or take
    expected = (60 * 0.5 + 32 * 1.0) / 92
    assert scores["breathing"]["all"]["mae"]["value"] == pytest.approx(expected)
    assert scores["dyspnea"]["events"] == 2
    assert scores["dyspnea"]["found"]["value"] == 0.5
    assert scores["dyspnea"]["delay"]["value"] == 6
    assert "Mean absolute error 0.67" in result.output
    assert "9 seconds after the end of its truth are left out" in result.output


def test_alarms_count_up_to_the_end_of_the_truth(tmp_path: Path) -> None:
    spans = [(50, 90), (58, math.nan), (70, 90), (100, math.nan)]
    alarms = [
        Event(kind="dyspnea", start=at - 3, raised=at, end=end, peak=0.8, reason="")
        for at, end in spans
    ]
    write_vitals(tmp_path / "long", [12.0] * 120, alarms)
    known = write_truth(tmp_path / "truth.csv", rate=12.0)
    out = tmp_path / "out"
    result = evaluate(tmp_path / "long", "--truth", known, "--out", out)
    assert result.exit_code == 0, result.output
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    hours = 61 / 3600  # the truth and the second that follows
    assert scores["dyspnea"]["hours"] == pytest.approx(hours)
    assert scores["dyspnea"]["false_per_hour"]["value"] == pytest.approx(2 / hours)
    calm = 19 + 22  # 1 to 19, 40 to 61 s; the first alarm from 50 s on
    assert scores["dyspnea_false"]["value"] == pytest.approx(11 / calm)


def test_seconds_before_the_truth_are_told_of(watched: Path) -> None:
    table = watched / "truth" / "john.csv"
    header, *rows = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([header, *rows[25:], ""]), encoding="utf-8")
    given = [watched / "watched" / "john", "--truth", table]
    result = evaluate(*given, "--out", watched / "out")
    assert result.exit_code == 0, result.output
    assert "24 seconds before the beginning of its truth are not judged" in result.output
    table.write_text(f"{header}\n100,12,0\n101,12,0\n", encoding="utf-8")
    later = evaluate(*given, "--out", watched / "later")
    assert later.exit_code == 1
    assert "tells nothing of the time from 100 to 102 s" in later.output


def test_what_may_be_shown_names_nobody(watched: Path) -> None:
    out = watched / "out"
    evaluate(watched / "watched" / "john", "--truth", watched / "truth", "--out", out)
    for name in ("scores.json", "scores.html", "agreement.svg"):
        text = (out / name).read_text(encoding="utf-8").lower()
        assert "john" not in text
        assert str(watched) not in text
    page = (out / "scores.html").read_text(encoding="utf-8")
    assert "Research use only" in page
    assert "limits of agreement" in page.lower()


def test_tables_and_truths_are_paired_in_their_order(watched: Path) -> None:
    tables = [watched / "watched" / name / "vitals.csv" for name in ("mary", "john")]
    truths = [watched / "truth" / f"{name}.csv" for name in ("mary", "john")]
    out = watched / "out"
    given = [*tables, "--truth", truths[0], "--truth", truths[1], "--out", out]
    assert evaluate(*given).exit_code == 0
    first = (out / "scores.json").read_bytes()
    assert evaluate(*given).exit_code == 0
    assert (out / "scores.json").read_bytes() == first


def test_mistakes_are_told_in_a_sentence(watched: Path) -> None:
    mary, out = watched / "watched" / "mary", watched / "out"
    one = watched / "truth" / "mary.csv"
    both = evaluate(mary, watched / "watched" / "john", "--truth", one, "--out", out)
    assert both.exit_code == 2
    assert "--truth: given 1 times for 2 tables" in both.output
    (watched / "truth" / "john.csv").unlink()
    lacking = evaluate(watched / "watched" / "john", "--truth", watched / "truth", "--out", out)
    assert lacking.exit_code == 1
    assert "there is no such file" in lacking.output
    wrong = evaluate(one, "--truth", one, "--out", out)
    assert wrong.exit_code == 1
    assert "has no column" in wrong.output
    (watched / "empty").mkdir()
    empty = evaluate(watched / "empty", "--truth", one, "--out", out)
    assert empty.exit_code == 1
    assert "holds no vitals.csv" in empty.output
    later = write_vitals(watched / "later", [])
    nothing = evaluate(later, "--truth", one, "--out", out)
    assert nothing.exit_code == 1
    assert "tells nothing" in nothing.output
    assert not out.exists()


def test_a_table_without_events_is_compared_but_for_its_alarms(watched: Path) -> None:
    (watched / "watched" / "mary" / "events.csv").unlink()
    out = watched / "out"
    result = evaluate(watched / "watched" / "mary", "--truth", watched / "truth", "--out", out)
    assert result.exit_code == 0
    assert "its alarms are not counted" in result.output
    assert json.loads((out / "scores.json").read_text(encoding="utf-8"))["dyspnea"] is None
