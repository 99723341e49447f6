"""Shards are translated as an index of the same images is, and the labels stay."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import webdataset
from click.testing import CliRunner

from cycada import image_reading, image_writing
from cycada.cli import main
from cycada.data.index import read_index
from cycada.data.index_info import read_info
from cycada.data.shards import Sample, shards_named
from cycada.errors import DataError, RunError
from cycada.progress import Progress
from cycada.rejecting import Limit
from cycada.stages import translate_shards
from cycada.stages.translate import run_translation
from cycada.stages.translate_shards import MadeShards, run_shard_translation

SUFFIXES = (".png", ".jpg", ".tiff", ".png", ".JPEG")


def members(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as archive:
        return {each.name: archive.extractfile(each).read() for each in archive}  # type: ignore[union-attr]


def labels(number: int) -> dict[str, bytes]:
    """Return members that no decoder should see: what is not valid stays as it is, too."""
    return {
        "json": json.dumps({"AU01": number % 2, "AU12": number}).encode() + b" \n",
        "cls": str(number).encode(), "mask.png": b"\x89PNG no image", "txt": b"\xff\xfe",
    }  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 44 pictures of several formats and two sizes."""
    root = tmp_path_factory.mktemp("pictures")
    draw = torch.Generator().manual_seed(0)
    for number in range(44):
        picture = torch.randint(0, 256, (3, 16, 16 + 4 * (number % 2)), generator=draw)
        name = f"{number:02d}{SUFFIXES[number % len(SUFFIXES)]}"
        image_writing.write_image(root / name, picture.to(torch.uint8))
    return root


@pytest.fixture(scope="module")
def shards(
    pack: Callable[..., Path], pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return four shards with 38, 3, 2 and 1 of the pictures and labels."""
    root = tmp_path_factory.mktemp("shards")
    held: dict[int, dict[str, bytes]] = {0: {}, 1: {}, 2: {}, 3: {}}
    for number, file in enumerate(sorted(pictures.iterdir())):
        shard = held[(number > 37) + (number > 40) + (number > 42)]
        shard[f"s/{file.name}"] = file.read_bytes()
        shard |= {f"s/{file.stem}.{name}": content for name, content in labels(number).items()}
    for number, content in held.items():
        pack(root / f"rgb-{number:03d}.tar", content)
    return root


def translate(run: Path, source: Path, out: Path, **options: Any) -> MadeShards:
    named = shards_named(source)
    assert named
    return run_shard_translation(
        run, named, out, **{"depth": "auto", "progress": Progress(shown=False), **options}
    )


@pytest.fixture(scope="module")
def made(translator_run: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what one undisturbed process makes; do not change it."""
    out = tmp_path_factory.mktemp("made") / "out"
    assert translate(translator_run, shards, out) == MadeShards(4, 44)
    return out


def content(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def test_the_image_is_that_of_an_index_and_all_else_stays(
    made: Path, shards: Path, pictures: Path, translator_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    index = run_translation(translator_run, pictures, tmp_path, depth="auto", progress=quiet)
    before, after = members(shards / "rgb-000.tar"), members(made / "rgb-000.tar")
    for number, face in enumerate(index.faces[:38]):
        key = f"s/{number:02d}"
        assert face.path in (f"{number:02d}.png", f"{number:02d}.tiff")
        image = after.pop(f"s/{face.path}")
        if number < 32:  # those of a window share passes; other passes differ in the last bits
            assert image == (tmp_path / face.path).read_bytes(), key
        for name, same in labels(number).items():
            assert after.pop(f"{key}.{name}") == before[f"{key}.{name}"] == same
    assert not after
    assert not set(members(made / "rgb-001.tar")) & set(members(made / "rgb-000.tar"))
    info = read_info(made / "shards.toml")
    assert info == index.info


def test_translations_in_later_windows_and_shards_are_those_of_an_index_too(
    made: Path, pictures: Path, translator_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    index = run_translation(translator_run, pictures, tmp_path, depth="auto", progress=quiet)
    found = {k: v for n in range(4) for k, v in members(made / f"rgb-{n:03d}.tar").items()}
    for face in index.faces:
        one = image_reading.decode_image(found[f"s/{face.path}"], face.path)
        two = image_reading.read_image(tmp_path / face.path)
        assert one.dtype == two.dtype == torch.uint16
        assert (one.int() - two.int()).abs().max() <= 1  # hundredths of a kelvin


def test_the_library_reads_what_was_made(made: Path) -> None:
    pattern = str(made / "rgb-{000..003}.tar")
    found = list(webdataset.WebDataset(pattern, shardshuffle=False))
    assert [each["__key__"] for each in found] == [f"s/{number:02d}" for number in range(44)]
    assert all({*labels(0)} < set(each) for each in found)
    with (made / "shards.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    counts = (38, 3, 2, 1)
    assert rows == [
        ["path", "samples", "set_aside"],
        *([f"rgb-{n:03d}.tar", str(count), "0"] for n, count in enumerate(counts)),
    ]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip


SHARED = """
import json, os, sys
from pathlib import Path
from cycada import image_reading, image_writing
from cycada.cli import main
usual, written = image_writing.encode_image, []
image_writing.encode_image = lambda image, name: (written.append(name), usual(image, name))[1]
words, notes = json.loads(sys.argv[1])
main(words, standalone_mode=False)
Path(notes, os.environ["RANK"]).write_text(json.dumps(written))
"""


def test_two_processes_share_the_shards_and_make_the_same_bytes(
    made: Path, shards: Path, translator_run: Path, tmp_path: Path
) -> None:
    out, script = tmp_path / "out", tmp_path / "shared.py"
    script.write_text(SHARED)
    words = ["translate", str(translator_run), str(shards / "rgb-{000..003}.tar"), "--out"]
    found = run(
        "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script),
        json.dumps([[*words, str(out)], str(tmp_path)]),
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-4000:]
    assert found.stdout.splitlines() == [f"44 samples in 4 shards translated into {out}"]
    again = content(out)
    assert again == {**content(made), ".translator": again[".translator"]}
    done = [json.loads((tmp_path / rank).read_text()) for rank in "01"]
    assert [len(names) for names in done] == [38 + 2, 3 + 1]


KILLED = """
import json, os, signal, sys
from pathlib import Path
from cycada import image_reading, image_writing
from cycada.data.shards import shards_named
from cycada.progress import Progress
from cycada.stages.translate_shards import run_shard_translation
run, source, out = map(Path, json.loads(sys.argv[1]))
usual, count = image_writing.encode_image, 0
def encode(image, name):
    global count
    count += 1
    if count == 41:  # in the second shard, when the first is there
        os.kill(os.getpid(), signal.SIGKILL)
    return usual(image, name)
image_writing.encode_image = encode
run_shard_translation(run, shards_named(source), out, depth="auto", progress=Progress(shown=False))
"""


def test_what_was_killed_goes_on_at_its_shard_and_ends_with_the_same_bytes(
    made: Path, shards: Path, translator_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    paths = json.dumps([str(translator_run), str(shards), str(out)])
    assert run("-c", KILLED, paths).returncode == -signal.SIGKILL
    assert [file.name for file in sorted(out.glob("[!.]*"))] == ["rgb-000.tar"]
    assert len(list(out.glob(".*.part-*"))) == 1
    before = (out / "rgb-000.tar").stat().st_mtime_ns
    assert translate(translator_run, shards, out) == MadeShards(4, 44)
    assert (out / "rgb-000.tar").stat().st_mtime_ns == before
    again = content(out)
    assert again == {**content(made), ".translator": again[".translator"]}


def test_only_the_samples_of_some_windows_are_in_memory(
    translator_run: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, most = 0, 0
    usual_read, usual_finish = translate_shards.read_samples, translate_shards.SampleJob.finished

    def read(*words: Any, **named: Any) -> Iterator[Sample]:
        nonlocal held, most
        for sample in usual_read(*words, **named):
            held += 1
            most = max(most, held)
            yield sample

    def finish(job: translate_shards.SampleJob) -> Sample | None:
        nonlocal held
        held -= 1
        return usual_finish(job)

    monkeypatch.setattr(translate_shards, "WINDOW", 2)
    monkeypatch.setattr(translate_shards, "read_samples", read)
    monkeypatch.setattr(translate_shards.SampleJob, "finished", finish)
    translate(translator_run, shards, tmp_path / "out")
    assert held == 0
    assert most <= 14  # of 38: seven windows, measured, read and written ahead


@pytest.fixture
def own(shards: Path, tmp_path: Path) -> Path:
    """Return a copy of the shards that the test may spoil."""
    return shutil.copytree(shards, tmp_path / "own")


def test_a_broken_shard_ends_the_verb_once_the_others_are_done(
    made: Path, own: Path, translator_run: Path, tmp_path: Path
) -> None:
    out, file = tmp_path / "out", own / "rgb-000.tar"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) * 9 // 10])
    with pytest.raises(DataError) as caught:
        translate(translator_run, own, out)
    told = str(caught.value)
    assert told.startswith("1 of 4 shards cannot be used; the others are done. The first is")
    assert f"{file}: cannot be read as a tar file in the member 's/" in told
    names = sorted(file.name for file in out.iterdir() if not file.name.startswith("."))
    assert names == ["rejected.csv", "rgb-001.tar", "rgb-002.tar", "rgb-003.tar"]
    with (out / "rejected.csv").open(newline="") as stream:
        [[name, reason]] = [*csv.reader(stream)][1:]
    assert (name, f"{file}: {reason}." in told) == ("rgb-000.tar", True)
    file.write_bytes(whole)
    assert translate(translator_run, own, out) == MadeShards(4, 44)
    tars = [f"rgb-{number:03d}.tar" for number in range(4)]
    assert [(out / name).read_bytes() for name in tars] == [
        (made / name).read_bytes() for name in tars
    ]
    assert not (out / "rejected.csv").exists()


def test_samples_without_one_readable_image_are_set_aside_until_the_shard_is_mended(
    pack: Callable[..., Path], own: Path, translator_run: Path, tmp_path: Path
) -> None:
    out, file = tmp_path / "out", own / "rgb-001.tar"
    whole = members(file)
    first = next(name for name in whole if name.startswith("s/38."))
    pack(file, {
        "none.json": b"{}", "two.png": whole[first], "two.jpg": whole[first],
        "torn.jpg": b"no image", **whole,
    })  # fmt: skip
    expected = [
        ("rgb-001.tar/none", "has no image (png, jpg, jpeg, tif, tiff) but json"),
        ("rgb-001.tar/two", "has 2 images (png, jpg), not one"),
        ("rgb-001.tar/torn.jpg",
         "is no PNG, JPEG or TIFF that can be read: it is broken, or of another kind"),
    ]  # fmt: skip

    def listed() -> list[tuple[str, ...]]:
        with (out / "rejected.csv").open(newline="") as stream:
            return [tuple(row) for row in csv.reader(stream)][1:]

    with pytest.raises(DataError, match="more than --max-rejected allows"):
        translate(translator_run, own, out, limit=Limit(0.0, 2))
    assert not (out / "shards.csv").exists()
    assert translate(translator_run, own, out) == MadeShards(4, 44)
    assert listed() == expected
    assert [name.partition(".")[0] for name in members(out / "rgb-001.tar")][::5] == [
        "s/38", "s/39", "s/40",
    ]  # fmt: skip
    before = content(out)
    assert translate(translator_run, own, out) == MadeShards(4, 44)  # nothing is left to do
    assert content(out) == before
    with pytest.raises(DataError, match="3 of 47 samples cannot be used"):
        translate(translator_run, own, out, limit=Limit(0.0, 2))
    pack(file, {"two.png": whole[first], **whole})
    assert translate(translator_run, own, out) == MadeShards(4, 45)
    assert not (out / "rejected.csv").exists()


def test_a_percentage_of_bad_samples_is_of_all_and_not_of_the_first(
    pack: Callable[..., Path], translator_run: Path, pictures: Path, tmp_path: Path
) -> None:
    good = (pictures / "00.png").read_bytes()
    samples = {f"{number:02d}.png": good for number in range(2, 40)}
    pack(tmp_path / "in/a.tar", {"00.txt": b"", "01.txt": b"", **samples})
    made = translate(translator_run, tmp_path / "in", tmp_path / "out", limit=Limit(0.05, 0))
    assert made == MadeShards(1, 38)
    with pytest.raises(DataError, match=r"2 of 40 samples cannot be used, .* allows \(1\)"):
        translate(translator_run, tmp_path / "in", tmp_path / "out", limit=Limit(0.04, 0))


def test_a_shard_that_is_named_by_two_paths_is_refused(
    translator_run: Path, shards: Path, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    shutil.copy(shards / "rgb-003.tar", tmp_path / "a/x.tar")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(DataError, match=r"a/x\.tar: is named twice"):
        translate(translator_run, tmp_path / "{a,b}/x.tar", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_shards_or_of_an_index_is_refused(
    own: Path, pictures: Path, translator_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    translate(translator_run, own / "rgb-{002..003}.tar", out)
    with pytest.raises(RunError, match=r"holds the shard rgb-003\.tar, which is not among"):
        translate(translator_run, own / "rgb-002.tar", out)
    with pytest.raises(RunError, match="made by other pixels"):
        translate(translator_run, own, out, depth="8")
    assert translate(translator_run, own / "rgb-{001..003}.tar", out) == MadeShards(3, 6)
    shutil.copy(pictures / "00.png", own)
    with pytest.raises(RunError, match=r"in shards, now .*\); choose another --out"):
        run_translation(translator_run, own, out, depth="auto", progress=quiet)
    with pytest.raises(RunError, match="is not empty"):
        translate(translator_run, own / "rgb-002.tar", own)


@pytest.mark.parametrize(("source", "code"), [("no", 2), ("{0..3}.tar", 1), ("no.tar", 1)])
def test_a_source_that_is_not_there_is_one_sentence(
    source: str, code: int, translator_run: Path, tmp_path: Path
) -> None:
    words = ["translate", str(translator_run), str(tmp_path / source), "--out", str(tmp_path / "x")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == code
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_the_documented_way_from_an_index_to_shards_and_back_keeps_the_labels(
    faces: Path, translator_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "shards.md").read_text(encoding="utf-8")
    there, back = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(faces, "data/rgb")
    exec(there, {})  # noqa: S102 - it is ours
    assert translate(translator_run, Path("shards"), Path("translated-shards")).samples == 20
    exec(back, {})  # noqa: S102
    before, after = read_index(faces).select(domain="rgb"), read_index(Path("data/translated"))
    assert after.info.kind == before.info.kind == "occurrence"
    assert (after.info.unit, after.info.translator) == ("centikelvin", str(translator_run))
    assert [replace(face, path="", domain="rgb") for face in after.faces] == [
        replace(face, path="") for face in before.faces
    ]
    assert image_reading.read_image(after.file(after.faces[0])).dtype == torch.uint16
