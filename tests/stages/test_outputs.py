"""What is written: in its folder, never over an original, as the user's, and without metadata."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from cycada import image_writing
from cycada.config import DetectorConfig
from cycada.data.index import Face, Index, IndexInfo, read_index, write_index
from cycada.errors import CycadaError, DataError, UsageError
from cycada.progress import Progress
from cycada.stages.convert import ConvertOptions, plan_conversion, run_conversion
from cycada.stages.evaluate import evaluate
from cycada.stages.index import make_index
from cycada.stages.index_options import IndexOptions
from cycada.stages.report import report
from cycada.stages.scoring import EvaluateOptions
from cycada.stages.train_detector import run_training
from cycada.stages.translate import CLAIM_NAME, run_translation

PLACE = "48 deg 8' N"  # a text of a GPS tag, as bytes to look for
DEVICE = "Camera of Jane Doe"


def write_face_with_place(path: Path, side: int = 48) -> Path:
    """Write a JPEG with the place and the camera in its metadata."""
    exif = Image.Exif()
    exif[0x0110] = DEVICE
    exif.get_ifd(0x8825)[0x001D] = PLACE
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (torch.rand(side, side, 3, generator=torch.Generator().manual_seed(0)) * 255).byte()
    Image.fromarray(pixels.numpy()).save(path, exif=exif, comment=DEVICE.encode())
    return path


def files_in(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.is_file())


def test_where_a_face_was_taken_is_in_no_output(
    translator_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    originals = tmp_path / "faces"
    for subject in ("a", "b", "c"):
        write_face_with_place(originals / subject / "1.jpg")
    found = (originals / "a" / "1.jpg").read_bytes()
    assert PLACE.encode() in found and DEVICE.encode() in found  # noqa: PT018  # one promise
    rows = [f"{s}/1.jpg,8,8,28,28" for s in ("a", "b", "c")]
    (originals / "boxes.csv").write_text("\n".join(["path,left,top,width,height", *rows]))

    run_translation(translator_run, originals, tmp_path / "made", depth="auto", progress=quiet)
    make_index(
        IndexOptions(rgb=originals, out=tmp_path / "cut", crop=str(originals / "boxes.csv")),
        progress=quiet,
    )
    make_index(IndexOptions(rgb=originals, out=tmp_path / "index"), progress=quiet)
    report([tmp_path / "index", tmp_path / "cut"], tmp_path / "page" / "report.html")
    pictures = 0
    for out in ("made", "cut", "index", "page"):
        for file in files_in(tmp_path / out):
            content = file.read_bytes()
            assert PLACE.encode() not in content, file
            assert DEVICE.encode() not in content, file
            if file.suffix == ".png":
                pictures += 1
                with Image.open(file) as picture:
                    assert dict(picture.getexif()) == {}
                    assert not set(picture.info) & {"exif", "comment", "icc_profile", "xmp"}
    assert pictures == 6


def _index_of(root: Path, path: str) -> Index:
    face = Face(path=path, domain="rgb", subject="S", split="train")
    return Index(root, IndexInfo(kind="none"), (face,))


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "C:/faces/a.png", "c:a.png", "C:\\faces\\a.png", "\\\\host\\share\\a.png",
        "//host/share/a.png", "a\0.png", "a\n.png", "..", "../..", "a/..", ".", "a/", "a/.",
    ],
)  # fmt: skip
def test_a_path_that_is_none_from_the_index_to_a_file_is_refused(path: str, tmp_path: Path) -> None:
    index = _index_of(tmp_path, "a.png")
    for changes in ({"path": path}, {"pair": path}, {"origin": path}):
        bad = replace(index, faces=(replace(index.faces[0], **changes),))
        with pytest.raises(DataError, match=rf"row 2, column {next(iter(changes))}"):
            write_index(bad)
        write_index(replace(index, faces=(replace(index.faces[0], pair="b.png", origin="c.png"),)))
        table = (tmp_path / "index.csv").read_text()
        name = {"path": "a.png", "pair": "b.png", "origin": "c.png"}[next(iter(changes))]
        (tmp_path / "index.csv").write_bytes(table.replace(name, f'"{path}"').encode())
        with pytest.raises(DataError, match=r"index.csv"):
            read_index(tmp_path)


@pytest.mark.parametrize(
    "path",
    ["../faces/a.png", "../../x/../faces/a.png", "./../faces/./a.png", "faces/../../faces/a.png"],
)
def test_translations_of_images_anywhere_lie_in_the_folder_for_them(
    path: str, translator_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    root = tmp_path / "up" / "index"
    (root / "faces").mkdir(parents=True)
    (tmp_path / "up" / "x").mkdir()
    (tmp_path / "x").mkdir()
    for folder in (tmp_path, tmp_path / "up"):
        write_face_with_place(folder / "faces" / "a.jpg").rename(folder / "faces" / "a.png")
    write_index(_index_of(root, path))
    before = {file: file.read_bytes() for file in files_in(tmp_path)}
    out = tmp_path / "deep" / "er" / "out"
    made = run_translation(translator_run, root, out, depth="auto", progress=quiet)
    assert made.file(made.faces[0]).resolve().is_relative_to(out.resolve())
    assert {file for file in files_in(tmp_path) if not file.is_relative_to(out)} == set(before)
    assert all(file.read_bytes() == content for file, content in before.items())


def _linked(out: Path, name: str, to: Path) -> None:
    """Prepare a folder that a translation was begun in, with a link to elsewhere."""
    (out / name).symlink_to(to, target_is_directory=True)


def test_a_translation_is_never_written_through_a_link(
    faces: Path, translator_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    out, victim = tmp_path / "out", tmp_path / "victim"
    victim.mkdir()
    source = shutil.copytree(faces, tmp_path / "source")
    run_translation(translator_run, source, out, depth="auto", progress=quiet)
    for target in (victim, source / "rgb"):
        shutil.rmtree(out / "rgb", ignore_errors=True)
        _linked(out, "rgb", target)
        before = {file: file.read_bytes() for file in files_in(source)}
        with pytest.raises(DataError, match="leads out of"):
            run_translation(translator_run, source, out, depth="auto", progress=quiet)
        (out / "rgb").unlink()
        assert list(victim.iterdir()) == []
        assert {file: file.read_bytes() for file in files_in(source)} == before


def test_originals_are_never_written_over_by_an_out_that_is_a_link_to_them(
    faces: Path, translator_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    source = shutil.copytree(faces, tmp_path / "source")
    shutil.copytree(faces / "rgb", tmp_path / "plain")
    (tmp_path / "link").symlink_to(source, target_is_directory=True)
    (tmp_path / "inside").symlink_to(tmp_path / "plain", target_is_directory=True)
    before = {file: file.read_bytes() for file in files_in(tmp_path)}
    run_translation(translator_run, source, tmp_path / "claimed", depth="auto", progress=quiet)
    claim = (tmp_path / "claimed" / CLAIM_NAME).read_text().replace("../source", ".")
    for given, out in ((source, tmp_path / "link"), (tmp_path / "plain", tmp_path / "inside")):
        with pytest.raises(CycadaError):
            run_translation(translator_run, given, out, depth="auto", progress=quiet)
    (source / CLAIM_NAME).write_text(claim)  # as if a translation of it had been begun there
    with pytest.raises(DataError, match="never written over"):
        run_translation(translator_run, source, tmp_path / "link", depth="auto", progress=quiet)
    for file, content in before.items():
        assert file.read_bytes() == content, file


def test_a_conversion_is_never_written_through_a_link(quiet: Progress, tmp_path: Path) -> None:
    folder, out, victim = tmp_path / "source", tmp_path / "out", tmp_path / "victim"
    image = torch.full((1, 8, 8), 30_000, dtype=torch.int32).to(torch.uint16)
    for number in range(3):
        image_writing.write_image(folder / "sub" / f"{number}.png", image)
    victim.mkdir()
    out.mkdir()
    options = ConvertOptions(sources=(folder,), out=out)
    run_conversion(plan_conversion(options, progress=quiet), progress=quiet)
    names = [path.name for path in out.iterdir() if path.is_dir()]
    assert names
    for name in names:
        shutil.rmtree(out / name)
        _linked(out, name, victim)
    with pytest.raises(DataError, match="leads out of"):
        run_conversion(plan_conversion(options, progress=quiet), progress=quiet)
    assert list(victim.iterdir()) == []


def test_crops_are_never_written_through_a_link(quiet: Progress, tmp_path: Path) -> None:
    originals, out = tmp_path / "faces", tmp_path / "out"
    for subject in ("a", "b", "c"):
        write_face_with_place(originals / subject / "1.jpg")
    rows = [f"{s}/1.jpg,8,8,28,28" for s in ("a", "b", "c")]
    (originals / "boxes.csv").write_text("\n".join(["path,left,top,width,height", *rows]))
    (out / "images" / "rgb").mkdir(parents=True)
    _linked(out / "images" / "rgb", "a", originals / "a")
    options = IndexOptions(rgb=originals, out=out, crop=str(originals / "boxes.csv"))
    before = {file: file.read_bytes() for file in files_in(originals)}
    with pytest.raises(DataError, match="leads out of"):
        make_index(options, progress=quiet)
    assert {file: file.read_bytes() for file in files_in(originals)} == before


def test_an_index_is_never_written_over_the_labels_that_it_is_made_of(
    quiet: Progress, tmp_path: Path
) -> None:
    for subject in ("a", "b", "c"):
        write_face_with_place(tmp_path / "faces" / subject / "1.jpg")
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "link.csv").symlink_to(out / "index.csv")
    for name in ("index.csv", "rejected.csv", "landmarks.csv", "crops.csv"):
        labels = out / name
        labels.write_text("path,AU12\na/1.jpg,1\nb/1.jpg,0\nc/1.jpg,1\n")
        for given in (labels, *([tmp_path / "link.csv"] if name == "index.csv" else [])):
            options = IndexOptions(rgb=tmp_path / "faces", out=out, labels=(given,), overwrite=True)
            with pytest.raises(UsageError, match="would be written over"):
                make_index(options, progress=quiet)
        assert "AU12" in labels.read_text()


def test_files_are_the_users_as_the_umask_says(
    faces: Path, translator_run: Path, tiny_detector: Callable[..., DetectorConfig],
    quiet: Progress, tmp_path: Path,
) -> None:  # fmt: skip
    old = os.umask(0o026)
    try:
        run_training(tiny_detector(steps=1), tmp_path / "run", progress=quiet)
        run_translation(translator_run, faces, tmp_path / "made", depth="auto", progress=quiet)
        options = EvaluateOptions(
            run=tmp_path / "run", index=faces, out=tmp_path / "scores", domain="rgb", resamples=5
        )
        evaluate(options, progress=quiet)
        report([tmp_path / "run", tmp_path / "scores"], tmp_path / "page")
    finally:
        os.umask(old)
    modes = {file: file.stat().st_mode & 0o777 for file in files_in(tmp_path)}
    assert len(modes) > 20
    assert {file: oct(mode) for file, mode in modes.items() if mode != 0o640} == {}


_WITHOUT_NETWORK = """
import contextlib, io, json, socket, sys

asked = []

def refuse(*args, **kwargs):
    asked.append(repr(args))
    raise OSError("the network was asked for")

socket.socket.connect = refuse
socket.socket.connect_ex = refuse
socket.socket.sendto = refuse
socket.create_connection = refuse
socket.getaddrinfo = refuse
from cycada.cli import main

told = {}
for verb in sys.argv[1:]:
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            main(verb.split())
        except SystemExit as end:
            told[verb] = said.getvalue() if end.code else ""
print(json.dumps([asked, told]))
"""

_WORK = (
    (
        "train-detector --source FACES --out OUT/small --set steps=1 --set size=16 "
        "--set backbone=small --set width=4 --set batch_size=4 --set workers=0"
    ),
    "evaluate DETECTOR FACES --domain rgb --out OUT/scores",
    "evaluate TRANSLATOR FACES --out OUT/translator_scores",
    "report FACES DETECTOR TRANSLATOR --out OUT/page",
    "detect DETECTOR FACES --domain rgb --out OUT/tables",
    "translate TRANSLATOR FACES --out OUT/made",
    "audit FACES --out OUT/audit",
)
_LACK = (  # weights, which they do not fetch
    "train-detector --source FACES --out OUT/resnet --set steps=1 --set size=16",
    (
        "train-translator --data FACES --out OUT/lpips --set steps=1 --set size=16 "
        "--set discriminator.layers=1 --set weights.perceptual=1"
    ),
    "detect DETECTOR FACES/rgb/0 --domain rgb --faces yunet --out OUT/more_tables",
)
_ASK = ("detect DETECTOR FACES/rgb/0 --domain rgb --faces yunet --download --out OUT/more_tables",)


def _without_network(
    verbs: Sequence[str], places: Mapping[str, Path]
) -> tuple[list[str], list[str]]:
    """Run commands in a process whose network fails; return what was asked for, and the errors."""
    spelled = []
    for verb in verbs:
        for name, path in places.items():
            verb = verb.replace(name, str(path))  # noqa: PLW2901  # spelled out
        spelled.append(verb)
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_NETWORK, *spelled],
        capture_output=True, text=True, check=False,
        env={**os.environ, "TORCH_HOME": str(places["OUT"] / "cache"), "OMP_NUM_THREADS": "1",
             "PYTHONPATH": str(Path(image_writing.__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    asked, told = json.loads(done.stdout.splitlines()[-1])
    return asked, list(told.values())


def test_nothing_asks_the_network_unasked(
    faces: Path, detector_run: Path, translator_run: Path, tmp_path: Path
) -> None:
    places = {
        "FACES": faces, "DETECTOR": detector_run, "TRANSLATOR": translator_run, "OUT": tmp_path,
    }  # fmt: skip
    asked, told = _without_network((*_WORK, *_LACK), places)
    assert asked == []
    assert [text for text in told[: len(_WORK)] if text] == []
    lacking = told[len(_WORK) :]
    assert all("nothing is downloaded unasked" in text for text in lacking), lacking
    asked, told = _without_network(_ASK, places)
    assert asked  # the network is there to be asked
    assert "cannot be downloaded" in told[0]
