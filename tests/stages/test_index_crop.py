"""``cycada index --crop``: faces are cut out of images and recordings, wherever they are."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cycada import image_reading, image_writing, thermal
from cycada.cli import main
from cycada.data.faces.crops import read_crops
from cycada.data.index import read_index
from cycada.errors import DataError
from cycada.footage import ReadOptions
from cycada.progress import Progress
from cycada.stages.index import make_index
from cycada.stages.index_options import IndexOptions

SIDE = 32  # px of the squares that are faces here
HEIGHT = SIDE / 1.28  # of the face in it, by the margin of crops


def frames(count: int, *, seed: int) -> torch.Tensor:
    """Return thermal frames in deg C; in each, a square at (number, 2 number) is a face."""
    draw = torch.Generator().manual_seed(seed)
    made = 22 + torch.rand(count, 60, 80, generator=draw)
    for number in range(count):
        face = 30 + 6 * torch.rand(SIDE, SIDE, generator=draw)
        made[number, 2 * number : 2 * number + SIDE, number : number + SIDE] = face
    return made


def box(number: int) -> list[float]:
    across, down = (SIDE - 0.8 * HEIGHT) / 2 - 0.5, (SIDE - HEIGHT) / 2 - 0.5
    return [number + across, 2 * number + down, 0.8 * HEIGHT, HEIGHT]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Return a folder with two recordings of 12 frames; every third shows nobody."""
    folder = tmp_path / "clips"
    folder.mkdir()
    rows = []
    for seed, name in enumerate(("ann", "ben")):
        counts = thermal.counts_from_celsius(frames(12, seed=seed), "centikelvin")
        np.savez(folder / f"{name}.npz", frames=counts.numpy(), fps=8)
        rows += [[f"clips/{name}.npz", n, *box(n)] for n in range(12) if n % 3]
    with (tmp_path / "boxes.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["path", "frame", "left", "top", "width", "height"], *rows])
    return folder


def cut(clips: Path, out: Path, **changes: object) -> IndexOptions:
    facts: dict[str, object] = {
        "thermal": clips, "out": out, "crop": str(clips.parent / "boxes.csv"),
        "fractions": (0.5, 0.0, 0.5), **changes,
    }  # fmt: skip
    return IndexOptions(**facts)  # type: ignore[arg-type]


def test_labels_that_count_from_1_meet_the_frames_whose_first_shows_nobody(
    clips: Path, quiet: Progress, tmp_path: Path
) -> None:
    for name in ("ann", "ben"):
        lines = [f"{frame},0,1,1,{int(frame == 3)}" for frame in range(1, 12)]
        text = "\n".join(["frame,face_id,confidence,success,AU12_c", *lines])
        (tmp_path / "openface").mkdir(exist_ok=True)
        (tmp_path / "openface" / f"{name}.csv").write_text(text)
    options = cut(clips, tmp_path / "index", labels=(tmp_path / "openface",))
    faces = make_index(options, progress=quiet).faces.faces
    known = {face.frame: face.action_units for face in faces if face.subject == "ann"}
    assert known == {n: {12: float(n == 2)} for n in (1, 2, 4, 5, 7, 8, 10)} | {11: {}}


def test_labels_by_path_name_the_images_that_faces_are_cut_out_of(
    quiet: Progress, tmp_path: Path
) -> None:
    lines = ["path,left,top,width,height"]
    pixels = torch.randint(30000, 30900, (1, 60, 80)).to(torch.uint16)
    for name in ("ann/1.tiff", "ben/1.tiff"):
        image_writing.write_image(tmp_path / "whole" / name, pixels)
        lines.append(f"whole/{name},20,10,30,30")
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    (tmp_path / "au.csv").write_text("path,AU01\nwhole/ann/1.tiff,1\nwhole/ben/1.tiff,0\n")
    options = cut(
        tmp_path / "whole", tmp_path / "out" / "index", labels=(tmp_path / "au.csv",),
        crop=str(tmp_path / "boxes.csv"), unit="centikelvin",
    )  # fmt: skip
    faces = make_index(options, progress=quiet).faces.faces
    assert {face.subject: face.action_units for face in faces} == {"ann": {1: 1}, "ben": {1: 0}}


def test_crops_are_the_pixels_of_the_recording_and_every_frame_has_a_row(
    clips: Path, quiet: Progress, tmp_path: Path
) -> None:
    out = tmp_path / "index"
    made = make_index(cut(clips, out), progress=quiet)
    index = read_index(out)
    assert index == made.faces
    assert index.info.unit == "centikelvin"
    assert len(index.faces) == 16
    assert index.subjects() == {"ann", "ben"}
    assert {face.frame for face in index.faces} == {n for n in range(12) if n % 3}
    rows = read_crops(out)
    assert len(rows) == 24
    assert [row.success for row in rows] == [bool(n % 3) for n in range(12)] * 2
    assert all("does not name" in row.reason for row in rows if not row.success)
    first = frames(12, seed=0)
    for row in rows[:12]:
        if row.success:
            n = row.frame or 0
            exact = thermal.counts_from_celsius(
                first[n, 2 * n : 2 * n + SIDE, n : n + SIDE], "centikelvin"
            )
            assert torch.equal(image_reading.read_image(out / row.path)[0].int(), exact.int())
            assert row.seconds == pytest.approx(n / 8)
            assert (row.left, row.top) == pytest.approx((n - 0.5, 2 * n - 0.5), abs=1e-3)
            assert (out / row.source).resolve() == clips / "ann.npz"


def test_a_point_of_a_crop_is_mapped_back_onto_its_frame(
    clips: Path, quiet: Progress, tmp_path: Path
) -> None:
    make_index(cut(clips, tmp_path / "index"), progress=quiet)
    row = next(row for row in read_crops(tmp_path / "index") if row.frame == 4)
    assert row.square is not None
    centre = row.square.to_frame(torch.tensor([0.0, 0.0]), SIDE)
    assert centre.tolist() == pytest.approx([4, 8], abs=1e-3)


def test_labels_of_frames_find_the_crops(clips: Path, quiet: Progress, tmp_path: Path) -> None:
    labels = tmp_path / "au.csv"
    labels.write_text("subject,frame,AU12\nann,4,1\nann,5,0\nben,4,0\n")
    made = make_index(cut(clips, tmp_path / "index", labels=(labels,)), progress=quiet)
    said = {
        (face.subject, face.frame): dict(face.action_units)
        for face in made.faces.faces
        if face.action_units
    }
    assert said == {("ann", 4): {12: 1.0}, ("ann", 5): {12: 0.0}, ("ben", 4): {12: 0.0}}


def test_frames_can_be_left_out_evenly(clips: Path, quiet: Progress, tmp_path: Path) -> None:
    make_index(cut(clips, tmp_path / "index", every=4), progress=quiet)
    assert [row.frame for row in read_crops(tmp_path / "index")] == [0, 4, 8] * 2


def test_images_in_folders_keep_their_names_in_both_domains(
    quiet: Progress, tmp_path: Path
) -> None:
    rows = []
    for domain in ("rgb", "thermal"):
        for number in range(4):
            picture = torch.zeros(3, 64, 48, dtype=torch.uint8) + 10 * number
            if domain == "thermal":
                picture = thermal.counts_from_celsius(
                    torch.full((1, 64, 48), 25.0 + number), "centikelvin"
                )
            name = f"{domain}/s{number}/{'smile' if number % 2 else 'rest'}.png"
            image_writing.write_image(tmp_path / name, picture)
            rows.append([name, 4, 8, 24, 30])
    with (tmp_path / "boxes.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["path", "left", "top", "width", "height"], *rows])
    made = make_index(
        IndexOptions(
            out=tmp_path / "index", rgb=tmp_path / "rgb", thermal=tmp_path / "thermal",
            crop=str(tmp_path / "boxes.csv"), fractions=(0.5, 0.0, 0.5),
        ),
        progress=quiet,
    ).faces  # fmt: skip
    assert sorted(face.path for face in made.faces) == sorted(
        f"images/{domain}/s{n}/{'smile' if n % 2 else 'rest'}.png"
        for domain in ("rgb", "thermal")
        for n in range(4)
    )
    assert {tuple(image_reading.read_image(made.file(face)).shape) for face in made.faces} == {
        (3, 38, 38), (1, 38, 38),  # 30 px and 0.14 of them on each side
    }  # fmt: skip


def test_a_table_names_the_frames_of_a_folder_by_their_files_or_by_their_numbers(
    quiet: Progress, tmp_path: Path
) -> None:
    faces = thermal.counts_from_celsius(frames(6, seed=1), "centikelvin")
    for number, face in enumerate(faces):
        image_writing.write_image(tmp_path / "thermal" / "ann" / f"{100 + number}.png", face[None])
    header = ["path", "left", "top", "width", "height"]
    by_file = [[f"ann/{100 + n}.png", *box(n)] for n in (0, 2, 5)]
    by_number = [["ann", *box(n), n] for n in (0, 2, 5)]
    for name, columns, rows in (("a", header, by_file), ("b", [*header, "frame"], by_number)):
        with (tmp_path / f"{name}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([columns, *rows])
        made = make_index(
            IndexOptions(
                out=tmp_path / name, thermal=tmp_path / "thermal",
                crop=str(tmp_path / f"{name}.csv"), fractions=(1.0, 0.0, 0.0),
            ),
            progress=quiet,
        ).faces  # fmt: skip
        assert [face.frame for face in made.faces] == [100, 102, 105]


def test_where_no_frame_shows_a_face_the_reason_is_told_and_nothing_is_indexed(
    quiet: Progress, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    noise = 22 + 0.1 * torch.rand(5, 60, 80, generator=torch.Generator().manual_seed(0))
    np.savez(empty / "room.npz", frames=thermal.counts_from_celsius(noise, "centikelvin").numpy())
    with pytest.raises(DataError, match=r"none of 5 frames shows a face .* reason is: \w"):
        make_index(IndexOptions(out=tmp_path / "index", thermal=empty, crop="auto"), progress=quiet)
    assert not (tmp_path / "index" / "index.csv").exists()


def test_recordings_that_are_passed_over_are_told(
    clips: Path, quiet: Progress, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"holds no image.* 2 recordings .*--crop"):
        make_index(IndexOptions(out=tmp_path / "index", thermal=clips), progress=quiet)


def test_frames_are_turned_upright_before_faces_are_looked_for(
    quiet: Progress, tmp_path: Path
) -> None:
    folder = tmp_path / "lying"
    folder.mkdir()
    upright = frames(3, seed=5)
    lying = torch.rot90(upright, 1, (1, 2))  # turned clockwise by 90 degrees it is upright
    np.savez(folder / "ann.npz", frames=thermal.counts_from_celsius(lying, "centikelvin").numpy())
    with (tmp_path / "boxes.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [["path", "frame", "left", "top", "width", "height"],
             *(["lying/ann.npz", n, *box(n)] for n in range(3))]
        )  # fmt: skip
    options = cut(
        folder, tmp_path / "index", read=ReadOptions(rotate=90), fractions=(1.0, 0.0, 0.0)
    )
    made = make_index(options, progress=quiet).faces
    exact = thermal.counts_from_celsius(upright[1, 2 : 2 + SIDE, 1 : 1 + SIDE], "centikelvin")
    found = image_reading.read_image(made.file(made.faces[1]))
    assert torch.equal(found[0].int(), exact.int())


def test_faces_are_cut_out_of_colour_video_with_the_time_of_each_frame(
    quiet: Progress, tmp_path: Path
) -> None:
    import av

    folder = tmp_path / "video"
    folder.mkdir()
    with av.open(str(folder / "ann.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 80, "bgr0"
        for number in range(10):
            picture = np.full((80, 96, 3), (10 * number, 200, 30), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    with (tmp_path / "boxes.csv").open("w", newline="") as table:
        csv.writer(table).writerows(
            [["path", "frame", "left", "top", "width", "height"],
             *(["video/ann.mkv", n, 30, 20, 24, 30] for n in range(10))]
        )  # fmt: skip
    made = make_index(
        IndexOptions(
            out=tmp_path / "index", rgb=folder, crop=str(tmp_path / "boxes.csv"), every=3,
            fractions=(1.0, 0.0, 0.0),
        ),
        progress=quiet,
    ).faces  # fmt: skip
    assert [face.frame for face in made.faces] == [0, 3, 6, 9]
    colours = [image_reading.read_image(made.file(face))[:, 5, 5].tolist() for face in made.faces]
    assert colours == [[10 * n, 200, 30] for n in (0, 3, 6, 9)]
    seconds = [row.seconds for row in read_crops(tmp_path / "index")]
    assert seconds == pytest.approx([n / 25 for n in (0, 3, 6, 9)], abs=1e-3)


def test_the_command_line_takes_crop_alone_or_with_a_way(clips: Path, tmp_path: Path) -> None:
    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["index", "--thermal", str(clips), *words])
        return result.exit_code, result.output

    code, said = run("--crop", str(tmp_path / "boxes.csv"), "--fractions", "0.5", "0", "0.5",
                     "--out", str(tmp_path / "a"))  # fmt: skip
    assert code == 0, said
    assert "16 faces cut out; not used: 8 boxes.csv does not name this frame" in said
    code, said = run("--rotate", "90", "--out", str(tmp_path / "b"))
    assert code == 2
    assert "--rotate is for files that faces are cut out of: give --crop" in said
    code, said = run("--crop", "magic", "--out", str(tmp_path / "c"))
    assert code == 2
    assert "--faces magic" in said or "--crop" in said


def test_crops_that_were_marked_are_left_out_of_an_index_that_cuts_them_out_again(
    clips: Path, quiet: Progress, tmp_path: Path
) -> None:
    whole = make_index(cut(clips, tmp_path / "index"), progress=quiet).faces
    chosen = [whole.faces[n].path for n in (2, 9)]
    (tmp_path / "m.csv").write_text("path,set,reason\n" + "".join(f"{p},s,\n" for p in chosen))
    out = tmp_path / "deep" / "index"
    options = cut(clips, out, exclude=(tmp_path / "m.csv",))
    made = make_index(options, progress=quiet).faces
    assert [face.path for face in made.faces] == [
        face.path for face in whole.faces if face.path not in chosen
    ]
    assert len(read_crops(out)) == 24  # of every frame, as ever
