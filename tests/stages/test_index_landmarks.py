"""``cycada index --crop`` carries along the landmarks by which faces were found."""

from __future__ import annotations

import csv
import math
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cycada import image_reading, image_writing, thermal
from cycada.config import AugmentConfig, DetectorConfig
from cycada.data.index import read_index
from cycada.data.landmarks import Landmarks, read_landmarks
from cycada.data.phantom import LANDMARK_NAMES
from cycada.landmarks import EYE_CORNERS
from cycada.progress import Progress
from cycada.stages.index import make_index
from cycada.stages.index_options import IndexOptions
from cycada.stages.train_detector import run_training
from cycada.training.loading import load_detector
from cycada.training.run_reading import read_log

# A face that looks at us, by the numbers of iBUG's 68 points: px to the right of the middle between
# the eyes, and px below, when the eyes are 100 px apart. Points 36 to 41 are the eye at the left
# of the image, which is the person's right one.
FACE = {
    17: (-85, -30), 19: (-55, -42), 21: (-20, -33), 22: (20, -33), 24: (55, -42), 26: (85, -30),
    27: (0, 5), 30: (0, 55), 31: (-20, 66), 33: (0, 70), 35: (20, 66),
    36: (-70, 2), 37: (-57, -8), 38: (-43, -8), 39: (-30, 2), 40: (-43, 9), 41: (-57, 9),
    42: (30, 2), 43: (43, -8), 44: (57, -8), 45: (70, 2), 46: (57, 9), 47: (43, 9),
    48: (-40, 100), 54: (40, 100), 51: (0, 90), 62: (0, 98), 66: (0, 106), 57: (0, 116),
    8: (0, 160),
}  # fmt: skip
NAMED = {
    "brow_inner_left": (20, -33), "brow_middle_left": (55, -42), "brow_outer_left": (85, -30),
    "eye_inner_left": (30, 2), "eye_outer_left": (70, 2),
    "lid_upper_left": (50, -8), "lid_lower_left": (50, 9),
    "nose_wing_left": (20, 66), "mouth_corner_left": (40, 100),
    "brow_inner_right": (-20, -33), "brow_middle_right": (-55, -42), "brow_outer_right": (-85, -30),
    "eye_inner_right": (-30, 2), "eye_outer_right": (-70, 2),
    "lid_upper_right": (-50, -8), "lid_lower_right": (-50, 9),
    "nose_wing_right": (-20, 66), "mouth_corner_right": (-40, 100),
    "nose_root": (0, 5), "nose_tip": (0, 55), "nose_base": (0, 70),
    "lip_upper_top": (0, 90), "lip_upper_bottom": (0, 98), "lip_lower_top": (0, 106),
    "lip_lower_bottom": (0, 116), "chin": (0, 160),
}  # fmt: skip
SIDE = 300  # px of the frames
Point = tuple[float, float]


def place(point: Point, *, at: Point, apart: float, angle: float) -> Point:
    """Return where a point of the face is in a frame; a positive angle leans it to our right."""
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x, y = (axis * apart / 100 for axis in point)
    return at[0] + c * x - s * y, at[1] + s * x + c * y


def drawn(dots: Iterable[Point], *, ground: float, warmth: float, step: float) -> NDArray[Any]:
    """Return a frame with a spot at each point, each warmer by a step than the one before."""
    frame = np.full((SIDE, SIDE), ground, dtype=np.float32)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for number, (x, y) in enumerate(dots):
        frame[(columns - x) ** 2 + (rows - y) ** 2 <= 2.1**2] = warmth + step * number
    return frame


def cells_68(where: Mapping[str, Any], moved: Mapping[int, Point] | None = None) -> list[str]:
    face = {**FACE, **(moved or {})}
    points = [place(face[n], **where) if n in face else (0, 0) for n in range(68)]
    return [f"{point[axis]:.3f}" for axis in (0, 1) for point in points]


def write_table(file: Path, header: list[str], rows: Iterable[list[Any]]) -> Path:
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return file


HEADER_68 = [f"{axis}_{n}" for axis in "xy" for n in range(68)]
TURNS: list[dict[str, Any]] = [
    {"at": (150.0, 110.0), "apart": 64.0, "angle": 25.0},
    {"at": (120.5, 130.0), "apart": 70.0, "angle": -40.0},
    {"at": (160.0, 120.0), "apart": 61.5, "angle": 0.0},
]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Return the folder of a thermal recording of turned faces; OpenFace's table is beside it.

    In frame 3 OpenFace has failed, and in frame 2 it takes something below the crop for the chin.
    """
    folder = tmp_path / "clips" / "ann"
    folder.mkdir(parents=True)
    frames = [
        drawn((place(point, **where) for point in NAMED.values()), ground=22, warmth=25, step=0.4)
        for where in (*TURNS, TURNS[0])
    ]
    counts = thermal.counts_from_celsius(torch.from_numpy(np.stack(frames)), "centikelvin")
    np.savez(folder / "clip.npz", frames=counts.numpy(), fps=8)
    rows = [
        [n + 1, n / 8, 0.98, 1, *cells_68(where, {8: (0, 260)} if n == 2 else {})]
        for n, where in enumerate(TURNS)
    ]
    rows.append([4, 3 / 8, 0.1, 0, *["0"] * 136])
    write_table(
        tmp_path / "clip.csv", ["frame", "timestamp", "confidence", "success", *HEADER_68], rows
    )
    return tmp_path / "clips"


def indexed(options: IndexOptions, quiet: Progress) -> tuple[Landmarks, tuple[str, ...]]:
    notes = make_index(options, progress=quiet).notes
    found = read_landmarks(options.out)
    assert found is not None
    return found, notes


def test_a_landmark_in_a_crop_is_where_the_spot_is_that_was_drawn_for_it(
    recording: Path, quiet: Progress, tmp_path: Path
) -> None:
    out = tmp_path / "index"
    found, notes = indexed(
        IndexOptions(out=out, thermal=recording, crop=str(tmp_path / "clip.csv"),
                     fractions=(1, 0, 0)), quiet,
    )  # fmt: skip
    assert set(found.names) == set(LANDMARK_NAMES) == set(NAMED)
    assert any("26 landmarks of 3 of 3 faces" in note for note in notes)
    faces = read_index(out).faces
    assert [face.frame for face in faces] == [0, 1, 2]
    assert set(found.places) == {face.path for face in faces}
    for number, face in enumerate(faces):
        crop = image_reading.read_image(out / face.path)
        celsius = thermal.celsius_from_counts(crop, "centikelvin")[0]
        flat = found.places[face.path]
        where = {name: flat[2 * at : 2 * at + 2] for at, name in enumerate(found.names)}
        if number == 2:
            assert all(map(math.isnan, where.pop("chin")))
        for order, name in enumerate(NAMED):
            if name in where:
                x, y = where[name]
                assert celsius[round(y), round(x)] == pytest.approx(25 + 0.4 * order, abs=0.1)
        left, right = where["eye_outer_left"], where["eye_outer_right"]
        assert left[0] - right[0] == pytest.approx(1.4 * TURNS[number]["apart"], abs=0.5)
        assert left[1] == pytest.approx(right[1], abs=0.1)


def test_folds_have_the_landmarks_of_their_own_faces(
    recording: Path, quiet: Progress, tmp_path: Path
) -> None:
    for name in ("ben", "cid", "dee"):
        shutil.copytree(recording / "ann", recording / name)
    rows = [
        [f"{name}/clip.npz", n, *(v for corner in EYE_CORNERS for v in place(NAMED[corner], **w))]
        for name in ("ann", "ben", "cid", "dee")
        for n, w in enumerate(TURNS)
    ]
    header = ["path", "frame", *(f"{name}_{axis}" for name in EYE_CORNERS for axis in "xy")]
    table = write_table(tmp_path / "eyes.csv", header, rows)
    options = IndexOptions(out=tmp_path / "index", thermal=recording, crop=str(table), folds="2")
    folds = make_index(options, progress=quiet).folds
    assert len(folds) == 2
    for fold in folds:
        found = read_landmarks(fold.root)
        assert found is not None
        assert set(found.places) == {face.path for face in fold.faces}
        assert len(found.places) == 12
        assert found.names == EYE_CORNERS
        assert all(fold.file(face).is_file() for face in fold.faces)


@pytest.mark.parametrize(
    ("names", "kept", "told"),
    [
        (("eye_left", "eye_right", "mouth_corner_left", "mouth_corner_right"), (), "without eye_i"),
        ((*EYE_CORNERS, "ear_left", "chin"), (*EYE_CORNERS, "chin"), "left out .*: ear_left"),
    ],
)
def test_what_landmarks_csv_cannot_hold_is_told(
    names: tuple[str, ...], kept: tuple[str, ...], told: str, recording: Path, quiet: Progress,
    tmp_path: Path,
) -> None:  # fmt: skip
    centres = {"eye_left": (50, 0), "eye_right": (-50, 0), "ear_left": (110, 20)}
    points = [place({**NAMED, **centres}[name], **TURNS[0]) for name in names]
    table = write_table(
        tmp_path / "clip.csv", ["frame", *(f"{name}_{axis}" for name in names for axis in "xy")],
        [[0, *(axis for point in points for axis in point)]],
    )  # fmt: skip
    options = IndexOptions(
        out=tmp_path / "index", thermal=recording, crop=str(table), fractions=(1, 0, 0)
    )
    notes = " ".join(make_index(options, progress=quiet).notes)
    found = read_landmarks(options.out)
    assert (found.names if found else ()) == kept
    assert re.search(told, notes)


def test_landmarks_that_are_older_than_the_crops_are_told(
    recording: Path, quiet: Progress, tmp_path: Path
) -> None:
    out = tmp_path / "index"
    options = IndexOptions(
        out=out, thermal=recording, crop=str(tmp_path / "clip.csv"), fractions=(1, 0, 0)
    )
    indexed(options, quiet)
    before = (out / "landmarks.csv").read_bytes()
    boxes = write_table(
        tmp_path / "boxes.csv", ["path", "frame", "left", "top", "width", "height"],
        [["clip.npz", 0, 100, 80, 80, 100]],
    )  # fmt: skip
    changed = IndexOptions(
        out=out, thermal=recording, crop=str(boxes), fractions=(1, 0, 0), overwrite=True
    )
    notes = make_index(changed, progress=quiet).notes
    assert any("landmarks.csv: is older than these crops; delete it" in note for note in notes)
    assert (out / "landmarks.csv").read_bytes() == before


def test_a_detector_of_regions_learns_from_68_points_of_pyfeat(
    tiny_detector: Callable[..., DetectorConfig], quiet: Progress, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    rows, labels = [], []
    for subject in range(8):
        for frame in range(3):
            where: dict[str, Any] = {
                "at": tuple(draw.uniform(120, 180, 2)), "apart": draw.uniform(45, 55),
                "angle": draw.uniform(-30, 30),
            }  # fmt: skip
            dots = [place(point, **where) for point in NAMED.values()]
            grey = drawn(dots, ground=160, warmth=0, step=2) + draw.uniform(-30, 30, (SIDE, SIDE))
            picture = torch.from_numpy(grey.clip(0, 255).astype(np.uint8)).expand(3, -1, -1)
            name = f"s{subject}/{frame:03d}.png"
            image_writing.write_image(tmp_path / "portraits" / name, picture)
            known = cells_68(where) if frame else ["NaN"] * 136  # then its box says where it is
            rows.append(["portraits/" + name, 0, 100, 100, 100, 100, 0.9, *known])
            labels.append([f"s{subject}", frame, frame % 2, (frame + subject) % 2])
    box = ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"]
    table = write_table(tmp_path / "fex.csv", ["input", "frame", *box, *HEADER_68], rows)
    units = write_table(tmp_path / "au.csv", ["subject", "frame", "AU01", "AU12"], labels)
    options = IndexOptions(
        out=tmp_path / "index", rgb=tmp_path / "portraits", crop=str(table), labels=(units,),
        fractions=(0.7, 0.15, 0.15),
    )  # fmt: skip
    found, notes = indexed(options, quiet)
    assert any("26 landmarks of 16 of 24 faces" in note for note in notes)
    still = AugmentConfig(flip=0, rotate=0, scale=0, shift=0, blur=0, noise=0)
    config = tiny_detector(
        source=(str(options.out),), backbone="regions", width=6, steps=60, learning_rate=3e-3,
        augment=still,
    )  # fmt: skip
    run_training(config, tmp_path / "run", progress=quiet)
    errors = [row["landmarks"] for row in read_log(tmp_path / "run") if "landmarks" in row]
    assert sum(errors[-5:]) < 0.7 * sum(errors[:5])
    assert load_detector(tmp_path / "run").module.landmarks == found.names
