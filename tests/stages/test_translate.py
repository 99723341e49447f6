from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from cycada import cores, image_reading, image_writing, images, thermal
from cycada.config import TranslatorConfig
from cycada.data.index import Face, Index, IndexInfo, read_index, write_index
from cycada.errors import DataError, RunError
from cycada.image_reading import read_image
from cycada.progress import Progress
from cycada.stages import translate_images
from cycada.stages.train_translator import run_training
from cycada.stages.translate import run_translation
from cycada.thermal import Window
from cycada.training.loading import LoadedTranslator, load_translator


def times(root: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in root.rglob("*.png")}


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an index of RGB faces of many sizes and formats."""
    root = tmp_path_factory.mktemp("sizes")
    draw = torch.Generator().manual_seed(0)
    rows = []
    names = {"a.png": (47, 61), "deep/b.jpg": (16, 16), "c.tiff": (33, 20), "d.npy": (18, 40)}
    for number, (name, size) in enumerate(names.items()):
        picture = torch.randint(0, 256, (3, *size), generator=draw).to(torch.uint8)
        image_writing.write_image(root / name, picture)
        rows.append(
            Face(
                path=name, domain="rgb", subject=f"s{number}", split="test", frame=7,
                sequence="smile", label="pain", action_units={1: float(number), 12: 0.0},
            )
        )  # fmt: skip
    rows.append(Face(path="warm.png", domain="thermal", subject="s9", split="train"))
    write_index(Index(root, IndexInfo(kind="intensity", threshold=1.5, licence="CC0"), tuple(rows)))
    return root


def test_everything_but_path_and_domain_is_carried_along(
    translator_run: Path, sizes: Path, quiet: Progress, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    made = run_translation(translator_run, sizes, out, depth="auto", progress=quiet)
    assert read_index(out) == made
    source = read_index(sizes).select(domain="rgb")
    assert [face.path for face in made.faces] == ["a.png", "deep/b.png", "c.tiff", "d.png"]
    for before, after in zip(source.faces, made.faces, strict=True):
        assert after == replace(
            before, path=after.path, domain="thermal", origin=after.origin, pair=after.pair
        )
        assert (out / after.origin).resolve() == source.file(before).resolve()
        assert read_image(made.file(after)).shape[1:] == read_image(
            source.file(before)
        ).shape[1:]  # fmt: skip
    translator = load_translator(translator_run)
    assert made.info == replace(
        source.info,
        unit="centikelvin",
        window=Window(20, 40),
        translator=str(translator_run),
        translator_hash=translator.fingerprint,
        seen_digests=tuple(sorted(translator.seen)),
    )
    assert translator.seen


def test_sixteen_bits_hold_temperatures_in_the_unit_and_window_of_the_run(
    translator_run: Path, faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    made = run_translation(translator_run, faces, tmp_path / "out", depth="auto", progress=quiet)
    face = made.faces[0]
    counts = read_image(made.file(face))
    assert counts.dtype == torch.uint16
    rgb = images.to_signed(read_image(faces / face.path))
    translator = load_translator(translator_run)
    with torch.no_grad():
        signed = translator.module.to_thermal(rgb[None])[0]  # 20 x 16, as trained but not square
    kelvin = (signed.double() + 1) / 2 * 20 + 20 + 273.15
    away = (counts.double() / 100 - kelvin).abs().max()
    assert float(away) <= 0.0051


def test_eight_bits_are_grey_over_the_window(
    translator_run: Path, faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    deep = run_translation(translator_run, faces, tmp_path / "16", depth="16", progress=quiet)
    grey = run_translation(translator_run, faces, tmp_path / "8", depth="8", progress=quiet)
    assert (deep.info.unit, grey.info.unit) == ("centikelvin", "grey")
    one = read_image(deep.file(deep.faces[3]))
    two = read_image(grey.file(grey.faces[3]))
    assert two.dtype == torch.uint8
    celsius = thermal.celsius_from_counts(one, "centikelvin")
    expected = ((celsius - 20) / 20 * 255).clamp(0, 255)
    assert float((two.float() - expected).abs().max()) <= 0.57


def test_it_goes_on_where_it_stopped(
    translator_run: Path, sizes: Path, quiet: Progress, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    whole = run_translation(translator_run, sizes, out, depth="auto", progress=quiet)
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    (out / "index.csv").unlink()
    (out / "a.png").unlink()
    kept = times(out)
    again = run_translation(translator_run, sizes, out, depth="auto", progress=quiet)
    assert again == whole
    assert {name: time for name, time in times(out).items() if name in kept} == kept
    assert before == {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}


def test_images_of_other_weights_are_not_mixed(
    tiny_translator: Callable[..., TranslatorConfig], translator_run: Path, sizes: Path,
    quiet: Progress, tmp_path: Path,
) -> None:  # fmt: skip
    other, out = tmp_path / "other", tmp_path / "out"
    run_training(tiny_translator(steps=2, seed=4), other, progress=quiet)
    run_translation(translator_run, sizes, out, depth="auto", progress=quiet)
    before = times(out)
    with pytest.raises(RunError, match="made by other weights") as caught:
        run_translation(other, sizes, out, depth="auto", progress=quiet)
    assert str(out) in str(caught.value)
    assert times(out) == before


def test_images_of_other_originals_or_another_depth_are_not_mixed(
    translator_run: Path, sizes: Path, faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run_translation(translator_run, sizes, out, depth="16", progress=quiet)
    before = times(out)
    with pytest.raises(RunError, match="made by other originals"):
        run_translation(translator_run, faces, out, depth="16", progress=quiet)
    with pytest.raises(RunError, match="made by other pixels"):
        run_translation(translator_run, sizes, out, depth="8", progress=quiet)
    assert times(out) == before


def test_translations_are_not_put_among_the_originals_of_a_plain_folder(
    translator_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    image_writing.write_image(tmp_path / "a.png", torch.zeros(3, 16, 16, dtype=torch.uint8))
    with pytest.raises(DataError, match="taken for originals"):
        run_translation(translator_run, tmp_path, tmp_path / "x", depth="auto", progress=quiet)
    assert not (tmp_path / "x").exists()


def test_a_folder_with_something_else_in_it_is_refused(
    translator_run: Path, sizes: Path, quiet: Progress, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        run_translation(translator_run, sizes, tmp_path, depth="auto", progress=quiet)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_a_plain_folder_is_translated_without_labels(
    translator_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    for name in ("ann/1.png", "ben/1.png"):
        picture = torch.zeros(3, 61, 47, dtype=torch.uint8)
        image_writing.write_image(tmp_path / "photos" / name, picture)
    made = run_translation(
        translator_run, tmp_path / "photos", tmp_path / "out", depth="auto", progress=quiet
    )
    assert [face.path for face in made.faces] == ["ann/1.png", "ben/1.png"]
    assert made.info.kind == "none"
    assert read_image(tmp_path / "out" / "ann" / "1.png").shape == (1, 61, 47)


class _Identity:
    """The generators of a translator that changes nothing: thermal is the first channel."""

    def to_thermal(self, rgb: torch.Tensor) -> torch.Tensor:
        return rgb[:, :1]


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch, translator_run: Path) -> LoadedTranslator:
    """Put an identity in place of the generators of a grey translator."""
    loaded = replace(load_translator(translator_run), module=_Identity(), window=None, unit="grey")  # type: ignore[arg-type]
    monkeypatch.setattr("cycada.training.engines.load_translator", lambda *_, **__: loaded)
    return loaded


@pytest.mark.parametrize("size", [(64, 48), (1001, 747), (747, 1001), (3, 5), (1200, 40)])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_an_identity_gives_every_pixel_of_sixteen_bits_back(
    identity: LoadedTranslator, size: tuple[int, int], suffix: str, quiet: Progress, tmp_path: Path
) -> None:
    draw = torch.Generator().manual_seed(1)
    counts = torch.randint(0, 65536, (1, *size), generator=draw).to(torch.int32).to(torch.uint16)
    image_writing.write_image(tmp_path / "in" / f"a{suffix}", counts)
    made = run_translation(
        identity.root, tmp_path / "in", tmp_path / "out", depth="auto", scale="keep",
        progress=quiet,
    )  # fmt: skip
    back = read_image(tmp_path / "out" / f"a{suffix}")
    assert made.info.unit == "grey"
    assert back.dtype == torch.uint16
    assert torch.equal(back.int(), counts.int())


def test_depth_follows_each_original_where_the_translator_knows_no_temperatures(
    identity: LoadedTranslator, quiet: Progress, tmp_path: Path
) -> None:
    image_writing.write_image(
        tmp_path / "in" / "a.png", torch.full((1, 16, 16), 300).to(torch.uint16)
    )
    image_writing.write_image(
        tmp_path / "in" / "b.png", torch.full((3, 16, 16), 200).to(torch.uint8)
    )
    for depth in ("auto", "8", "16"):
        run_translation(
            identity.root, tmp_path / "in", tmp_path / depth, depth=depth, progress=quiet
        )
    found = {
        depth: [read_image(tmp_path / depth / name) for name in ("a.png", "b.png")]
        for depth in ("auto", "8", "16")
    }
    assert [image.dtype for image in found["auto"]] == [torch.uint16, torch.uint8]
    assert [image.int().max().item() for image in found["auto"]] == [300, 200]
    assert [image.int().max().item() for image in found["8"]] == [1, 200]
    assert [image.int().max().item() for image in found["16"]] == [300, 200 * 257]


@pytest.mark.parametrize("scale", ["fit", "keep"])
def test_three_to_four_and_odd_sizes_come_back_with_their_size(
    translator_run: Path, scale: Literal["fit", "keep"], quiet: Progress, tmp_path: Path
) -> None:
    sizes = {
        "portrait.png": (64, 48), "odd.png": (101, 75), "wide.png": (75, 101), "dot.png": (1, 1),
        "strip.png": (3, 40),
    }  # fmt: skip
    for name, size in sizes.items():
        image_writing.write_image(tmp_path / "in" / name, torch.zeros(3, *size, dtype=torch.uint8))
    run_translation(
        translator_run, tmp_path / "in", tmp_path / "out", depth="auto", scale=scale,
        progress=quiet,
    )  # fmt: skip
    assert {name: tuple(read_image(tmp_path / "out" / name).shape[1:]) for name in sizes} == sizes


def test_no_more_pixels_are_in_memory_than_are_allowed(
    translator_run: Path, quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the begin of reading to the end of writing, which is slow here."""
    side = {f"{number:02d}": 80 if number == 5 else 40 for number in range(12)}
    for name, px in side.items():  # one alone is larger than allowed
        picture = torch.zeros(3, px, px, dtype=torch.uint8)
        image_writing.write_image(tmp_path / "in" / f"{name}.png", picture)
    held: set[str] = set()
    together: list[tuple[int, int]] = []
    lock = threading.Lock()
    usual_read, usual_write = read_image, image_writing.write_image

    def read(path: Path) -> torch.Tensor:
        with lock:
            held.add(path.stem)
            together.append((len(held), sum(side[name] ** 2 for name in held)))
        return usual_read(path)

    def write(path: Path, image: torch.Tensor) -> None:
        time.sleep(0.02)
        usual_write(path, image)
        with lock:
            held.remove(path.stem)

    monkeypatch.setattr(image_reading, "read_image", read)
    monkeypatch.setattr(image_writing, "write_image", write)
    monkeypatch.setattr(translate_images, "MOST_PIXELS", 4 * 40 * 40 - 1)
    made = run_translation(
        translator_run, tmp_path / "in", tmp_path / "out", depth="auto", progress=quiet
    )
    assert all(made.file(face).exists() for face in made.faces)
    assert max(count for count, _ in together) == 3
    assert [(count, pixels) for count, pixels in together if pixels >= 4 * 40 * 40] == [(1, 80**2)]


class _Watched(_Identity):
    """An identity that cannot tell what it makes before the next images are being read."""

    def __init__(self) -> None:
        self.passes: list[tuple[int, ...]] = []
        self.read_later, self.second = threading.Event(), threading.Event()

    def to_thermal(self, rgb: torch.Tensor) -> torch.Tensor:
        self.passes.append(tuple(rgb.shape))
        if len(self.passes) == 1:
            assert self.read_later.wait(20)
        if len(self.passes) == 2:
            self.second.set()
        return rgb[:, :1]


def test_images_are_read_and_written_while_the_network_computes(
    identity: LoadedTranslator, quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first pass waits for the reading of later images; the writing, for the second pass."""
    monkeypatch.setattr(translate_images, "computes_by_core", lambda _: False)
    network = _Watched()
    loaded = replace(identity, module=network)  # type: ignore[arg-type]
    monkeypatch.setattr("cycada.training.engines.load_translator", lambda *_, **__: loaded)
    monkeypatch.setattr(translate_images, "PASS_PIXELS", 4 * 2 * 16 * 16)
    for number in range(6):
        image_writing.write_image(
            tmp_path / "in" / f"{number}.png", torch.full((3, 16, 16), number, dtype=torch.uint8)
        )
    usual_read, usual_write = read_image, image_writing.write_image

    def read(path: Path) -> torch.Tensor:
        if path.stem == "2":  # of the second batch
            network.read_later.set()
        return usual_read(path)

    def write(path: Path, image: torch.Tensor) -> None:
        assert network.second.wait(20)
        usual_write(path, image)

    monkeypatch.setattr(image_reading, "read_image", read)
    monkeypatch.setattr(image_writing, "write_image", write)
    made = run_translation(
        identity.root, tmp_path / "in", tmp_path / "out", depth="8", progress=quiet
    )
    assert network.passes == [(2, 3, 16, 16)] * 3
    assert [int(usual_read(made.file(face)).max()) for face in made.faces] == list(range(6))


class _SideBySide(_Identity):
    """An identity that makes nothing before two threads are at it, and notes them."""

    def __init__(self) -> None:
        self.both, self.asked = threading.Barrier(2), 0

    def to_thermal(self, rgb: torch.Tensor) -> torch.Tensor:
        assert torch.get_num_threads() == (1 if rgb.shape[-1] == 16 else 2)
        self.asked += 1
        if self.asked <= 2:
            self.both.wait(20)
        return rgb[:, :1]


def test_each_core_takes_small_images_from_file_to_file_and_all_take_a_large_one(
    identity: LoadedTranslator, quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = replace(identity, module=_SideBySide())  # type: ignore[arg-type]
    monkeypatch.setattr("cycada.training.engines.load_translator", lambda *_, **__: loaded)
    for module in (translate_images, cores):
        monkeypatch.setattr(module, "LONE_PIXELS", 16 * 16)
    large = 7
    for number in range(12):
        side = 64 if number == large else 16
        image_writing.write_image(
            tmp_path / "in" / f"{number:02d}.png",
            torch.full((3, side, side), number, dtype=torch.uint8),
        )
    held: set[str] = set()
    most, threads = [], dict[str, set[int]]()
    usual_read, usual_write = read_image, image_writing.write_image

    def read(path: Path) -> torch.Tensor:
        held.add(path.stem)
        most.append(len(held))
        threads.setdefault(path.stem, set()).add(threading.get_ident())
        return usual_read(path)

    def write(path: Path, image: torch.Tensor) -> None:
        usual_write(path, image)
        threads[path.stem].add(threading.get_ident())
        held.discard(path.stem)

    monkeypatch.setattr(image_reading, "read_image", read)
    monkeypatch.setattr(image_writing, "write_image", write)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        made = run_translation(
            identity.root, tmp_path / "in", tmp_path / "out", depth="8", scale="keep",
            progress=quiet,
        )  # fmt: skip
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert [int(usual_read(made.file(face)).max()) for face in made.faces] == list(range(12))
    assert max(most) == 2
    assert {len(own) for stem, own in threads.items() if stem != f"{large:02d}"} == {1}
    assert len(set.union(*threads.values())) <= 3


class _Counting:
    """Makes images that tell with how many others they shared a pass."""

    def to_thermal(self, rgb: torch.Tensor) -> torch.Tensor:
        return torch.full_like(rgb[:, :1], len(rgb) / 100)


def test_an_image_is_the_same_whichever_are_there_already(
    identity: LoadedTranslator, quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels for one image and for several differ in the last bits; here they differ much."""
    loaded = replace(identity, module=_Counting())  # type: ignore[arg-type]
    monkeypatch.setattr("cycada.training.engines.load_translator", lambda *_, **__: loaded)
    sides = [16, 32, 16, 20, 32, 16, 64]  # scaled to 16 px all, so that they share one pass
    for number, side in enumerate(sides):
        image_writing.write_image(
            tmp_path / "in" / f"{number}.png", torch.zeros(3, side, side, dtype=torch.uint8)
        )
    out = tmp_path / "out"

    def translated() -> dict[str, torch.Tensor]:
        made = run_translation(identity.root, tmp_path / "in", out, depth="16", progress=quiet)
        return {face.path: read_image(made.file(face)).int() for face in made.faces}

    whole = translated()
    assert [int(image.max()) for image in whole.values()] == [round(1.07 * 65535 / 2)] * 7
    kept = [out / "3.png", out / "4.png"]
    before = [file.stat().st_mtime_ns for file in kept]
    for gone in (out / "index.csv", *(out / f"{number}.png" for number in (0, 1, 2, 5, 6))):
        gone.unlink()
    again = translated()
    assert all(torch.equal(image, again[path]) for path, image in whole.items())
    assert [file.stat().st_mtime_ns for file in kept] == before


def test_kept_scale_shows_the_generator_the_pixels_as_they_are(
    translator_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    """16 px is what this translator knows; an image of 32 px is shown whole."""
    draw = torch.Generator().manual_seed(3)
    rgb = torch.randint(0, 256, (3, 32, 32), generator=draw).to(torch.uint8)
    image_writing.write_image(tmp_path / "in" / "a.png", rgb)
    run_translation(
        translator_run, tmp_path / "in", tmp_path / "out", depth="16", scale="keep",
        progress=quiet,
    )  # fmt: skip
    translator = load_translator(translator_run)
    signed = translator.to_thermal(images.to_signed(rgb)[None])[0]
    expected = images.from_signed(
        signed, dtype=torch.uint16, unit="centikelvin", window=translator.window
    )
    found = read_image(tmp_path / "out" / "a.png")
    assert (found.int() - expected.int()).abs().max() <= 1


def test_images_of_another_scale_are_not_mixed(
    translator_run: Path, sizes: Path, quiet: Progress, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run_translation(translator_run, sizes, out, depth="16", progress=quiet)
    with pytest.raises(RunError, match="made by other pixels"):
        run_translation(translator_run, sizes, out, depth="16", scale="keep", progress=quiet)


def test_two_originals_of_one_name_are_refused(
    translator_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    for name in ("a.png", "a.jpg"):
        image_writing.write_image(
            tmp_path / "photos" / name, torch.zeros(3, 16, 16, dtype=torch.uint8)
        )
    with pytest.raises(DataError, match=r"would both become .*a\.png"):
        run_translation(
            translator_run, tmp_path / "photos", tmp_path / "out", depth="auto", progress=quiet
        )
    assert not (tmp_path / "out").exists()


def test_two_processes_leave_no_gap_and_do_nothing_twice(
    translator_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    draw = torch.Generator().manual_seed(0)
    for number in range(75):
        picture = torch.randint(0, 256, (3, 16, 16 + 4 * (number % 2)), generator=draw)
        image_writing.write_image(tmp_path / "in" / f"{number:02d}.png", picture.to(torch.uint8))
    alone = run_translation(
        translator_run, tmp_path / "in", tmp_path / "one", depth="auto", progress=quiet
    )
    script = tmp_path / "two.py"
    script.write_text(
        "import json, sys\n"
        "from pathlib import Path\n"
        "from cycada import image_writing\n"
        "from cycada.progress import Progress\n"
        "from cycada.stages.translate import run_translation\n"
        "from accelerate import PartialState\n"
        "run, source, out, notes = map(Path, json.loads(sys.argv[1]))\n"
        "written, usual = [], image_writing.write_image\n"
        "def noted(path, image):\n"
        "    usual(path, image)\n"
        "    written.append(path.name)\n"
        "image_writing.write_image = noted\n"
        "run_translation(run, source, out, depth='auto', progress=Progress(shown=False))\n"
        "state = PartialState()\n"
        "assert state.num_processes == 2\n"
        "(notes / f'{state.process_index}.json').write_text(json.dumps(written))\n"
    )
    paths = json.dumps(
        [str(translator_run), str(tmp_path / "in"), str(tmp_path / "two"), str(tmp_path)]
    )
    found = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
         str(script), paths],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-4000:]
    one, two = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert (len(one), len(two)) == (43, 32)
    assert sorted([*one, *two]) == [face.path for face in alone.faces]
    shared = read_index(tmp_path / "two")
    assert [face.path for face in shared.faces] == [face.path for face in alone.faces]
    for face in alone.faces:
        assert (tmp_path / "two" / face.path).read_bytes() == alone.file(face).read_bytes()
