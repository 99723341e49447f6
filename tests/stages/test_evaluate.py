"""Evaluation with made-up networks, whose scores are known by hand."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cycada import image_reading, image_writing, images, thermal
from cycada.data.index import Face, Index, IndexInfo, read_index, write_index
from cycada.data.subjects import digests_of
from cycada.errors import CycadaError, DataError, RunError
from cycada.metrics.scores import DetectionScores, IntensityScores
from cycada.progress import Progress
from cycada.stages.evaluate import (
    check_unseen,
    evaluate,
    evaluate_detector,
    predict_faces,
    summary_lines,
)
from cycada.stages.evaluate_translator import evaluate_translator, paired_faces
from cycada.stages.scoring import EvaluateOptions
from cycada.task import Task
from cycada.thermal import Window

SIZE = 16
QUIET = Progress(shown=False)


class Brightness:
    """A detector that finds both of its AUs in bright images."""

    task = Task((1, 12))
    thresholds = torch.tensor([0.5, 0.5])
    calibration = intensity = window = None
    channels = 1
    size = SIZE

    def calibrated(self, probabilities):
        return probabilities

    def intensities(self, _):
        return None

    def predict(self, pictures):
        pictures = images.with_channels(pictures, 1)
        assert pictures.shape[1:] == (1, SIZE, SIZE)
        share = (pictures.mean((1, 2, 3)) + 1) / 2
        return torch.stack([share, 1 - share], dim=1)

    def decide(self, probabilities):
        return probabilities >= self.thresholds


class Inverted:
    """A translator that turns the grey values around, both ways."""

    size = SIZE
    window = Window(20, 40)

    def to_thermal(self, rgb):
        return -images.with_channels(rgb, 1)

    def to_rgb(self, warm):
        return images.with_channels(-warm, 3)


@pytest.fixture
def dataset(tmp_path):
    """Six subjects with one RGB and one thermal face each; the thermal one is 10 K per grey."""
    draw = torch.Generator().manual_seed(0)
    faces = []
    for number in range(6):
        level = number / 5 * 1.6 - 0.8
        rgb = (level + 0.2 * torch.rand(3, SIZE, SIZE, generator=draw)).clamp(-1, 1)
        warm = (images.with_channels(rgb, 1) * 0.5).clamp(-1, 1)
        counts = thermal.counts_from_celsius(
            thermal.from_signed(warm, Window(20, 40)), "centikelvin"
        )
        name = f"{number}.png"
        image_writing.write_image(
            tmp_path / "rgb" / name, images.from_signed(rgb, dtype=torch.uint8)
        )
        image_writing.write_image(tmp_path / "warm" / name, counts)
        units = {1: float(number >= 3), 12: float(number < 4)}
        known = {"subject": f"S{number}", "split": "test", "action_units": units}
        faces.append(Face(path=f"rgb/{name}", domain="rgb", pair=f"warm/{name}", **known))
        faces.append(Face(path=f"warm/{name}", domain="thermal", **known))
    index = Index(tmp_path, IndexInfo(kind="occurrence", unit="centikelvin"), tuple(faces))
    write_index(index)
    return read_index(tmp_path)


def options(dataset, tmp_path, **changes) -> EvaluateOptions:
    given = EvaluateOptions(run=tmp_path / "run", index=dataset.root, out=tmp_path / "out")
    return replace(given, **changes)


def test_a_detector_is_scored_by_hand(dataset, tmp_path):
    result = evaluate_detector(
        Brightness(),
        dataset.select(domain="thermal"),
        options(dataset, tmp_path),
        progress=QUIET,
    )
    scores = DetectionScores.from_json(result["scores"])
    assert scores.units[0].f1 == 1
    assert scores.units[0].roc_auc == 1
    # AU12 is present in 0-3 and found in the dark faces 0-2: recall 3/4, precision 1.
    assert scores.units[1].f1 == pytest.approx(6 / 7)
    assert scores.macro_f1 == pytest.approx((1 + 6 / 7) / 2)
    assert (scores.frames, scores.subjects) == (6, 6)
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == result
    assert "<svg" in (tmp_path / "out" / "scores.svg").read_text()
    assert "macro F1 0.929" in summary_lines(result, tmp_path)[0]


def test_predictions_hold_a_row_for_each_face_and_no_label_where_none_is_known(dataset, tmp_path):
    chosen = dataset.select(domain="thermal")
    faces = list(chosen.faces)
    faces[0] = replace(faces[0], action_units={})
    faces[1] = replace(faces[1], action_units={1: 0.0})
    result = evaluate_detector(
        Brightness(),
        replace(chosen, faces=tuple(faces)),
        options(dataset, tmp_path),
        progress=QUIET,
    )
    with (tmp_path / "out" / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == [face.path for face in faces]
    assert rows[0]["AU01_label"] == ""
    assert (rows[1]["AU01_label"], rows[1]["AU12_label"]) == ("0", "")
    probability, decision = float(rows[5]["AU01_probability"]), rows[5]["AU01_decision"]
    assert decision == str(int(probability >= 0.5))
    scores = DetectionScores.from_json(result["scores"])
    assert (scores.frames, scores.units[1].frames) == (5, 4)
    assert scores.units[1].f1 == pytest.approx(2 / 3)  # face 1, detected but unknown, is no error
    assert any("1 frames without any label" in note for note in result["notes"])


class Graded(Brightness):
    """A detector whose calibrated probabilities and intensities are known by hand."""

    calibration = intensity = "given"

    def calibrated(self, probabilities):
        return probabilities / 2

    def intensities(self, calibrated):
        told = calibrated * 10
        told[:, 1] = math.nan  # AU12 was graded too seldom
        return told


def test_intensities_and_calibration_are_scored_by_hand(dataset, tmp_path):
    chosen = dataset.select(domain="thermal")
    strengths = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
    graded = tuple(
        replace(face, action_units={1: strength, 12: 2.0})
        for face, strength in zip(chosen.faces, strengths, strict=True)
    )
    index = replace(
        chosen, info=replace(chosen.info, kind="intensity", threshold=2.0), faces=graded
    )
    result = evaluate_detector(Graded(), index, options(dataset, tmp_path), progress=QUIET)
    raw = predict_faces(Brightness(), index, domain="thermal", progress=QUIET)[:, 0].double()
    told = raw * 5
    first, second = IntensityScores.from_json(result["intensities"]).units
    truth = torch.tensor(strengths, dtype=torch.float64)
    assert first.mae == pytest.approx(float((told - truth).abs().mean()))
    covariance = torch.cov(torch.stack((told, truth)))
    assert first.icc == pytest.approx(float(2 * covariance[0, 1] / covariance.trace()))
    assert math.isnan(second.icc)
    assert (first.frames, second.frames) == (6, 0)
    scores = DetectionScores.from_json(result["scores"])
    # The bins of a tenth hold one face each here.
    errors = [abs(p / 2 - (s >= 2)) for p, s in zip(raw.tolist(), strengths, strict=True)]
    assert scores.units[0].calibration_error == pytest.approx(sum(errors) / 6, abs=0.12)
    assert scores.macro_calibration_error != scores.macro_uncalibrated_error
    told_of = "\n".join(summary_lines(result, tmp_path))
    assert "mean ICC(3,1) 0." in told_of
    assert "expected calibration error" in told_of
    with (tmp_path / "out" / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert float(rows[3]["AU01_calibrated"]) == pytest.approx(float(raw[3]) / 2, abs=1e-6)
    assert float(rows[3]["AU01_intensity"]) == pytest.approx(float(told[3]), abs=1e-3)
    assert (rows[3]["AU01_graded"], rows[3]["AU01_label"]) == ("3.000", "1")
    assert (rows[3]["AU12_intensity"], rows[3]["AU12_graded"]) == ("", "2.000")


def test_predictions_do_not_depend_on_the_batch(dataset, monkeypatch):
    chosen = dataset.select(domain="thermal")
    whole = predict_faces(Brightness(), chosen, domain="thermal", progress=QUIET)
    monkeypatch.setattr("cycada.stages.scoring.BATCH", 4)
    parts = predict_faces(Brightness(), chosen, domain="thermal", progress=QUIET)
    assert torch.equal(whole, parts)


def test_a_subject_that_was_trained_on_is_refused(tmp_path):
    check_unseen({"a", "b"}, digests_of("c"), tmp_path)
    with pytest.raises(RunError, match=r"learned from 2 of the subjects to be scored \(a, b\)"):
        check_unseen({"b", "a", "x"}, digests_of("abc"), tmp_path)


def test_faces_without_a_matching_label_are_refused_and_nothing_is_written(dataset, tmp_path):
    chosen = dataset.select(domain="thermal")
    bare = replace(chosen, faces=tuple(replace(f, action_units={4: 1.0}) for f in chosen.faces))
    with pytest.raises(DataError, match="knows AU01, AU12, the chosen faces are annotated"):
        evaluate_detector(Brightness(), bare, options(dataset, tmp_path), progress=QUIET)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_an_error_in_one_sentence(dataset, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CycadaError, match="cannot be written to"):
        evaluate_detector(
            Brightness(),
            dataset.select(domain="thermal"),
            options(dataset, tmp_path, out=tmp_path / "file" / "out"),
            progress=QUIET,
        )


def test_a_translator_that_inverts_grey_is_found_out(dataset, tmp_path):
    result = evaluate_translator(
        Inverted(), Brightness(), dataset, options(dataset, tmp_path), progress=QUIET
    )
    scores = result["scores"]
    figures = {name: figure["mean"] for name, figure in scores["figures"].items()}
    assert figures["luminance_correlation_made"] == pytest.approx(-1, abs=1e-4)
    assert figures["luminance_correlation_real"] == pytest.approx(1, abs=0.02)
    assert figures["cycle_thermal"] == pytest.approx(0, abs=1e-6)
    assert 0 < figures["cycle_rgb"] < 0.1  # only the colour is lost
    assert scores["paired"] == 6
    assert figures["paired_l1_celsius"] == pytest.approx(10 * figures["paired_l1"])


def test_a_translation_is_compared_with_the_truth_of_its_own_face(dataset, tmp_path):
    result = evaluate_translator(
        Inverted(), None, dataset, options(dataset, tmp_path), progress=QUIET
    )
    expected = []
    for number in range(6):
        rgb = images.to_signed(image_reading.read_image(tmp_path / "rgb" / f"{number}.png"))
        grey = images.with_channels(rgb, 1)
        expected.append((-grey - 0.5 * grey).abs().mean().item())
    found = result["scores"]["figures"]["paired_l1"]["mean"]
    assert found == pytest.approx(sum(expected) / 6, abs=1e-3)


def test_what_the_judge_says_is_kept_by_a_faithful_cycle(dataset, tmp_path):
    result = evaluate_translator(
        Inverted(), Brightness(), dataset, options(dataset, tmp_path), progress=QUIET
    )
    for unit in result["scores"]["units"]:
        assert unit["flip_rate"] == 0
        assert unit["kappa"] == 1
        assert unit["f1_before"] == unit["f1_after"]


def test_temperatures_are_given_in_degrees(dataset, tmp_path):
    result = evaluate_translator(
        Inverted(), None, dataset, options(dataset, tmp_path), progress=QUIET
    )
    values = result["scores"]["values"]
    assert values["unit"] == "deg C"
    middle = values["at"].index(0.5)
    assert values["real"][middle] == pytest.approx(30.5, abs=1)
    assert values["wasserstein"] > 0
    assert (tmp_path / "out" / "mean_thermal.png").is_file()


def test_what_cannot_be_measured_says_why(dataset, tmp_path):
    chosen = dataset.select(domain="rgb")
    result = evaluate_translator(
        Inverted(),
        None,
        replace(chosen, faces=tuple(replace(face, pair="") for face in chosen.faces)),
        options(dataset, tmp_path),
        progress=QUIET,
    )
    missing = result["scores"]["not_available"]
    assert set(missing) == {
        "cycle_thermal", "thermal_values", "lpips", "feature_distances", "answers", "paired",
    }  # fmt: skip
    assert result["scores"]["values"] is None
    assert "give an index with both domains" in missing["thermal_values"]
    told = summary_lines(result, tmp_path)
    assert any("lpips: not available" in line for line in told)


@pytest.mark.parametrize("name", ["none.pth", "damaged.pth"])
def test_a_missing_or_damaged_file_for_lpips_is_an_error(dataset, tmp_path, name):
    (tmp_path / "damaged.pth").write_bytes(b"no weights")
    given = options(dataset, tmp_path, lpips=str(tmp_path / name))
    with pytest.raises(DataError, match=rf"{name}: cannot be loaded as PyTorch weights"):
        evaluate_translator(Inverted(), None, dataset, given, progress=QUIET)
    assert not (tmp_path / "out").exists()


def test_lpips_that_cannot_be_downloaded_is_left_out_with_a_reason(dataset, tmp_path, monkeypatch):
    def offline(_: str) -> None:
        raise CycadaError("AlexNet's weights could not be downloaded.")

    monkeypatch.setattr("cycada.stages.evaluate_translator.fetch", offline)
    result = evaluate_translator(
        Inverted(), None, dataset, options(dataset, tmp_path, lpips=""), progress=QUIET
    )
    assert "could not be downloaded" in result["scores"]["not_available"]["lpips"]


def test_another_temperature_window_is_refused(dataset, tmp_path):
    other = Inverted()
    other.window = Window(10, 40)
    with pytest.raises(DataError, match="20 to 40 deg C, but the translator was trained on 10"):
        evaluate_translator(other, None, dataset, options(dataset, tmp_path), progress=QUIET)


def test_a_detector_of_another_temperature_window_is_refused(dataset, tmp_path):
    other = Brightness()
    other.window = Window(10, 40)
    with pytest.raises(DataError, match="but the detector was trained on 10 to 40 deg C"):
        evaluate_detector(
            other, dataset.select(domain="thermal"), options(dataset, tmp_path), progress=QUIET
        )


def test_a_pair_need_not_be_a_row_of_the_index(dataset):
    rgb, warm = paired_faces(dataset.select(domain="rgb"))
    assert [face.path for face in warm.faces] == [f"warm/{number}.png" for number in range(6)]
    assert {face.domain for face in warm.faces} == {"thermal"}
    both = list(dataset.faces)
    both[1] = replace(both[1], pair=both[0].path)
    rgb, warm = paired_faces(replace(dataset, faces=tuple(both)))
    assert len(rgb.faces) == len(warm.faces) == 6
    assert paired_faces(dataset.select(domain="thermal")) is None


def test_the_scores_of_a_translator_do_not_depend_on_the_batch(dataset, tmp_path, monkeypatch):
    given = (Inverted(), Brightness(), dataset, options(dataset, tmp_path))
    whole = evaluate_translator(*given, progress=QUIET)["scores"]
    monkeypatch.setattr("cycada.stages.scoring.BATCH", 4)
    parts = evaluate_translator(*given, progress=QUIET)["scores"]
    for name, figure in whole["figures"].items():
        assert parts["figures"][name]["mean"] == pytest.approx(figure["mean"], abs=1e-6)
        assert parts["figures"][name]["interval"] == pytest.approx(figure["interval"], abs=1e-6)
    assert parts["units"] == whole["units"]
    assert parts["values"] == whole["values"]


def test_faces_that_cannot_be_read_are_not_scored_around(
    detector_run: Path, own_faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    (own_faces / "rgb" / "4" / "2.png").write_bytes(b"no image")
    options = EvaluateOptions(run=detector_run, index=own_faces, out=tmp_path / "out", domain="rgb")
    told = r"rgb/4/2\.png: cannot be read .* restore it, or make the index again, which sets it as"
    with pytest.raises(DataError, match=told):
        evaluate(options, progress=quiet)
    assert not (tmp_path / "out").exists()
