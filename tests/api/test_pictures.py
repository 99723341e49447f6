from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import cycada
from cycada import image_reading
from cycada.cli import main
from cycada.data.detections import Detected
from cycada.data.index import read_index
from cycada.errors import DataError, UsageError
from cycada.progress import Progress
from cycada.stages.phantom import PhantomOptions, make_phantom
from cycada.task import Task
from cycada.training import loading


def _run(*words: str) -> None:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == 0, result.output


@pytest.fixture
def frames(there: Path) -> list[Path]:
    """Return RGB images of three sizes, grey and JPEG among them, in a folder of their own."""
    folder = there / "frames"
    folder.mkdir()
    whole = Image.open(there / "faces" / "rgb.png").convert("RGB")
    for name, size in (("a", (32, 32)), ("b", (22, 30)), ("c", (32, 32)), ("d", (13, 17))):
        whole.resize(size).save(folder / f"{name}.png")
    whole.convert("L").save(folder / "e.png")
    whole.save(folder / "f.jpg", quality=95)
    return sorted(folder.iterdir())


@pytest.fixture(params=["float32 on one core", "bfloat16 on two"])
def computing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compute in either way; sums of a pass that cores shared would depend on how many did."""
    before = torch.get_num_threads()
    if request.param == "bfloat16 on two":
        monkeypatch.setattr(loading, "_computes_in_bf16", lambda *_: True)
        torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("computing")
@pytest.mark.parametrize("scale", ["fit", "keep"])
def test_a_translation_has_the_pixels_that_the_verb_writes(frames: list[Path], scale: str) -> None:
    _run("translate", "runs/translator", "frames", "--scale", scale, "--out", "written")
    translator = cycada.Translator.from_pretrained("runs/translator")
    made = translator.translate(frames, scale=scale)
    assert [Path(each.name) for each in made] == frames
    for file, each in zip(frames, made, strict=True):
        written = image_reading.read_image(Path("written", file.with_suffix(".png").name)).numpy()
        assert each.pixels.dtype == written.dtype == np.uint16
        assert (each.pixels == written[0]).all()
    (alone,) = translator.translate(frames[1], scale=scale)  # the only one of its size
    assert (alone.pixels == made[1].pixels).all()


def test_long_narrow_images_are_translated_however_many_there_are(there: Path) -> None:
    folder = there / "strips"
    folder.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 1200, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    files = sorted(folder.iterdir())
    _run("translate", "runs/translator", "strips", "--scale", "keep", "--out", "written")
    translator = cycada.Translator.from_pretrained("runs/translator")
    for file, each in zip(files, translator.translate(files, scale="keep"), strict=True):
        (alone,) = translator.translate(file, scale="keep")
        assert (
            each.pixels == image_reading.read_image(Path("written", file.name)).numpy()[0]
        ).all()
        assert (each.pixels == alone.pixels).all()


def test_a_translation_counts_hundredths_of_kelvin_and_tells_deg_c(frames: list[Path]) -> None:
    (made,) = cycada.Translator.from_pretrained("runs/translator").translate(frames[1])
    assert made.pixels.shape == (30, 22)
    assert made.celsius == pytest.approx(made.pixels / 100 - 273.15, abs=1e-3)
    assert (made.unit, made.window.low, made.window.high) == ("centikelvin", 28, 37)
    made.save("saved.png")
    assert (np.array(Image.open("saved.png")) == made.pixels).all()


def test_an_image_in_memory_is_translated_as_its_file_is(frames: list[Path]) -> None:
    translator = cycada.Translator.from_pretrained("runs/translator")
    given = [frames[1], np.array(Image.open(frames[1])), Image.open(frames[1])]
    first, *others = (translator.translate(each)[0] for each in given)
    assert all((each.pixels == first.pixels).all() for each in others)
    assert [each.name for each in others] == ["image-0", "image-0"]


def test_what_is_no_image_is_refused_by_its_name(frames: list[Path]) -> None:
    translator = cycada.Translator.from_pretrained("runs/translator")
    frames[2].write_bytes(b"none")
    with pytest.raises(DataError, match=r"c\.png: cannot be read"):
        translator.translate(frames)
    with pytest.raises(DataError, match="image-0: a float image needs the unit"):
        translator.translate([np.zeros((8, 8, 3), dtype=np.float32)])
    with pytest.raises(TypeError, match="found <class 'int'>"):
        translator.translate([3])


def test_a_detection_is_the_table_that_the_verb_writes(there: Path) -> None:
    _run("detect", "runs/both", "data", "faces/other.png", "--faces", "whole", "--out", "written")
    detector = cycada.ActionUnitDetector.from_pretrained("runs/both")
    for given, name in (("data", "data"), ("faces/other.png", "other")):
        found = detector.detect(given, faces="whole")
        assert found.to_csv(there / "own.csv") == Path("written", f"{name}.csv").read_text()
        assert Path("own.csv").read_text() == found.to_csv()


@pytest.mark.usefixtures("there")
def test_images_give_the_same_answers_as_files_arrays_and_pictures() -> None:
    index = read_index("data").select(domain="thermal")
    files = [str(index.file(face)) for face in index.faces[:5]]
    detector = cycada.ActionUnitDetector.from_pretrained("runs/both")
    expected = detector.detect(files, faces="whole")
    assert [row.input for row in expected] == files
    assert [row.frame for row in expected] == [0, 1, 2, 3, 4]
    arrays = [np.array(Image.open(file)) for file in files]
    mixed = [arrays[0], Image.open(files[1]), files[2], Path(files[3]), arrays[4]]
    for given in (arrays, mixed):
        found = detector.detect(given, faces="whole")
        for name in ("AU12", "AU12_c", "confidence"):
            assert found[name] == expected[name]
    assert found["input"] == ["image-0", "image-1", files[2], files[3], "image-4"]


@pytest.mark.usefixtures("there")
def test_an_image_that_cannot_be_read_is_a_row_and_a_missing_one_an_error() -> None:
    detector = cycada.ActionUnitDetector.from_pretrained("runs/both")
    Path("broken.png").write_bytes(b"none")
    found = detector.detect(["broken.png", "faces/other.png"], faces="whole")
    assert [row.success for row in found] == [False, True]
    assert "cannot be read" in found["reason"][0]
    assert found["AU12"][0] is None
    with pytest.raises(DataError, match=r"absent\.png: there is no such file"):
        detector.detect(["faces/other.png", "absent.png"])
    with pytest.raises(DataError, match=r"broken\.png: cannot be read"):
        detector.detect("broken.png")


def test_faces_are_found_in_frames_and_have_their_place(there: Path) -> None:
    options = PhantomOptions(out=there / "large", rgb_subjects=0, thermal_subjects=5, frames=1,
                             size=64)  # fmt: skip
    make_phantom(options, progress=Progress(shown=False))
    faces = [index.file(f) for index in [read_index("large")] for f in index.faces]
    face = np.array(Image.open(faces[0]))
    frame = np.full((160, 200), face.min(), dtype=face.dtype)
    frame[50:114, 70:134] = face
    detector = cycada.ActionUnitDetector.from_pretrained("runs/both")
    (row,) = detector.detect(frame)
    Image.fromarray(frame).save("frame.png")
    _run("detect", "runs/both", "frame.png", "--out", "written")
    text = Path("written/frame.csv").read_text(encoding="utf-8")
    (written,) = csv.DictReader(io.StringIO(text))
    assert row.success
    assert written["success"] == "1"
    assert f"{row.box[0]:.2f}" == written["FaceRectX"]
    assert f"{row.probabilities[0]:.4f}" == (written["AU01"] or f"{row.probabilities[0]:.4f}")


def _detections() -> cycada.Detections:
    rows = (
        Detected(
            frame=0, input="a.png", confidence=0.9, box=(1.0, 2.0, 3.0, 4.0), angle=5.0,
            probabilities=(0.25, 0.75), decisions=(False, True), intensities=(0.5, float("nan")),
            assessable=(True, True),
        ),
        Detected(
            frame=1, input="b.png", timestamp=0.5, confidence=0.8, reason="not seen: brow",
            probabilities=(0.5, 0.125), decisions=(True, False), intensities=(1.5, 2.5),
            assessable=(False, True),
        ),
        Detected(frame=2, input="c.png", reason="no face found"),
    )  # fmt: skip
    return cycada.Detections(Task((1, 12)), rows, graded=True)


def test_a_column_holds_what_the_file_holds_with_none_for_empty_cells() -> None:
    found = _detections()
    written = list(csv.DictReader(io.StringIO(found.to_csv())))
    columns = found.to_dict()
    assert list(columns) == list(written[0])
    for name, cells in columns.items():
        for cell, row in zip(cells, written, strict=True):
            if cell is None or isinstance(cell, str):
                assert (cell or "") == row[name], name
            else:
                assert cell == pytest.approx(float(row[name])), name
    assert columns["AU01"] == [0.25, None, None]
    assert columns["AU12_c"] == [1, 0, None]
    assert columns["AU12_r"] == [None, 2.5, None]
    assert columns["FaceRectY"] == [2.0, None, None]


def test_a_row_tells_the_action_units_that_are_present_and_can_be_seen() -> None:
    found = _detections()
    assert [found.action_units(n) for n in range(3)] == [("AU12",), (), ()]
    assert str(found) == "3 rows, 2 with a face; AU01, AU12"
    with pytest.raises(KeyError, match="AU02: the columns are input"):
        found["AU02"]


def test_classes_have_a_column_each_and_a_label() -> None:
    row = Detected(
        frame=0, probabilities=(0.25, 0.75), decisions=(False, True), assessable=(True, True)
    )
    found = cycada.Detections(Task(classes=("calm", "dyspnea")), (row,))
    assert found["label"] == ["dyspnea"]
    assert found["calm"] == [0.25]
    assert found.action_units(0) == ("dyspnea",)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"domain": "infrared"}, "domain: expected one of 'rgb', 'thermal', found 'infrared'"),
        ({"unit": "kelvins"}, "unit: expected one of None, 'grey',"),
        ({"window": 3}, "window: expected two temperatures in deg C, found 3"),
        ({"window": (1, 2, 3)}, "window: expected two temperatures"),
        ({"window": "20"}, "window: expected two temperatures"),
        ({"rotate": 45}, "turns by 0, 90, 180 or 270"),
    ],
)
@pytest.mark.usefixtures("there")
def test_an_argument_that_there_is_not_is_refused_in_a_sentence(
    given: dict[str, Any], told: str
) -> None:
    detector = cycada.ActionUnitDetector.from_pretrained("runs/both")
    with pytest.raises(UsageError, match=told):
        detector.detect(["faces/thermal.png"], **given)
    translator = cycada.Translator.from_pretrained("runs/translator")
    with pytest.raises(UsageError, match="scale: expected one of 'fit', 'keep', found 'fill'"):
        translator.translate(["faces/rgb.png"], scale="fill")  # type: ignore[arg-type]
