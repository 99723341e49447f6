from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from cycada.cli import main
from cycada.errors import DataError, RunError, UsageError
from cycada.footage import ReadOptions, open_footage
from cycada.image_reading import read_image
from cycada.image_writing import write_image
from cycada.progress import Progress
from cycada.rejecting import Limit
from cycada.stages.convert import Converted, ConvertOptions, plan_conversion, run_conversion
from cycada.stages.index import make_index
from cycada.stages.index_options import IndexOptions
from cycada.thermal import Window, counts_from_celsius


def celsius(count: int) -> np.ndarray[Any, Any]:
    """Return ``(count, 20, 16)``: no two frames alike."""
    return 24 + np.arange(320).reshape(20, 16) / 40 + np.arange(count)[:, None, None] / 50


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    """Return a folder with a stack of 40 frames, a TIFF of 3 pages, 3 frames and a still."""
    root = tmp_path / "camera"
    (root / "anna").mkdir(parents=True)
    np.savez(
        root / "anna" / "T1.npz", frames=celsius(40), times=np.arange(40) / 8 + (np.arange(40) > 20)
    )
    counts = counts_from_celsius(torch.from_numpy(celsius(3)), "centikelvin").numpy()
    first, *rest = [Image.fromarray(page) for page in counts]
    first.save(root / "anna" / "T2.tif", save_all=True, append_images=rest)
    for number, page in enumerate(counts):
        write_image(root / "bert" / f"face_{number + 7}.png", torch.from_numpy(page)[None])
    write_image(root / "stills" / "carla.tif", torch.from_numpy(celsius(1)).float())
    return root


def convert(*sources: Path, out: Path, progress: Progress | None = None, **given: Any) -> Converted:
    quiet = progress or Progress(shown=False)
    options = ConvertOptions(sources=sources, out=out, **given)
    return run_conversion(plan_conversion(options, progress=quiet), progress=quiet)


def files(root: Path) -> dict[str, bytes]:
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


def times(root: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in root.rglob("*.png")}


def test_a_folder_becomes_a_folder_per_recording_that_cycada_index_takes(
    camera: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert convert(camera, out=out) == Converted(40 + 3 + 3 + 1, 3)
    names = [name for name in files(out) if not name.endswith(".csv")]
    assert names == [
        ".convert",
        *(f"anna/T1/{i:06d}.png" for i in range(40)),
        *(f"anna/T2/{i:06d}.png" for i in range(3)),
        *(f"bert/face_{i}.png" for i in (7, 8, 9)),
        "stills/carla.png",
    ]
    for number in (0, 39):
        image = read_image(out / "anna" / "T1" / f"{number:06d}.png")
        expected = np.round((celsius(40)[number] + 273.15) * 100)
        assert abs(image[0].numpy().astype(int) - expected).max() <= 1
    lines = (out / "anna" / "T1" / "times.csv").read_text().splitlines()
    assert lines[:3] == ["frame,seconds", "0,0.000000", "1,0.125000"]
    assert lines[-1] == "39,5.875000"
    assert (out / "bert" / "times.csv").read_text() == "frame,seconds\n7,\n8,\n9,\n"
    made = make_index(
        IndexOptions(out=tmp_path / "index", thermal=out, fractions=(1, 0, 0)),
        progress=Progress(shown=False),
    )
    assert made.faces.info.unit == "centikelvin"
    assert made.faces.subjects() == {"anna", "bert", "stills"}


def test_what_was_converted_reads_as_the_recording_did(camera: Path, tmp_path: Path) -> None:
    convert(camera / "anna", out=tmp_path / "out", kind="npy")
    before = open_footage(camera / "anna" / "T1.npz")
    after = open_footage(tmp_path / "out" / "T1")
    assert (after.unit, after.size, after.count) == (before.unit, before.size, 40)
    for one, two in zip(before.frames(), after.frames(), strict=True):
        assert one.seconds == pytest.approx(two.seconds, abs=1e-6)
        assert torch.equal(one.image, two.image)


def test_each_nth_frame_keeps_its_number(camera: Path, tmp_path: Path) -> None:
    convert(camera / "anna" / "T1.npz", out=tmp_path / "out", every=15)
    names = [file.name for file in sorted((tmp_path / "out" / "T1").glob("*.png"))]
    assert names == ["000000.png", "000015.png", "000030.png"]
    assert (tmp_path / "out" / "T1" / "times.csv").read_text().splitlines()[-1] == "30,4.750000"


class Interrupted(Progress):
    """Stops like Ctrl-C after some frames."""

    def __init__(self, after: int) -> None:
        super().__init__(shown=False)
        self.after = after

    def __call__(self, items: Iterable[Any], *, desc: str, **_given: Any) -> Iterator[Any]:
        for number, item in enumerate(items):
            if desc != "opening" and number == self.after:
                raise KeyboardInterrupt
            yield item


def test_it_goes_on_where_it_stopped(camera: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    convert(camera, out=whole)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        convert(camera, out=out, progress=Interrupted(after=33))
    kept = times(out)
    assert 0 < len(kept) < 40
    assert not (out / "anna" / "T1" / "times.csv").exists()
    assert convert(camera, out=out) == Converted(47, 3)
    assert files(out) == files(whole)
    assert {name: time for name, time in times(out).items() if name in kept} == kept
    before = times(out)
    assert convert(camera, out=out) == Converted(47, 3)
    assert times(out) == before


def test_further_sources_can_be_added_but_none_be_replaced(camera: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert(camera / "anna" / "T1.npz", out=out)
    convert(camera / "anna" / "T2.tif", out=out)
    assert {folder.name for folder in out.iterdir() if folder.is_dir()} == {"T1", "T2"}
    np.savez(tmp_path / "T1.npz", frames=celsius(2))
    with pytest.raises(RunError, match=r"T1: was made from \.\./camera/anna/T1\.npz, not from"):
        convert(tmp_path / "T1.npz", out=out)
    with pytest.raises(RunError, match=r"other options \(none, now rotate 90\)"):
        convert(camera / "anna" / "T1.npz", out=out, read=ReadOptions(rotate=90))


def test_a_folder_that_holds_something_else_is_left_alone(camera: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.doc").touch()
    with pytest.raises(RunError, match="is not empty"):
        convert(camera, out=tmp_path / "out")
    with pytest.raises(UsageError, match="would be taken for sources"):
        convert(camera, out=camera / "images")


def test_two_sources_of_one_name_are_refused(camera: Path, tmp_path: Path) -> None:
    np.save(camera / "anna" / "T1.npy", celsius(3))
    with pytest.raises(DataError, match=r"T1\.npy and .*T1\.npz would both become .*out/anna/T1"):
        convert(camera, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sources_that_cannot_be_read_are_set_aside_and_tried_again(
    camera: Path, tmp_path: Path
) -> None:
    whole = convert(camera, out=tmp_path / "whole")
    frame, repaired = camera / "bert" / "face_8.png", (camera / "bert" / "face_8.png").read_bytes()
    frame.write_bytes(repaired[:60])
    (camera / "anna" / "T3.npz").write_text("hello")
    out = tmp_path / "out"
    made = convert(camera, out=out)
    assert made == (whole.images - 1, whole.recordings)
    with (out / "rejected.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == [str(camera / "anna" / "T3.npz"), str(frame)]
    assert rows[0]["reason"].startswith("cannot be read as NPZ")
    assert rows[1]["reason"].startswith("cannot be read as an image")
    before = times(out)
    assert convert(camera, out=out) == made
    assert times(out) == before
    assert len((out / "rejected.csv").read_text().splitlines()) == 3
    frame.write_bytes(repaired)
    (camera / "anna" / "T3.npz").unlink()
    assert convert(camera, out=out) == whole
    found, expected = files(out), files(tmp_path / "whole")
    assert {name: found[name] for name in found if not name.startswith(".")} == {
        name: expected[name] for name in expected if not name.startswith(".")
    }


def test_of_a_recording_that_breaks_off_what_was_made_stays(camera: Path, tmp_path: Path) -> None:
    pages = counts_from_celsius(torch.from_numpy(celsius(30)), "centikelvin").numpy()
    first, *rest = [Image.fromarray(page) for page in pages]
    file = camera / "anna" / "T4.tif"
    first.save(file, save_all=True, append_images=rest, compression="tiff_adobe_deflate")
    whole = convert(camera, out=tmp_path / "whole")
    content = file.read_bytes()
    with Image.open(file) as stack:
        stack.seek(25)
        at = stack.tag_v2[273][0]  # type: ignore[attr-defined]  # where the pixels of page 26 are
    file.write_bytes(content[: at + 8] + bytes(8) + content[at + 16 :])
    out = tmp_path / "out"
    made = convert(camera, out=out)
    assert made == (whole.images - 30, whole.recordings - 1)
    assert len(list((out / "anna" / "T4").glob("*.png"))) == 25
    assert not (out / "anna" / "T4" / "times.csv").exists()
    told = (out / "rejected.csv").read_text()
    assert 'T4.tif,"after 25 images, which are kept: page 26 cannot be read as an image' in told
    file.write_bytes(content)
    assert convert(camera, out=out) == whole
    assert files(out / "anna") == files(tmp_path / "whole" / "anna")
    assert not (out / "rejected.csv").exists()


def test_nothing_is_written_when_too_many_sources_cannot_be_read(
    camera: Path, tmp_path: Path
) -> None:
    (camera / "anna" / "T3.npz").write_text("hello")
    (camera / "T4.tif").write_text("hello")
    with pytest.raises(
        DataError,
        match=r"^2 of 6 sources cannot be read: .*T3\.npz: cannot be .* allows \(1\)",
    ):
        convert(camera, out=tmp_path / "out", limit=Limit(0, 1))
    with pytest.raises(DataError, match=r"^1 of 1 sources cannot be read: .*T3\.npz: cannot be"):
        convert(camera / "anna" / "T3.npz", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_8_bits_take_the_stated_window(camera: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    still = camera / "stills" / "carla.tif"
    convert(still, out=out, kind="png8", read=ReadOptions(window=Window(20, 40)))
    grey = read_image(out / "carla.png")
    assert grey.dtype == torch.uint8
    assert abs(grey[0].numpy() - (celsius(1)[0] - 20) / 20 * 255).max() <= 0.5001
    back = tmp_path / "back"
    convert(out / "carla.png", out=back, read=ReadOptions(window=Window(20, 40)))
    counts = read_image(back / "carla.png")[0].numpy()
    assert abs(counts / 100 - 273.15 - celsius(1)[0]).max() <= 20 / 255 / 2 + 0.0051


def test_the_command_tells_what_it_understood(camera: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["convert", str(camera), "--out", str(out), "--rotate", "90"]
    told = CliRunner().invoke(main, [*words, "--dry-run"])
    assert told.exit_code == 0
    assert f"{camera / 'anna' / 'T1.npz'}: 20 x 16, celsius, 40 frames, " in told.stdout
    assert "  celsius, guessed from the median pixel " in told.stdout
    assert not out.exists()
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0
    assert done.stdout.startswith(told.stdout)
    assert done.stdout.splitlines()[-1] == f"47 images, 3 recordings among the sources, in {out}"
    again = CliRunner().invoke(main, words)
    assert "T1.npz and 3 like it: converted before, kept" in again.stdout


def test_a_dry_run_tells_of_every_source_that_cannot_be_read(camera: Path, tmp_path: Path) -> None:
    (camera / "anna" / "T3.npz").write_text("hello")
    words = ["convert", str(camera), "--out", str(tmp_path / "out"), "--dry-run"]
    told = CliRunner().invoke(main, [*words, "--max-rejected", "0"])
    assert told.exit_code == 1
    assert "T1.npz: 16 x 20, celsius" in told.stdout
    assert "T3.npz: cannot be read as NPZ" in told.stdout
    assert told.stderr.startswith("Error: 1 of 5 sources cannot be read")


@pytest.mark.parametrize(("bits", "kind"), [(8, "png16"), (16, "png8")])
def test_a_kind_that_cannot_hold_a_source_is_refused_before_anything_is_written(
    tmp_path: Path, bits: int, kind: Any
) -> None:
    counts = torch.full((1, 16, 16), 30515 if bits == 16 else 90)
    write_image(tmp_path / "a.png", counts.to(torch.uint16 if bits == 16 else torch.uint8))
    options = ConvertOptions(sources=(tmp_path / "a.png",), out=tmp_path / "out", kind=kind)
    plan = plan_conversion(options, progress=Progress(shown=False))
    with pytest.raises(DataError, match=rf"a\.png: {kind} (cannot hold 8-bit grey|needs --window)"):
        plan.check()
    assert not (tmp_path / "out").exists()
