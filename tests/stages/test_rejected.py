"""Bulk verbs set aside what they cannot read, go on with the rest, and stop when it is too much."""

from __future__ import annotations

import csv
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cycada import image_reading, image_writing
from cycada.data.index import read_index, write_index
from cycada.errors import DataError, RunError, UsageError
from cycada.progress import Progress
from cycada.rejecting import (
    REJECTED_NAME,
    Limit,
    Rejections,
    parse_limit,
    read_rejected,
)
from cycada.settings import flatten
from cycada.stages import train_detector, train_translator
from cycada.stages.detect import DetectOptions, detect
from cycada.stages.index import make_index
from cycada.stages.index_options import IndexOptions
from cycada.stages.translate import run_translation
from cycada.training.checkpoint import newest_checkpoint


def listed(out: Path) -> list[tuple[str, str]]:
    with (out / REJECTED_NAME).open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["path", "reason"]
    return [(path, reason) for path, reason in rows[1:]]


def pixels(root: Path) -> dict[str, bytes]:
    """Return what is in a folder, without the digest of where an index lies."""
    return {
        file.relative_to(root).as_posix(): re.sub(rb"outside_of = .*", b"", file.read_bytes())
        for file in sorted(root.rglob("*"))
        if file.suffix in (".png", ".csv", ".toml")
    }


@pytest.mark.parametrize(
    ("text", "total", "allowed"),
    [("0", 1000, 0), ("25", 1000, 25), ("1%", 1000, 10), ("0.5%", 1000, 5), ("100%", 7, 7),
     ("29%", 100, 29)],
)  # fmt: skip
def test_a_limit_is_a_number_or_a_percentage(text: str, total: int, allowed: int) -> None:
    assert parse_limit(text).of(total) == allowed


@pytest.mark.parametrize("text", ["", "-1", "1.5", "101%", "many", "%", "nan%"])
def test_another_limit_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="give a number of files such as 25, or a percentage"):
        parse_limit(text)


def test_by_default_a_hundredth_may_be_set_aside_but_at_least_ten() -> None:
    assert [Limit().of(total) for total in (1, 1000, 1100, 100_000)] == [10, 10, 11, 1000]


def test_a_list_is_complete_at_every_moment_and_in_order_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rejected = Rejections(tmp_path, limit=Limit(), total=40)
    names = ['b, "quoted".png', "line\nbreak.png", os.fsdecode(b"caf\xe9.png")]
    for number in (2, 0, 1):
        rejected.add((number,), names[number], f"reason {number}")
        rejected.add((number,), names[number], "told twice")
        assert len(read_rejected(tmp_path / REJECTED_NAME)) == len(rejected)
    with (tmp_path / REJECTED_NAME).open("a") as stream:
        stream.write("torn off")
    assert len(read_rejected(tmp_path / REJECTED_NAME)) == 3
    with caplog.at_level(logging.WARNING):
        rejected.close()
    assert f"3 of 40 images were set aside ({tmp_path / REJECTED_NAME})." in caplog.text
    assert listed(tmp_path) == [
        (names[0], "reason 0"), (names[1], "reason 1"), ("caf\\udce9.png", "reason 2")
    ]  # fmt: skip


def spoil(faces: Path) -> dict[Path, bytes]:
    """Break three RGB faces in three ways, and return how they were."""
    broken = [faces / "rgb" / name for name in ("0/1.png", "2/0.png", "4/3.png")]
    whole = {file: file.read_bytes() for file in broken}
    broken[0].write_bytes(b"no image")
    broken[1].write_bytes(whole[broken[1]][:-60])  # its head is whole
    broken[2].unlink()
    return whole


def test_a_translation_is_of_all_that_can_be_read_and_a_repaired_one_is_that_of_all(
    translator_run: Path, own_faces: Path, quiet: Progress, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    whole = run_translation(
        translator_run, own_faces, tmp_path / "whole", depth="auto", progress=quiet
    )
    before = spoil(own_faces)
    out = tmp_path / "out"
    made = run_translation(translator_run, own_faces, out, depth="auto", progress=quiet)
    assert "3 of 20 images were set aside" in caplog.text
    broken = ["rgb/0/1.png", "rgb/2/0.png", "rgb/4/3.png"]
    assert [path for path, _ in listed(out)] == broken
    assert [reason.partition(" (")[0] for _, reason in listed(out)] == [
        "cannot be read as an image", "cannot be read as an image", "there is no such image file"
    ]  # fmt: skip
    assert [f.path for f in made.faces] == [f.path for f in whole.faces if f.path not in broken]
    assert read_index(out) == made
    assert not any((out / path).exists() for path in broken)
    for face in made.faces:
        assert torch.allclose(
            image_reading.read_image(made.file(face)).float(),
            image_reading.read_image(whole.file(face)).float(), rtol=0, atol=1,
        )  # fmt: skip
    for file, content in before.items():
        file.write_bytes(content)
    again = run_translation(translator_run, own_faces, out, depth="auto", progress=quiet)
    assert again.faces == whole.faces
    assert not (out / REJECTED_NAME).exists()


def test_a_translation_that_sets_too_many_aside_stops_and_goes_on_after_repair(
    translator_run: Path, own_faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    before = spoil(own_faces)
    out = tmp_path / "out"
    with pytest.raises(
        DataError, match=r"3 of 20 images cannot be used, more than --max-rejected allows \(2\)"
    ):
        run_translation(
            translator_run, own_faces, out, depth="auto", limit=Limit(0, 2), progress=quiet
        )
    assert len(listed(out)) == 3
    assert not (out / "index.csv").exists()
    for file, content in before.items():
        file.write_bytes(content)
    made = run_translation(
        translator_run, own_faces, out, depth="auto", limit=Limit(0, 2), progress=quiet
    )
    assert len(made.faces) == 20


def test_where_no_image_can_be_read_there_is_no_empty_index(
    translator_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"none of 1 images can be used; the first is a\.png: "):
        run_translation(
            translator_run, tmp_path / "in", tmp_path / "out", depth="auto", progress=quiet
        )
    assert not (tmp_path / "out" / "index.csv").exists()


def test_a_name_that_no_index_can_hold_is_set_aside_before_it_is_translated(
    translator_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    picture = torch.randint(0, 256, (3, 16, 16)).to(torch.uint8)
    names = ["good.png", "back\\slash.png", os.fsdecode(b"caf\xe9.png"), "new\nline.png"]
    for name in names:
        image_writing.write_image(folder / name, picture)
    out = tmp_path / "out"
    made = run_translation(translator_run, folder, out, depth="auto", progress=quiet)
    assert [face.path for face in made.faces] == ["good.png"]
    assert [file.name for file in out.rglob("*.png")] == ["good.png"]
    assert sorted(path for path, _ in listed(out)) == [
        "back\\slash.png", "caf\\udce9.png", "new\nline.png"
    ]  # fmt: skip
    for number, name in enumerate(names):
        (folder / name).rename(folder / f"s{number}-{name}")
    index = make_index(
        IndexOptions(rgb=folder, out=tmp_path / "index", subject=r"(s\d)", fractions=(1, 0, 0)),
        progress=quiet,
    )
    assert [face.subject for face in index.faces.faces] == ["s0"]
    assert len(listed(tmp_path / "index")) == 3


TWO = """
import json, sys
from pathlib import Path
from cycada.cli import main
main(json.loads(sys.argv[1]))
"""


def two_processes(
    words: list[str], folder: Path, *, script: str = TWO
) -> subprocess.CompletedProcess[str]:
    program = folder / "two.py"
    program.write_text(script)
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
         str(program), json.dumps(words)],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
             "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Return a folder of which each of two processes gets broken images: 3 and 60 of 75."""
    draw = torch.Generator().manual_seed(0)
    for number in range(75):
        picture = torch.randint(0, 256, (3, 16, 16), generator=draw)
        image_writing.write_image(tmp_path / "in" / f"{number:02d}.png", picture.to(torch.uint8))
    for number in (60, 3):
        (tmp_path / "in" / f"{number:02d}.png").write_bytes(b"no image")
    return tmp_path / "in"


def test_two_processes_make_one_list_of_what_both_set_aside(
    translator_run: Path, many: Path, quiet: Progress, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    run_translation(translator_run, many, alone, depth="auto", progress=quiet)
    out = tmp_path / "out"
    found = two_processes(
        ["translate", str(translator_run), str(many), "--out", str(out)], tmp_path
    )
    assert found.returncode == 0, found.stderr[-4000:]
    assert "73 faces translated" in found.stdout
    assert found.stderr.count("2 of 75 images were set aside") == 1
    assert [path for path, _ in listed(out)] == ["03.png", "60.png"]
    assert pixels(out) == pixels(alone)


def test_two_processes_end_together_when_both_together_set_too_many_aside(
    translator_run: Path, many: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = two_processes(
        ["translate", str(translator_run), str(many), "--out", str(out), "--max-rejected", "1"],
        tmp_path,
    )
    assert found.returncode != 0
    told = "Error: 2 of 75 images cannot be used, more than --max-rejected allows (1)"
    assert told in found.stderr
    assert "cycada/" not in found.stderr  # no traceback of ours
    assert [path for path, _ in listed(out)] == ["03.png", "60.png"]
    assert not (out / "index.csv").exists()


def test_two_processes_end_when_one_sets_too_many_aside(
    translator_run: Path, many: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (many / "03.png").unlink()
    found = two_processes(
        ["translate", str(translator_run), str(many), "--out", str(out), "--max-rejected", "0"],
        tmp_path,
    )
    assert found.returncode != 0
    assert "1 of 74 images cannot be used, more than --max-rejected allows (0)" in found.stderr
    assert [path for path, _ in listed(out)] == ["60.png"]
    assert not (out / "index.csv").exists()


def a_frame(draw: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(draw.integers(29000, 31000, (1, 60, 80)).astype(np.uint16))


@pytest.fixture
def stills(tmp_path: Path) -> Path:
    """Return a folder of 6 single images, and of 5 frames in a folder."""
    draw = np.random.default_rng(0)
    folder = tmp_path / "stills"
    names = [f"s{number}/{'abcdef'[number]}.png" for number in range(6)]
    names += [f"s7/frame_{number}.png" for number in range(5)]
    for name in names:
        image_writing.write_image(folder / name, a_frame(draw))
    with (tmp_path / "boxes.csv").open("w", newline="") as stream:
        rows = [[f"stills/{name}", 20, 5, 40, 50] for name in names]
        csv.writer(stream).writerows([["path", "left", "top", "width", "height"], *rows])
    return folder


def cropped(stills: Path, out: Path, **changes: object) -> IndexOptions:
    facts: dict[str, object] = {
        "thermal": stills, "out": out, "crop": str(stills.parent / "boxes.csv"),
        "fractions": (1.0, 0.0, 0.0), **changes,
    }  # fmt: skip
    return IndexOptions(**facts)  # type: ignore[arg-type]


def break_stills(stills: Path) -> dict[Path, bytes]:
    names = ("s0/a.png", "s4/e.png", "s7/frame_2.png")
    whole = {stills / name: (stills / name).read_bytes() for name in names}
    for file, content in whole.items():
        file.write_bytes(content[:100])
    return whole


def test_faces_are_cut_out_of_what_can_be_read(
    stills: Path, quiet: Progress, tmp_path: Path
) -> None:
    whole = make_index(cropped(stills, tmp_path / "whole"), progress=quiet).faces
    break_stills(stills)
    out = tmp_path / "out"
    made = make_index(cropped(stills, out), progress=quiet).faces
    assert [Path(path).relative_to(stills).as_posix() for path, _ in listed(out)] == [
        "s7/frame_2.png", "s0/a.png", "s4/e.png"
    ]  # fmt: skip
    left = {f"images/thermal/{name}.png" for name in ("s0/a", "s4/e", "s7/frame_2")}
    assert {face.path for face in made.faces} == {face.path for face in whole.faces} - left
    for face in made.faces:
        assert made.file(face).read_bytes() == (tmp_path / "whole" / face.path).read_bytes()


def test_an_index_that_stopped_for_too_many_goes_on_after_repair(
    stills: Path, quiet: Progress, tmp_path: Path
) -> None:
    make_index(cropped(stills, tmp_path / "whole"), progress=quiet)
    before = break_stills(stills)
    out = tmp_path / "out"
    few = Limit(0, 2)
    with pytest.raises(DataError, match=r"3 of \d+ files cannot be used, more than --max-rejected"):
        make_index(cropped(stills, out, limit=few), progress=quiet)
    assert len(listed(out)) == 3
    kept = {file: file.stat().st_mtime_ns for file in (out / "images/thermal/s7").rglob("*.png")}
    assert len(kept) == 4
    for file, content in before.items():
        if file.name != "e.png":
            file.write_bytes(content)
    one = make_index(cropped(stills, out, limit=few), progress=quiet)
    assert [Path(path).name for path, _ in listed(out)] == ["e.png"]
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert len(one.faces.faces) == 6 + 5 - 1
    (stills / "s4" / "e.png").write_bytes(before[stills / "s4" / "e.png"])
    make_index(cropped(stills, out, overwrite=True), progress=quiet)
    assert pixels(out) == pixels(tmp_path / "whole")
    assert not (out / REJECTED_NAME).exists()


def test_of_a_recording_that_breaks_off_the_frames_before_are_used(
    quiet: Progress, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    folder = tmp_path / "clips" / "ann"
    folder.mkdir(parents=True)
    first, *rest = [Image.fromarray(a_frame(draw)[0].numpy()) for _ in range(30)]
    file = folder / "clip.tif"
    first.save(file, save_all=True, append_images=rest, compression="tiff_adobe_deflate")
    with (tmp_path / "boxes.csv").open("w", newline="") as stream:
        rows = [["clips/ann/clip.tif", number, 20, 5, 40, 50] for number in range(30)]
        csv.writer(stream).writerows([["path", "frame", "left", "top", "width", "height"], *rows])
    with Image.open(file) as stack:
        stack.seek(25)
        at = stack.tag_v2[273][0]  # type: ignore[attr-defined]  # where the pixels of page 26 are
    content = file.read_bytes()
    file.write_bytes(content[: at + 8] + bytes(8) + content[at + 16 :])
    out = tmp_path / "out"
    made = make_index(cropped(tmp_path / "clips", out), progress=quiet).faces
    assert [face.frame for face in made.faces] == list(range(25))
    ((path, reason),) = listed(out)
    assert path == str(file)
    assert reason.startswith("after 25 frames, which are used: page 26 cannot be read as an image")


def weights(run: Path) -> dict[str, bytes]:
    found = newest_checkpoint(run)
    assert found is not None
    return {file.name: file.read_bytes() for file in sorted(found.folder.glob("*.safetensors"))}


def spoil_training_faces(faces: Path) -> tuple[Path, dict[Path, bytes]]:
    """Break an RGB and a thermal face, remove another; return an index without them."""
    broken = [faces / name for name in ("rgb/0/1.png", "rgb/3/2.png", "thermal/2/0.png")]
    whole = {file: file.read_bytes() for file in broken}
    index = read_index(faces)
    left = tuple(face for face in index.faces if index.file(face) not in broken)
    (faces / "sound").mkdir()
    write_index(replace(index, root=faces / "sound", faces=tuple(
        replace(face, path=f"../{face.path}") for face in left
    )))  # fmt: skip
    broken[0].write_bytes(whole[broken[0]][:-60])
    broken[1].unlink()
    broken[2].write_bytes(b"")
    return faces / "sound", whole


@pytest.mark.parametrize("kind", ["translator", "detector"])
@pytest.mark.parametrize("cache_mb", [1000, 0])
def test_a_training_is_that_of_the_images_that_can_be_read(
    kind: str, cache_mb: int, own_faces: Path, quiet: Progress, tmp_path: Path,
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    make = request.getfixturevalue(f"tiny_{kind}")
    train = {"translator": train_translator, "detector": train_detector}[kind].run_training
    given = "data" if kind == "translator" else "source"
    sound, _ = spoil_training_faces(own_faces)
    settings = {"cache_mb": cache_mb, "steps": 2}
    train(make(**{given: (str(sound),)}, **settings), tmp_path / "sound", progress=quiet)
    assert not (tmp_path / "sound" / REJECTED_NAME).exists()
    out = tmp_path / "run"
    train(make(**{given: (str(own_faces),)}, **settings), out, progress=quiet)
    names = ["rgb/0/1.png", "rgb/3/2.png"] + ["thermal/2/0.png"] * (kind == "translator")
    assert [path for path, _ in listed(out)] == [str(own_faces / name) for name in names]
    assert f"{len(names)} of " in caplog.text
    assert [reason.partition(" (")[0] for _, reason in listed(out)][:2] == [
        "cannot be read as an image", "there is no such image file"
    ]  # fmt: skip
    assert weights(out) == weights(tmp_path / "sound")


def test_a_training_that_goes_on_leaves_out_what_it_has_left_out_from_the_beginning(
    own_faces: Path, tiny_translator: Callable[..., Any], quiet: Progress, tmp_path: Path
) -> None:
    _, whole = spoil_training_faces(own_faces)
    data = (str(own_faces),)
    train = train_translator.run_training
    train(tiny_translator(data=data, steps=4), tmp_path / "whole", progress=quiet)
    out = tmp_path / "run"
    train(tiny_translator(data=data, steps=2), out, progress=quiet)
    before = listed(out)
    for file, content in whole.items():
        file.write_bytes(content)
    train(tiny_translator(data=data, steps=4), out, progress=quiet)
    assert listed(out) == before
    assert weights(out) == weights(tmp_path / "whole")
    sound = (own_faces / "rgb" / "1" / "3.png").read_bytes()
    (own_faces / "rgb" / "1" / "3.png").write_bytes(b"broken since")
    with pytest.raises(DataError, match=r"cannot be read \(.*rgb/1/3\.png"):
        train(tiny_translator(data=data, steps=6), out, progress=quiet)
    (own_faces / "rgb" / "1" / "3.png").write_bytes(sound)
    (out / REJECTED_NAME).unlink()
    with pytest.raises(RunError, match=r"rejected\.csv has changed since this run learned from it"):
        train(tiny_translator(data=data, steps=6), out, progress=quiet)


def test_a_training_of_too_many_broken_images_does_not_begin(
    own_faces: Path, tiny_translator: Callable[..., Any], quiet: Progress, tmp_path: Path
) -> None:
    spoil_training_faces(own_faces)
    with pytest.raises(DataError, match=r"3 of 32 images .* allows \(2\).*`cycada audit .*` shows"):
        train_translator.run_training(
            tiny_translator(data=(str(own_faces),)), tmp_path / "run", limit=Limit(0, 2),
            progress=quiet,
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


LUCKY = """
import json, os, sys
from dataclasses import replace
from pathlib import Path
from cycada.cli import main
from cycada.stages import leaving_out
usual = leaving_out.look_at_all
def lucky(indexes, *, progress):
    return [replace(one, look=replace(one.look, problem="")) for one in
            usual(indexes, progress=progress)]
if os.environ["RANK"] == "1":
    leaving_out.look_at_all = lucky
main(json.loads(sys.argv[1]))
"""


def test_what_a_training_leaves_out_is_the_word_of_the_main_process_to_all(
    own_faces: Path, tiny_translator: Callable[..., Any], tmp_path: Path
) -> None:
    spoil_training_faces(own_faces)
    config = tiny_translator(data=(str(own_faces),), steps=2)
    settings = [f"--set={name}={json.dumps(value)}" for name, value in flatten(config).items()]
    out = tmp_path / "run"
    found = two_processes(
        ["train-translator", "--out", str(out), *settings], tmp_path, script=LUCKY
    )
    assert found.returncode == 0, found.stderr[-4000:]
    assert len(listed(out)) == 3
    assert found.stderr.count("3 of 32 images were set aside") == 1


def test_recordings_that_cannot_be_read_or_break_off_have_no_table_and_are_set_aside(
    tiny_detector: Callable[..., Any], quiet: Progress, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train_detector.run_training(
        tiny_detector(steps=2, source_domain="thermal"), run, progress=quiet
    )
    folder = tmp_path / "clips"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for name in ("good", "broken"):
        np.savez(folder / f"{name}.npz", frames=draw.integers(29000, 31000, (3, 60, 80), np.uint16))
    first, *rest = [Image.fromarray(a_frame(draw)[0].numpy()) for _ in range(30)]
    first.save(folder / "off.tif", save_all=True, append_images=rest, compression="tiff_lzw")
    whole = {file: file.read_bytes() for file in folder.iterdir()}
    (folder / "broken.npz").write_bytes(whole[folder / "broken.npz"][:500])
    with Image.open(folder / "off.tif") as stack:
        stack.seek(25)
        at = stack.tag_v2[273][0]  # type: ignore[attr-defined]  # where the pixels of page 26 are
    content = whole[folder / "off.tif"]
    (folder / "off.tif").write_bytes(content[:at] + b"\xff" * 40 + content[at + 40 :])
    out = tmp_path / "out"
    options = DetectOptions(run=run, sources=(folder,), out=out, faces="whole")
    found = detect(options, progress=quiet)
    assert [each.table.name for each in found] == ["good.csv"]
    assert [path for path, _ in listed(out)] == [
        str(folder / "broken.npz"), str(folder / "off.tif")
    ]  # fmt: skip
    assert listed(out)[1][1].startswith("page 26 cannot be read as an image")
    with pytest.raises(DataError, match=r"2 of 3 sources cannot be used.* allows \(1\)"):
        detect(replace(options, limit=Limit(0, 1)), progress=quiet)
    for file, before in whole.items():
        file.write_bytes(before)
    again = detect(options, progress=quiet)
    assert [(each.table.name, each.frames) for each in again] == [
        ("broken.csv", 3), ("good.csv", 3), ("off.csv", 30)
    ]  # fmt: skip
    assert not (out / REJECTED_NAME).exists()
