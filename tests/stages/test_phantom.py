from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import pytest

from cycada import image_reading, image_writing
from cycada.data import phantom
from cycada.data.index import DOMAINS, SPLITS, read_index
from cycada.data.index_checks import check_disjoint, check_files
from cycada.errors import DataError
from cycada.progress import Progress
from cycada.stages.phantom import PhantomOptions, make_phantom


def options(out: Path, **changes: object) -> PhantomOptions:
    base = PhantomOptions(out=out, rgb_subjects=4, thermal_subjects=3, frames=2, size=32, seed=1)
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(quiet: Progress, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "faces"
    make_phantom(options(out), progress=quiet)
    return out


def contents(root: Path) -> dict[str, bytes]:
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


def test_the_index_is_valid_and_every_image_is_there(made: Path) -> None:
    index = read_index(made)
    check_files(index)
    check_disjoint([index])
    assert len(index.faces) == (4 + 3) * 2
    assert index.info.kind == "intensity"
    assert index.action_units() == tuple(phantom.PHANTOM_ACTION_UNITS)
    for face in index.faces:
        image = image_reading.read_image(index.file(face))
        assert tuple(image.shape) == ((3 if face.domain == "rgb" else 1), 32, 32)
        assert str(image.dtype) == ("torch.uint8" if face.domain == "rgb" else "torch.uint16")


def test_subjects_are_disjoint_between_domains_and_splits(made: Path) -> None:
    index = read_index(made)
    rgb, thermal = (index.select(domain=domain).subjects() for domain in DOMAINS)
    assert not rgb & thermal
    by_split = [index.select(split=split).subjects() for split in SPLITS]
    assert all(by_split)
    assert sum(map(len, by_split)) == len(set.union(*by_split))


def test_every_face_has_its_pair_in_the_other_domain_and_its_landmarks(made: Path) -> None:
    index = read_index(made)
    with (made / "landmarks.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["path", *(f"{n}_{a}" for n in phantom.LANDMARK_NAMES for a in "xy")]
    assert [row[0] for row in rows[1:]] == [face.path for face in index.faces]
    assert all(-32 < float(cell) < 64 for row in rows[1:] for cell in row[1:])
    for face in index.faces:
        pair = image_reading.read_image(made / face.pair)
        assert len(pair) == (1 if face.domain == "rgb" else 3)
    assert not any("pairs" in face.path for face in index.faces)  # never learnt from


def test_pairs_are_drawn_for_the_wanted_splits_alone(quiet: Progress, tmp_path: Path) -> None:
    index = make_phantom(options(tmp_path / "faces", paired=("test",)), progress=quiet)
    assert {face.split for face in index.faces if face.pair} == {"test"}
    assert all(face.pair for face in index.faces if face.split == "test")


def test_the_same_seed_draws_the_same_bytes_and_another_other_faces(
    made: Path, quiet: Progress, tmp_path: Path
) -> None:
    make_phantom(options(tmp_path / "again"), progress=quiet)
    assert contents(tmp_path / "again") == contents(made)
    make_phantom(options(tmp_path / "other", seed=2), progress=quiet)
    other = contents(tmp_path / "other")
    assert all(other[name] != data for name, data in contents(made).items() if "png" in name)


def test_a_subject_looks_the_same_however_many_others_there_are(
    made: Path, quiet: Progress, tmp_path: Path
) -> None:
    make_phantom(options(tmp_path / "more", rgb_subjects=5), progress=quiet)
    name = "rgb/rgb0000/0001.png"
    assert (tmp_path / "more" / name).read_bytes() == (made / name).read_bytes()


def interrupt(out: Path, quiet: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop after the images of two subjects and one image of the third."""
    written = 0
    real = image_writing.write_image

    def stop(path: Path, image: object) -> None:
        nonlocal written
        written += 1
        if written > 9:
            raise KeyboardInterrupt
        real(path, image)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr("cycada.image_writing.write_image", stop)
        with pytest.raises(KeyboardInterrupt):
            make_phantom(options(out), progress=quiet)
    assert not (out / "index.csv").exists()


def test_an_interrupted_drawing_goes_on_to_the_same_end(
    made: Path, quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "faces"
    interrupt(out, quiet, monkeypatch)
    before = {file: file.stat().st_mtime_ns for file in out.rglob("rgb000[01]/*.png")}
    make_phantom(options(out), progress=quiet)
    assert contents(out) == contents(made)
    assert before == {file: file.stat().st_mtime_ns for file in before}


def test_faces_whose_drawing_was_killed_at_its_first_or_last_step_are_finished(
    made: Path, quiet: Progress, tmp_path: Path
) -> None:
    out = tmp_path / "faces"
    out.mkdir()
    (out / "..phantom.part-12").write_text("half a claim")
    (out / ".lock").write_text('{"host": "elsewhere", "pid": 12, "parent": null}')

    make_phantom(options(out), progress=quiet)
    assert contents(out) == contents(made)
    (out / ".phantom").write_text(repr(options(Path())))
    make_phantom(options(out), progress=quiet)
    assert contents(out) == contents(made)


def test_faces_begun_with_other_options_are_not_mixed_in(
    quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "faces"
    interrupt(out, quiet, monkeypatch)
    for changes in ({"seed": 2}, {"size": 48}, {"frames": 3}):
        with pytest.raises(DataError, match="begun with other options") as caught:
            make_phantom(options(out, **changes), progress=quiet)
        assert str(out) in str(caught.value)


def test_a_folder_with_something_else_in_it_is_refused(
    made: Path, quiet: Progress, tmp_path: Path
) -> None:
    before = contents(made)
    with pytest.raises(DataError, match="holds an index already"):
        make_phantom(options(made), progress=quiet)
    assert contents(made) == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty"):
        make_phantom(options(tmp_path), progress=quiet)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_too_few_subjects_leave_nothing_behind(quiet: Progress, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot fill 3 splits"):
        make_phantom(options(tmp_path / "faces", thermal_subjects=2), progress=quiet)
    assert not (tmp_path / "faces").exists()


def test_a_video_tells_how_fast_its_subject_breathes(quiet: Progress, tmp_path: Path) -> None:
    out = tmp_path / "faces"
    index = make_phantom(
        options(out, rgb_subjects=0, frames=4, video=True, paired=()), progress=quiet
    )
    with (out / "sequences.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["sequence"], int(row["frame"])) for row in rows] == [
        (face.sequence, face.frame) for face in index.faces
    ]
    assert all(8 <= float(row["breaths_per_minute"]) <= 32 for row in rows)
    assert [float(row["seconds"]) for row in rows[:4]] == pytest.approx([0, 0.1, 0.2, 0.3])
