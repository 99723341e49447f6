"""A group's labels become a score, and whatever is wrong with them one sentence."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cycada.cli import main
from cycada.progress import Progress
from cycada.settings import load_config
from cycada.stages.dyspnea_labels import read_rated
from cycada.vitals.dyspnea import DyspneaConfig, Observed, dyspnea_score
from cycada.vitals.record import Vitals, as_lines, vitals_columns, vitals_row

UNITS = (1, 4, 25)
SECONDS = 40  # of an interval


def second(at: int, draw: np.random.Generator, *, dyspnea: bool, gap: float) -> Vitals:
    return Vitals(
        seconds=at,
        frames=9,
        face=1.0,
        rate=math.nan if draw.random() < gap else 17 + 8 * dyspnea + draw.normal(0, 1.5),
        quality=0.8,
        part="nostrils",
        units={
            1: float(np.clip(0.3 + draw.normal(0, 0.2), 0, 1)),
            4: float(np.clip(0.25 + 0.3 * dyspnea + draw.normal(0, 0.15), 0, 1)),
            25: math.nan,
        },
    )


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the labels of 12 patients, three of whom breathe where no camera sees it.

    Everybody is watched for 8 intervals, and differs from the others in rate and brows, so that
    intervals of a subject are alike. A tenth of the ratings is wrong.
    """
    root = tmp_path_factory.mktemp("ward")
    draw = np.random.default_rng(7)
    rows = []
    for number in range(12):
        folder = root / f"p{number}"
        folder.mkdir()
        seen, own = [], draw.normal(0, 2)
        for interval in range(8):
            there = bool(draw.random() < 0.45)
            start = interval * SECONDS
            for at in range(start + 1, start + SECONDS + 1):
                told = second(at, draw, dyspnea=there, gap=0.9 if number < 3 else 0.1)
                seen.append(vitals_row(
                    Vitals(**{name: getattr(told, name) for name in Vitals.__slots__}
                           | {"rate": max(told.rate + own, 1.0)}),
                    UNITS,
                ))  # fmt: skip
            rated = there if draw.random() > 0.1 else not there
            rows.append([f"p{number}", f"Smith-{number}", start, start + SECONDS, int(rated)])
        (folder / "vitals.csv").write_text(as_lines([vitals_columns(UNITS), *seen]))
    labels = root / "labels.csv"
    write(labels, ["vitals", "subject", "start", "end", "dyspnea"], rows)
    return labels


def write(file: Path, header: list[str], rows: list[list[object]]) -> Path:
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return file


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["fit-dyspnea", *map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def test_a_score_is_fitted_that_tells_patients_it_has_not_seen(ward: Path, tmp_path: Path) -> None:
    code, said = run(ward, "--out", tmp_path / "ward.toml")
    assert code == 0
    config = load_config(DyspneaConfig, tmp_path / "ward.toml")
    assert config.fitted.features == ("AU01", "AU04")  # the rate is unknown for a quarter
    assert "respiration_rate is left out, for it is known in 75% of the intervals" in said
    assert "Research use only" in said
    assert config.fitted.hypothesis is True
    auc = float(re.findall(r"AUC ([\d.]+)", said)[0])
    assert 0.8 < auc < 0.97  # a tenth of the labels is wrong
    assert re.search(r"AUC [\d.]+ \(95 % [\d.]+ to [\d.]+ over subjects\)", said)
    assert config.alarm.off < config.alarm.on
    high, low = (
        dyspnea_score(Observed(action_units={1: 0.3, 4: shown}), config) for shown in (0.7, 0.1)
    )
    assert high.score is not None
    assert low.score is not None
    assert low.score < 0.2 < config.alarm.on < high.score


def test_with_the_rate_there_is_a_second_score_of_the_face_alone(
    ward: Path, tmp_path: Path
) -> None:
    out = tmp_path / "both.toml"
    code, said = run(ward, "--feature", "respiration_rate", "--feature", "AU04", "--out", out)
    assert code == 0
    assert "24 of 96 intervals are left out" in said
    assert "with breathing: 72 intervals of 9 subjects" in said
    assert "from the face alone: 96 intervals of 12 subjects" in said
    config = load_config(DyspneaConfig, out)
    assert config.fitted.features == ("respiration_rate", "AU04")
    assert config.fitted_face.features == ("AU04",)
    assert all(weight > 0 for weight in config.fitted.weights)
    face = dyspnea_score(Observed(action_units={4: 0.8}), config)
    assert face.score is not None
    assert face.missing == "respiration_rate (no rate)"


def test_a_score_names_nobody_and_is_the_same_bytes_again(ward: Path, tmp_path: Path) -> None:
    texts = []
    for name in ("one.toml", "two.toml"):
        assert run(ward, "--out", tmp_path / name)[0] == 0
        texts.append((tmp_path / name).read_bytes())
    assert texts[0] == texts[1]
    assert b"Smith" not in texts[0]
    assert str(ward.parent).encode() not in texts[0]
    assert b"not a medical device" in texts[0]


def test_other_settings_are_kept(ward: Path, tmp_path: Path) -> None:
    base = tmp_path / "base.toml"
    base.write_text("smile_from = 0.7\n[alarm]\nraise_after = 9.0\n")
    assert run(ward, "--score", base, "--out", tmp_path / "made.toml")[0] == 0
    config = load_config(DyspneaConfig, tmp_path / "made.toml")
    assert (config.smile_from, config.alarm.raise_after) == (0.7, 9.0)


def test_dvas_is_cut_at_four_or_where_the_user_says(ward: Path, tmp_path: Path) -> None:
    header, rows = read(ward)
    draw = np.random.default_rng(0)
    graded = [[*row[:4], f"{draw.uniform(4, 9) if row[4] == '1' else draw.uniform(0, 3.9):.1f}"]
              for row in rows]  # fmt: skip
    labels = write(ward.parent / "dvas.csv", [*header[:4], "dvas"], graded)  # type: ignore[arg-type]
    assert run(ward, "--out", tmp_path / "binary.toml")[0] == 0
    assert run(labels, "--out", tmp_path / "four.toml")[0] == 0
    same = [load_config(DyspneaConfig, tmp_path / name).fitted.weights
            for name in ("binary.toml", "four.toml")]  # fmt: skip
    assert same[0] == same[1]
    assert run(labels, "--threshold", "6", "--out", tmp_path / "six.toml")[0] == 0
    assert load_config(DyspneaConfig, tmp_path / "six.toml").fitted.weights != same[0]


def read(file: Path) -> tuple[list[str], list[list[str]]]:
    with file.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    return header, rows


def test_an_interval_has_the_seconds_after_its_start_up_to_its_end(tmp_path: Path) -> None:
    """The row of second 5 tells of what was seen from 4 to 5 s."""
    rows = [vitals_row(Vitals(seconds=at, rate=10.0 * at), UNITS) for at in range(1, 9)]
    (tmp_path / "vitals.csv").write_text(as_lines([vitals_columns(UNITS), *rows]))
    labels = write(
        tmp_path / "labels.csv",
        ["vitals", "subject", "start", "end", "dyspnea"],
        [["vitals.csv", "a", 2, 5, 1], [".", "b", 5, 8, 0]],
    )
    rated = read_rated(labels, threshold=None, progress=Progress(shown=False))
    assert [(each.subject, each.dyspnea, each.means) for each in rated] == [
        ("a", True, {"respiration_rate": 40.0}),
        ("b", False, {"respiration_rate": 70.0}),
    ]


def test_a_score_that_is_there_is_not_written_over(ward: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.toml"
    out.write_text("alarm = {}\n")
    code, said = run(ward, "--out", out)
    assert (code, out.read_text()) == (1, "alarm = {}\n")
    assert "is there already" in said


def test_labels_that_have_nothing_to_do_with_the_face_make_no_score(
    ward: Path, tmp_path: Path
) -> None:
    header, rows = read(ward)
    draw = np.random.default_rng(5)
    labels = write(
        ward.parent / "random.csv", header, [[*row[:4], int(draw.random() < 0.5)] for row in rows]
    )
    code, said = run(labels, "--feature", "AU01", "--out", tmp_path / "no.toml")
    assert code == 1
    assert "no more than chance" in said
    assert not (tmp_path / "no.toml").exists()


def test_a_fit_whose_interval_reaches_chance_is_not_written(ward: Path, tmp_path: Path) -> None:
    header, rows = read(ward)
    draw = np.random.default_rng(7)
    labels = write(
        ward.parent / "weak.csv",
        header,
        [
            [*row[:4], int(row[4]) if draw.random() < 0.2 else int(draw.random() < 0.5)]
            for row in rows
        ],
    )
    code, said = run(labels, "--feature", "AU04", "--out", tmp_path / "no.toml")
    assert code == 1
    auc, low = (float(found) for found in re.findall(r"AUC ([\d.]+), 95 % ([\d.]+) to", said)[0])
    assert low <= 0.5 < auc
    assert not (tmp_path / "no.toml").exists()


Spoil = Callable[[list[str], list[list[str]]], None]


def _cell(row: int, column: int, text: str) -> Spoil:
    def spoil(_: list[str], rows: list[list[str]]) -> None:
        rows[row][column] = text

    return spoil


def _header(column: int, text: str) -> Spoil:
    def spoil(header: list[str], _: list[list[str]]) -> None:
        header[column] = text

    return spoil


def _first(count: int) -> Spoil:
    def spoil(_: list[str], rows: list[list[str]]) -> None:
        del rows[count:]

    return spoil


def _all_of(rating: str) -> Spoil:
    def spoil(_: list[str], rows: list[list[str]]) -> None:
        for row in rows:
            row[4] = rating

    return spoil


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_cell(2, 0, "p99"), r"row 4: there is no .*p99"),
        (_cell(2, 0, ""), "row 4: names no vitals.csv"),
        (_cell(2, 1, ""), "row 4: names no subject"),
        (_cell(2, 2, "soon"), "row 4, column start: expected a number from 0, found 'soon'"),
        (_cell(2, 3, "nan"), "row 4, column end: expected a number from 0"),
        (_cell(2, 3, "1"), "row 4: ends at 1, and begins at 80"),
        (_cell(2, 4, "2"), "row 4, column dyspnea: expected 0 or 1, found '2'"),
        (_cell(2, 4, ""), "row 4, column dyspnea: expected a number"),
        (_cell(7, 3, "9999"), None),  # an interval may outlast the recording
        (_header(1, "patient"), "has no column 'subject'"),
        (_header(4, "rating"), "expected one of the columns 'dyspnea' and 'dvas'"),
        (_header(4, "dvas"), "intervals with dyspnea are of 0 subjects"),
        (_first(0), "has a header and no row"),
        (_first(24), "3 subjects can be used"),
        (_all_of("1"), "intervals without dyspnea are of 0 subjects"),
    ],
)
def test_what_is_wrong_with_labels_is_one_sentence(
    ward: Path, tmp_path: Path, spoil: Spoil, said: str | None
) -> None:
    header, rows = read(ward)
    spoil(header, rows)
    labels = write(ward.parent / "spoilt.csv", header, rows)  # type: ignore[arg-type]
    code, told = run(labels, "--out", tmp_path / "out.toml")
    assert (code == 0) == (said is None)
    if said is not None:
        assert re.search(said, told), told
        assert told.startswith("Error: ")
        assert len(told.strip().splitlines()) == 1
        assert not (tmp_path / "out.toml").exists()


def test_intervals_without_a_second_are_told(ward: Path, tmp_path: Path) -> None:
    header, rows = read(ward)
    rows[0][2:4] = ["5000", "5040"]
    labels = write(ward.parent / "late.csv", header, rows)  # type: ignore[arg-type]
    code, told = run(labels, "--out", tmp_path / "out.toml")
    assert code == 1
    assert "row 2: no second of" in told
    assert "its last one is 320" in told


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--feature", "pulse"], 2, "'pulse' is no feature"),
        (["--feature", "AU25"], 1, "AU25 is known in no rated interval"),
        (["--threshold", "3"], 2, "--threshold is for a column 'dvas'"),
        (["--folds", "2"], 2, "--folds"),
        (["--score", "missing.toml"], 2, "missing.toml"),
    ],
)
def test_what_is_wrong_with_options_is_one_sentence(
    ward: Path, tmp_path: Path, words: list[str], code: int, said: str
) -> None:
    found, told = run(ward, *words, "--out", tmp_path / "out.toml")
    assert found == code
    assert said in told
    assert not (tmp_path / "out.toml").exists()


def test_a_table_that_monitor_did_not_write_is_refused(ward: Path, tmp_path: Path) -> None:
    broken = ward.parent / "broken.csv"
    broken.write_text("a,b\n1,2\n")
    header, rows = read(ward)
    rows[0][0] = broken.name
    labels = write(ward.parent / "of-broken.csv", header, rows)  # type: ignore[arg-type]
    code, told = run(labels, "--out", tmp_path / "out.toml")
    assert code == 1
    assert "`cycada monitor` did not write it" in told
    assert run(tmp_path / "none.csv", "--out", tmp_path / "out.toml")[0] == 1
