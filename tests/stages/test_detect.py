from __future__ import annotations

import csv
import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional as F  # noqa: N812

from cycada import image_writing, thermal
from cycada.cli import main
from cycada.config import DetectorConfig
from cycada.data import phantom
from cycada.data.index import read_index, write_index
from cycada.errors import DataError, RunError, UsageError
from cycada.footage import ReadOptions
from cycada.progress import Progress
from cycada.stages import detect as stage
from cycada.stages.detect import DetectOptions, detect
from cycada.stages.evaluate import predict_faces
from cycada.stages.train_detector import run_training
from cycada.thermal import Window
from cycada.training.loading import LoadedDetector, load_detector

SIZE = (60, 80)
CROP = 32


@pytest.fixture(scope="module")
def thermal_run(
    tiny_detector: Callable[..., DetectorConfig],
    quiet: Progress,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return a detector that has learned from thermal faces between 20 and 40 deg C."""
    out = tmp_path_factory.mktemp("thermal") / "run"
    run_training(tiny_detector(steps=2, source_domain="thermal"), out, progress=quiet)
    return out


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Return a recording of 75 frames and a table of where the face is in two of three."""
    draw = torch.Generator().manual_seed(0)
    frames = 24 + 0.2 * torch.rand(75, *SIZE, generator=draw)
    rows = []
    for number in range(75):
        if number % 3 == 2:
            continue
        left, top = number % 30, number % 20
        frames[number, top : top + CROP, left : left + CROP] = 30 + 6 * torch.rand(
            CROP, CROP, generator=draw
        )
        # The crop has a border of 0.14 heights around the face.
        height = CROP / 1.28
        across, down = (CROP - 0.8 * height) / 2 - 0.5, (CROP - height) / 2 - 0.5
        rows.append([number, left + across, top + down, 0.8 * height, height])
    counts = thermal.counts_from_celsius(frames, "centikelvin")
    np.savez(tmp_path / "night.npz", frames=counts.numpy(), fps=10)
    with (tmp_path / "night.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["frame", "left", "top", "width", "height"], *rows])
    return tmp_path / "night.npz"


def options(run: Path, *sources: Path, out: Path, **changes: Any) -> DetectOptions:
    return DetectOptions(run=run, sources=sources, out=out, device=torch.device("cpu"), **changes)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_faces_of_an_index_get_what_evaluate_says_of_them_calibrated(
    thermal_run: Path, faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    (found,) = detect(options(thermal_run, faces, out=tmp_path / "out"), progress=quiet)
    rows = table(found.table)
    detector = load_detector(thermal_run, torch.device("cpu"))
    index = read_index(faces).select(domain="thermal")
    raw = predict_faces(detector, index, domain="thermal", progress=quiet)
    said = detector.calibrated(raw.double())
    assert detector.calibration is not None
    assert "AU01_r" not in rows[0]  # nobody graded the faces that it learned from
    assert len(rows) == found.frames == found.faces == len(index.faces)
    for row, face, probabilities, decisions in zip(
        rows, index.faces, said.tolist(), detector.decide(raw).tolist(), strict=True
    ):
        assert Path(row["input"]) == index.file(face)
        told = [float(row[name]) for name in detector.task.names]
        assert told == pytest.approx(probabilities, abs=2e-3)
        assert [row[f"{name}_c"] for name in detector.task.names] == [
            str(int(decision)) for decision in decisions
        ]


@pytest.mark.parametrize("where", ["index", "recording"])
def test_faces_that_are_cut_out_get_the_same_from_cores_on_their_own_as_from_a_batch(
    where: str, thermal_run: Path, faces: Path, recording: Path, quiet: Progress, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """However many cores there are; and a table that was cut off ends the same."""
    source = faces if where == "index" else recording
    monkeypatch.setattr("cycada.cores.PIECE_PIXELS", 4 * CROP**2)
    used: set[int] = set()
    usual = LoadedDetector.predict

    def predict(self: LoadedDetector, pictures: torch.Tensor) -> torch.Tensor:
        used.add(torch.get_num_threads())
        return usual(self, pictures)

    monkeypatch.setattr(LoadedDetector, "predict", predict)

    def made(name: str, cores: int) -> Path:
        before = torch.get_num_threads()
        torch.set_num_threads(cores)
        try:
            asked = options(thermal_run, source, out=tmp_path / name, faces="whole")
            (found,) = detect(asked, progress=quiet)
            assert torch.get_num_threads() == cores
        finally:
            torch.set_num_threads(before)
        return found.table

    alone, several = made("alone", 1), made("several", 3)
    assert used == {1}
    whole = alone.read_bytes()
    assert several.read_bytes() == whole
    part = several.with_name(f".{several.stem}.part.csv")
    part.write_bytes(b"".join(whole.splitlines(keepends=True)[:9]))
    several.unlink()
    assert made("several", 2).read_bytes() == whole
    monkeypatch.setattr(stage, "computes_by_core", lambda _: False)
    assert made("batch", 3).read_bytes() == whole
    assert used == {1, 3}


def test_where_faces_were_graded_intensities_are_told_as_evaluate_tells_them(
    tiny_detector: Callable[..., DetectorConfig], own_faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    index = read_index(own_faces)
    graded = [
        replace(face, split="train" if face.subject == "thermal0" else "val", action_units={
            unit: 2 * value + number % 2 for unit, value in face.action_units.items() if unit < 50
        } | {51: float(number % 2) * 3, 52: 0.0 if number % 5 else 2.0})
        for number, face in enumerate(index.select(domain="thermal").faces)
    ]  # fmt: skip
    info = replace(index.info, kind="intensity")
    write_index(replace(index, info=info, faces=tuple(graded)))
    run = tmp_path / "run"
    config = tiny_detector(source=(str(own_faces),), steps=2, source_domain="thermal")
    run_training(config, run, progress=quiet)
    (found,) = detect(options(run, own_faces, out=tmp_path / "out", overlay=True), progress=quiet)
    rows = table(found.table)
    detector = load_detector(run, torch.device("cpu"))
    raw = predict_faces(detector, read_index(own_faces), domain="thermal", progress=quiet)
    told = detector.intensities(detector.calibrated(raw.double()))
    assert told is not None
    for row, values in zip(rows, told.tolist(), strict=True):
        assert row["AU52_r"] == ""  # graded too seldom
        assert row["AU52"]
        assert float(row["AU01_r"]) == pytest.approx(values[0], abs=0.02)
        assert 0 <= float(row["AU51_r"]) <= 5


def test_every_frame_has_a_row_and_the_face_is_cut_out_where_the_table_says(
    thermal_run: Path, recording: Path, quiet: Progress, tmp_path: Path
) -> None:
    (found,) = detect(
        options(thermal_run, recording, out=tmp_path / "out", faces=str(tmp_path / "night.csv")),
        progress=quiet,
    )
    rows = table(found.table)
    assert [int(row["frame"]) for row in rows] == list(range(75))
    assert [row["success"] for row in rows] == ["0" if n % 3 == 2 else "1" for n in range(75)]
    assert (found.frames, found.faces) == (75, 50)
    assert rows[2]["AU01"] == rows[2]["AU01_c"] == ""
    assert "does not name this frame" in rows[2]["reason"]
    assert [float(row["timestamp"]) for row in rows[:3]] == pytest.approx([0, 0.1, 0.2])
    detector = load_detector(thermal_run, torch.device("cpu"))
    with np.load(recording) as stored:
        frame = torch.from_numpy(stored["frames"][4].astype(np.int32)).to(torch.float32)
    celsius = frame[4 : 4 + CROP, 4 : 4 + CROP] / 100 - 273.15
    signed = thermal.to_signed(celsius, Window())[None]
    # Each px of the crop is the mean of the four that it shows.
    said = detector.calibrated(detector.predict(F.avg_pool2d(signed[None], 2)).double())[0]
    told = [rows[4][name] for name in detector.task.names]
    assert [float(text) for text in told if text] == pytest.approx(
        [value for value, text in zip(said.tolist(), told, strict=True) if text], abs=2e-4
    )
    assert any(told)
    assert float(rows[4]["FaceRectWidth"]) == pytest.approx(0.8 * CROP / 1.28, abs=0.01)


@pytest.mark.parametrize(
    ("box", "confidence", "reason"),
    [
        ("20,20,16,20", 1.0, "smaller than 24 px (20 px high)"),
        ("-16,10,32,40", 1.0, "cut off by the edge (48% of the face outside)"),
        ("20,10,32,40", 0.3, "no face found (confidence 0.30 at best)"),
    ],
)
def test_nothing_is_said_of_what_is_too_small_cut_off_or_uncertain(
    thermal_run: Path, quiet: Progress, tmp_path: Path, box: str, confidence: float, reason: str
) -> None:
    celsius = 24 + 10 * torch.rand(1, 64, 64)
    image_writing.write_image(
        tmp_path / "a.png", thermal.counts_from_celsius(celsius, "centikelvin")
    )
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(f"path,left,top,width,height,confidence\na.png,{box},{confidence}\n")
    (found,) = detect(
        options(thermal_run, tmp_path / "a.png", out=tmp_path / "out", faces=str(boxes)),
        progress=quiet,
    )
    (row,) = table(found.table)
    assert (row["success"], row["reason"], found.faces) == ("0", reason, 0)
    assert row["AU01"] == row["AU01_c"] == ""
    assert float(row["confidence"]) == confidence
    assert row["FaceRectX"]  # what was found is told


def test_where_something_cold_covers_the_brows_nothing_is_said_of_them(
    thermal_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    face = torch.full((1, 64, 64), 23.0)
    face[:, 4:60, 8:56] = 34.0
    bare = face.clone()
    face[:, 12:23, 8:56] = 25.0
    for name, celsius in (("bare", bare), ("cap", face)):
        image_writing.write_image(
            tmp_path / f"{name}.png", thermal.counts_from_celsius(celsius, "centikelvin")
        )
        (tmp_path / f"{name}.csv").write_text(
            f"path,left,top,width,height\n{name}.png,12,7,40,50\n"
        )
        detect(
            options(
                thermal_run, tmp_path / f"{name}.png", out=tmp_path / "out",
                faces=str(tmp_path / f"{name}.csv"),
            ),
            progress=quiet,
        )  # fmt: skip
    (plain,), (hidden,) = table(tmp_path / "out/bare.csv"), table(tmp_path / "out/cap.csv")
    assert all((plain["AU01"], plain["AU12"], plain["AU51"]))
    assert hidden["success"] == "1"
    assert hidden["AU01"] == hidden["AU01_c"] == ""
    assert hidden["AU12"]
    assert hidden["reason"] == "not seen: brow"


@pytest.mark.parametrize("stop", [1, 32, 40])
def test_an_interrupted_table_goes_on_and_ends_the_same(
    thermal_run: Path, recording: Path, quiet: Progress, tmp_path: Path, stop: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    faces = str(tmp_path / "night.csv")
    whole = options(thermal_run, recording, out=tmp_path / "whole", faces=faces)
    broken = options(thermal_run, recording, out=tmp_path / "broken", faces=faces)
    detect(whole, progress=quiet)
    seen: list[int] = []
    usual = stage._seen

    def interrupted(frame: Any, *rest: Any, **names: Any) -> Any:
        seen.append(frame.number)
        if frame.number == stop:
            raise KeyboardInterrupt
        return usual(frame, *rest, **names)

    monkeypatch.setattr(stage, "_seen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        detect(broken, progress=quiet)
    assert not (tmp_path / "broken" / "night.csv").exists()
    monkeypatch.setattr(stage, "_seen", usual)
    detect(broken, progress=quiet)
    for name in ("night.csv", "night.json"):
        assert (tmp_path / "broken" / name).read_bytes() == (
            (tmp_path / "whole" / name).read_bytes()
        )


def test_a_batch_that_was_cut_off_is_begun_again_whole(
    thermal_run: Path, recording: Path, quiet: Progress, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What is said of a face may depend on how many share its pass; here it depends on it much."""

    def counting(self: LoadedDetector, pictures: torch.Tensor) -> torch.Tensor:
        return torch.full((len(pictures), len(self.task)), len(pictures) / 100)

    monkeypatch.setattr(LoadedDetector, "predict", counting)
    asked = options(thermal_run, recording, out=tmp_path / "out", faces=str(tmp_path / "night.csv"))
    (found,) = detect(asked, progress=quiet)
    whole = found.table.read_bytes()
    part = found.table.with_name(".night.part.csv")
    part.write_bytes(b"".join(whole.splitlines(keepends=True)[: 1 + 45]))
    found.table.unlink()
    detect(asked, progress=quiet)
    assert found.table.read_bytes() == whole


def test_frames_are_read_while_the_network_computes(
    thermal_run: Path, recording: Path, quiet: Progress, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    later = threading.Event()
    usual_seen, usual = stage._seen, LoadedDetector.predict

    def seen(frame: Any, *rest: Any, **names: Any) -> Any:
        if frame.number == 40:  # of the second batch
            later.set()
        return usual_seen(frame, *rest, **names)

    def predict(self: LoadedDetector, pictures: torch.Tensor) -> torch.Tensor:
        assert later.wait(20)
        return usual(self, pictures)

    monkeypatch.setattr(stage, "_seen", seen)
    monkeypatch.setattr(LoadedDetector, "predict", predict)
    faces = str(tmp_path / "night.csv")
    (found,) = detect(options(thermal_run, recording, out=tmp_path / "out", faces=faces),
                      progress=quiet)  # fmt: skip
    assert found.frames == 75


def test_a_whole_table_is_kept_and_one_of_other_settings_is_refused(
    thermal_run: Path, recording: Path, quiet: Progress, tmp_path: Path
) -> None:
    faces = str(tmp_path / "night.csv")
    one = options(thermal_run, recording, out=tmp_path / "out", faces=faces)
    detect(one, progress=quiet)
    before = (tmp_path / "out" / "night.csv").stat().st_mtime_ns
    (again,) = detect(one, progress=quiet)
    assert again.kept
    assert (tmp_path / "out" / "night.csv").stat().st_mtime_ns == before
    with pytest.raises(RunError, match="other settings"):
        detect(options(thermal_run, recording, out=tmp_path / "out"), progress=quiet)
    facts = json.loads((tmp_path / "out" / "night.json").read_text())
    assert facts["frames"] == 75
    assert facts["settings"]["unit"] == "centikelvin"


def test_heads_are_found_by_their_warmth_where_nobody_says_where_they_are(
    thermal_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    draw = torch.Generator().manual_seed(3)
    count = 6
    identity = phantom.sample_identities(count, generator=draw)
    intensities = phantom.sample_intensities(count, domain="thermal", generator=draw)
    scenes = phantom.sample_scenes(count, generator=draw)
    heads = phantom.render_celsius(identity, intensities, scenes, size=96)
    frames = 22 + 0.3 * torch.rand(2 * count, 120, 160, generator=draw)
    frames[:count, 24:, 32:128] = heads
    np.savez(
        tmp_path / "ward.npz", frames=thermal.counts_from_celsius(frames, "centikelvin").numpy()
    )
    (found,) = detect(
        options(thermal_run, tmp_path / "ward.npz", out=tmp_path / "out"), progress=quiet
    )
    rows = table(found.table)
    assert [row["success"] for row in rows[count:]] == ["0"] * count
    assert all(row["reason"] for row in rows[count:])
    places = phantom.landmarks(identity, intensities, scenes, size=96)
    eyes = [n for n, name in enumerate(phantom.LANDMARK_NAMES) if name.startswith("eye_")]
    hits = 0
    for row, points in zip(rows[:count], places, strict=True):
        if row["success"] == "1":
            x, y = (points[eyes].mean(0) + torch.tensor([32.0, 24.0])).tolist()
            left, top, width, height = (
                float(row[f"FaceRect{side}"]) for side in ("X", "Y", "Width", "Height")
            )
            hits += left < x < left + width and top < y < top + height / 2
    assert hits >= count - 1


@pytest.mark.parametrize("as_index", [False, True])
def test_an_image_among_others_that_cannot_be_read_is_a_row_with_the_reason(
    thermal_run: Path, own_faces: Path, quiet: Progress, tmp_path: Path, *, as_index: bool
) -> None:
    index = read_index(own_faces).select(domain="thermal", split="val")
    folder = tmp_path / "images"
    files = [index.file(face) for face in index.faces]
    if as_index:
        write_index(index)
        source = own_faces
    else:
        folder.mkdir()
        names = [f"face {'abcdefgh'[n]}.png" for n in range(len(files))]
        files = [shutil.copy(file, folder / name) for file, name in zip(files, names, strict=True)]
        source = folder
    files[1].write_bytes(b"no image at all")
    files[2].write_bytes(files[2].read_bytes()[:200])  # opens, but breaks off
    asked = options(thermal_run, source, out=tmp_path / "out", faces="whole", overlay=True)
    (found,) = detect(asked, progress=quiet)
    rows = table(found.table)
    assert [Path(row["input"]) for row in rows] == files
    assert [row["success"] for row in rows] == ["1", "0", "0", *["1"] * (len(files) - 3)]
    assert [row["frame"] for row in rows] == [str(n) for n in range(len(files))]
    assert all("cannot be read as an image" in row["reason"] for row in rows[1:3])
    assert str(tmp_path) not in rows[1]["reason"]
    drawn = sorted(file.name for file in (tmp_path / "out").glob("*_overlay/*"))
    assert [name[:6] for name in drawn] == [
        f"{n:06d}" for n in range(len(files)) if n not in (1, 2)
    ]
    if not as_index:
        for file in files:
            file.write_bytes(b"none of them")
        asked = options(thermal_run, source, out=tmp_path / "none", faces="whole")
        with pytest.raises(DataError, match="cannot be read as an image"):
            detect(asked, progress=quiet)


def test_frames_of_a_folder_are_told_by_their_files(
    thermal_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    folder = tmp_path / "ward"
    folder.mkdir()
    numbers = [0, 1, 2, 3, 5, 8, 13, 21]  # with gaps, so that positions do not tell
    for number in numbers:
        face = 24 + 12 * torch.rand(1, 20, 20, generator=torch.Generator().manual_seed(number))
        counts = thermal.counts_from_celsius(face, "centikelvin")
        image_writing.write_image(folder / f"ward_{number:04d}.png", counts)
    (found,) = detect(
        options(thermal_run, folder, out=tmp_path / "out", faces="whole"), progress=quiet
    )
    rows = table(found.table)
    assert [Path(row["input"]).name for row in rows] == [f"ward_{n:04d}.png" for n in numbers]
    assert [row["frame"] for row in rows] == [str(n) for n in range(len(numbers))]


def test_a_detector_of_thermal_faces_alone_is_not_believed_on_rgb_ones_in_silence(
    thermal_run: Path, detector_run: Path, faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    read = ReadOptions(domain="rgb")
    (found,) = detect(options(thermal_run, faces, out=tmp_path / "a", read=read), progress=quiet)
    assert any("learned from thermal faces alone" in note for note in found.notes)
    (found,) = detect(options(detector_run, faces, out=tmp_path / "b", read=read), progress=quiet)
    assert not found.notes


def test_grey_is_refused_by_a_detector_of_temperatures_unless_the_window_is_stated(
    thermal_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    image_writing.write_image(
        tmp_path / "a.png", torch.randint(0, 256, (1, 20, 20)).to(torch.uint8)
    )
    asked = options(thermal_run, tmp_path / "a.png", out=tmp_path / "out", faces="whole")
    with pytest.raises(DataError, match=r"a\.png: has no temperatures, .* 20 to 40 deg C"):
        detect(asked, progress=quiet)
    stated = options(
        thermal_run, tmp_path / "a.png", out=tmp_path / "out", faces="whole",
        read=ReadOptions(window=Window(20, 40)),
    )  # fmt: skip
    (found,) = detect(stated, progress=quiet)
    assert found.faces == 1


def test_an_rgb_detector_sees_rgb(
    detector_run: Path, faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    asked = options(detector_run, faces, out=tmp_path / "out", read=ReadOptions(domain="rgb"))
    (found,) = detect(asked, progress=quiet)
    rows = table(found.table)
    assert len(rows) == len(read_index(faces).select(domain="rgb").faces)
    assert "/rgb/" in rows[0]["input"]


def test_ways_to_find_faces_that_there_are_not_are_named(
    thermal_run: Path, recording: Path, quiet: Progress, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="--faces magic: is neither"):
        detect(options(thermal_run, recording, out=out, faces="magic"), progress=quiet)
    with pytest.raises(DataError, match=r"nothing\.csv"):
        detect(options(thermal_run, recording, out=out, faces="nothing.csv"), progress=quiet)


def test_two_sources_of_one_name_are_refused(
    thermal_run: Path, recording: Path, quiet: Progress, tmp_path: Path
) -> None:
    other = tmp_path / "b" / "night.npz"
    other.parent.mkdir()
    other.write_bytes(recording.read_bytes())
    with pytest.raises(RunError, match=r"would both become .*night\.csv"):
        detect(options(thermal_run, recording, other, out=tmp_path / "out"), progress=quiet)


def test_the_overlay_of_a_recording_is_a_video_with_a_picture_for_each_frame(
    thermal_run: Path, recording: Path, quiet: Progress, tmp_path: Path
) -> None:
    import av

    asked = options(
        thermal_run, recording, out=tmp_path / "out", faces=str(tmp_path / "night.csv"),
        overlay=True,
    )  # fmt: skip
    detect(asked, progress=quiet)
    with av.open(str(tmp_path / "out" / "night_overlay.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert float(video.streams.video[0].average_rate) == pytest.approx(10)
    assert len(frames) == 75
    assert frames[0].shape[0] >= 480
    before = (tmp_path / "out" / "night_overlay.mp4").stat().st_mtime_ns
    detect(asked, progress=quiet)
    assert (tmp_path / "out" / "night_overlay.mp4").stat().st_mtime_ns == before


def test_the_overlay_of_images_is_a_picture_for_each(
    thermal_run: Path, faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    detect(options(thermal_run, faces, out=tmp_path / "out", overlay=True), progress=quiet)
    made = sorted((tmp_path / "out" / f"{faces.name}_overlay").iterdir())
    index = read_index(faces).select(domain="thermal")
    assert [file.name for file in made] == [
        f"{n:06d}_{Path(face.path).stem}.png" for n, face in enumerate(index.faces)
    ]


def test_the_command_line_tells_what_it_understood_and_counts(
    thermal_run: Path, recording: Path, tmp_path: Path
) -> None:
    result = CliRunner().invoke(
        main,
        ["detect", str(thermal_run), str(recording), "--faces", str(tmp_path / "night.csv"),
         "--out", str(tmp_path / "out")],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "75 frames, 50 with a face" in result.output
    assert "centikelvin" in result.output
    wrong = CliRunner().invoke(
        main, ["detect", str(thermal_run), str(tmp_path / "none.cptv"), "--out", str(tmp_path)]
    )
    assert wrong.exit_code == 1
    assert "none.cptv: there is no such file" in wrong.output
