from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from cycada import image_reading, image_writing, images, thermal
from cycada.cli import main
from cycada.data.index import Face, Index, IndexInfo, read_index, write_index
from cycada.errors import CycadaError, DataError, RunError, UsageError
from cycada.progress import Progress
from cycada.report.sheet import Sheet, Style
from cycada.stages import sheet as stage
from cycada.stages.sheet import SheetOptions, make_sheet
from cycada.stages.sheet_faces import choose, columns_of, read_dataset
from cycada.stages.translate import run_translation
from cycada.thermal import Window


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, quiet: Progress, tmp_path: Path) -> Callable[..., Sheet]:
    """Return what would be drawn of the given sources, without drawing it."""
    sheets: list[Sheet] = []
    monkeypatch.setattr(stage, "write_sheet", lambda _file, sheet, _style: sheets.append(sheet))

    def make(*sources: Path, **options: Any) -> Sheet:
        make_sheet(SheetOptions(
            **{"sources": sources, "out": tmp_path / "out" / "a.png", **options}
        ), progress=quiet)  # fmt: skip
        return sheets[-1]

    return make


def labels(sheet: Sheet) -> list[str]:
    return [row.label for row in sheet.rows]


def paired(root: Path) -> Index:
    """Pair each RGB face of an index with a thermal one, in its order."""
    index = read_index(root)
    others = iter(index.select(domain="thermal").faces)
    faces = [
        replace(face, pair=next(others).path) if face.domain == "rgb" else face
        for face in index.faces
    ]
    made = replace(index, faces=tuple(faces))
    write_index(made)
    return made


def degrees(root: Path, celsius: float, window: Window, *, names: int = 2) -> Path:
    """Write an index of thermal faces that are equally warm everywhere."""
    faces = []
    for number in range(names):
        pixels = thermal.counts_from_celsius(torch.full((1, 8, 8), celsius), "centikelvin")
        image_writing.write_image(root / f"{number}.png", pixels)
        faces.append(
            Face(path=f"{number}.png", domain="thermal", subject=f"s{number}", split="test")
        )
    write_index(
        Index(root, IndexInfo(kind="none", unit="centikelvin", window=window), tuple(faces))
    )
    return root


def test_a_translator_shows_test_faces_there_back_and_beside_the_truth(
    translator_run: Path, own_faces: Path, drawn: Callable[..., Sheet]
) -> None:
    index = paired(own_faces)
    sheet = drawn(translator_run, own_faces)
    assert labels(sheet) == ["RGB", "As thermal", "True thermal", "Back in RGB"]
    assert [row.thermal for row in sheet.rows] == [False, True, True, False]
    assert sheet.window == Window(20, 40)
    faces = index.select(domain="rgb", split="test").faces
    for row, place in ((sheet.rows[0], "path"), (sheet.rows[2], "pair")):
        for face, picture in zip(faces, row.pictures, strict=True):
            image = image_reading.read_image(own_faces / getattr(face, place))
            unit = "grey" if place == "path" else "centikelvin"
            assert torch.equal(picture, images.to_signed(image, unit=unit, window=Window(20, 40)))


def test_what_a_translator_makes_is_what_translate_writes(
    translator_run: Path, faces: Path, drawn: Callable[..., Sheet], quiet: Progress, tmp_path: Path
) -> None:
    run_translation(translator_run, faces, tmp_path / "made", depth="16", progress=quiet)
    one = drawn(translator_run, faces, rows=("made",)).rows[0]
    two = drawn(tmp_path / "made", rows=("made",)).rows[0]
    assert one.label == two.label == "As thermal"
    for a, b in zip(one.pictures, two.pictures, strict=True):
        assert float((a - b).abs().max()) <= 0.01 / 20 + 1e-5  # half a centikelvin of 20 K, twice


def test_a_run_alone_shows_faces_that_it_learned_beside(
    translator_run: Path, drawn: Callable[..., Sheet]
) -> None:
    assert labels(drawn(translator_run)) == ["RGB", "As thermal", "Back in RGB"]
    thermal_faces = drawn(translator_run, domain="thermal")
    assert labels(thermal_faces) == ["Thermal", "As RGB", "Back in thermal"]
    assert [row.thermal for row in thermal_faces.rows] == [True, False, True]


def test_translated_faces_are_those_of_their_origin_in_whatever_order_and_by_whatever_name(
    translator_run: Path, own_faces: Path, drawn: Callable[..., Sheet], quiet: Progress,
    tmp_path: Path,
) -> None:  # fmt: skip
    made = run_translation(translator_run, own_faces, tmp_path / "made", depth="16", progress=quiet)
    renamed = []
    for number, face in enumerate(reversed(made.faces)):
        shutil.move(made.file(face), made.root / f"{number}.png")
        renamed.append(replace(face, path=f"{number}.png"))
    write_index(replace(made, faces=tuple(renamed)))
    sheet = drawn(own_faces, tmp_path / "made")
    assert labels(sheet) == ["RGB", "As thermal"]
    origins = {(tmp_path / "made" / face.origin).resolve(): face for face in renamed}
    chosen = read_index(own_faces).select(domain="rgb", split="test").faces
    for face, picture in zip(chosen, sheet.rows[1].pictures, strict=True):
        own = origins[(own_faces / face.path).resolve()]
        image = image_reading.read_image(tmp_path / "made" / own.path)
        assert torch.equal(
            picture, images.to_signed(image, unit="centikelvin", window=Window(20, 40))
        )
    alone = drawn(tmp_path / "made")
    assert labels(alone) == ["RGB", "As thermal"]


def test_plain_folders_are_matched_by_path_and_shown_as_they_are(
    drawn: Callable[..., Sheet], tmp_path: Path
) -> None:
    draw = torch.Generator().manual_seed(0)
    pixels = {}
    for folder, names in (("ours", "abc"), ("theirs_2", "cbd")):
        for name in names:
            pixels[folder, name] = torch.randint(0, 256, (3, 8, 8), generator=draw).byte()
            suffix = ".png" if folder == "ours" else ".tiff"
            image_writing.write_image(tmp_path / folder / f"{name}{suffix}", pixels[folder, name])
    sheet = drawn(tmp_path / "ours", tmp_path / "theirs_2")
    assert labels(sheet) == ["ours", "theirs 2"]
    assert sheet.window is None
    for row, folder in zip(sheet.rows, ("ours", "theirs_2"), strict=True):
        for name, picture in zip("bc", row.pictures, strict=True):
            assert torch.equal(picture, images.to_signed(pixels[folder, name]))


def test_faces_of_other_people_under_the_same_names_are_not_taken_for_them(
    translator_run: Path, faces: Path, own_faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    run_translation(translator_run, faces, tmp_path / "made", depth="16", progress=quiet)
    options = SheetOptions(sources=(own_faces, tmp_path / "made"), out=tmp_path / "a.png")
    with pytest.raises(DataError, match="shows none of the faces of"):
        make_sheet(options, progress=quiet)


def test_a_temperature_has_one_colour_whatever_window_its_source_has(
    drawn: Callable[..., Sheet], tmp_path: Path
) -> None:
    one = degrees(tmp_path / "one", 30.0, Window(28, 37))
    two = degrees(tmp_path / "two", 30.0, Window(20, 36))
    sheet = drawn(one, two)
    assert sheet.window == Window(20, 37)
    for row in sheet.rows:
        for picture in row.pictures:
            assert picture.unique().item() == pytest.approx(2 * 10 / 17 - 1, abs=1e-5)
    narrow = drawn(one, two, window=Window(29, 31))
    assert narrow.rows[0].pictures[0].unique().item() == pytest.approx(0.0, abs=1e-4)


def test_temperatures_and_grey_images_do_not_share_a_colour_bar(
    drawn: Callable[..., Sheet], tmp_path: Path
) -> None:
    degrees(tmp_path / "warm", 30.0, Window())
    for number in range(2):
        image_writing.write_image(tmp_path / "grey" / f"{number}.png", torch.zeros(1, 8, 8).byte())
    with pytest.raises(DataError, match="'warm' has temperatures and 'grey' has none"):
        drawn(tmp_path / "warm", tmp_path / "grey")
    with pytest.raises(UsageError, match="nothing on the sheet has temperatures"):
        drawn(tmp_path / "grey", window=Window())


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Return an index of 12 subjects of the split test and 6 of train, with 3 faces each."""
    root = tmp_path / "many"
    rows = []
    for number in range(18):
        for frame in range(3):
            path = f"s{number:02d}/{frame}.png"
            image_writing.write_image(root / path, torch.zeros(3, 8, 8).byte())
            split = "test" if number % 3 else "train"
            rows.append(Face(path=path, domain="rgb", subject=f"s{number:02d}", split=split))
    write_index(Index(root, IndexInfo(kind="none"), tuple(rows)))
    return root


def test_faces_are_of_different_test_subjects_as_long_as_there_are_some(many: Path) -> None:
    columns = columns_of(read_dataset(many, domain="rgb", unit=None, allow_outside=False), ())
    for seed in (None, 1, 2):
        chosen = choose(columns, count=8, faces=(), seed=seed)
        assert {column.split for column in chosen} == {"test"}
        assert len({column.subject for column in chosen}) == 8
        more = choose(columns, count=16, faces=(), seed=seed)
        assert len({column.name for column in more}) == 16
        assert len({column.subject for column in more}) == 12
    assert [c.name for c in choose(columns, count=8, faces=(), seed=1)] != [
        c.name for c in choose(columns, count=8, faces=(), seed=2)
    ]
    spread = [int(c.subject[1:]) for c in choose(columns, count=4, faces=(), seed=None)]
    assert spread == [1, 5, 10, 14]


def test_named_faces_are_shown_in_the_order_in_which_they_are_named(many: Path) -> None:
    columns = columns_of(read_dataset(many, domain="rgb", unit=None, allow_outside=False), ())
    wanted = ("s06/2.png", "s01/0.png")
    chosen = choose(columns, count=8, faces=wanted, seed=None)
    assert tuple(column.name for column in chosen) == wanted
    with pytest.raises(UsageError, match=r"--face s99/0\.png: is no path of a face"):
        choose(columns, count=8, faces=("s99/0.png",), seed=None)


def test_no_subject_is_named_unless_asked(many: Path, quiet: Progress, tmp_path: Path) -> None:
    def text(**options: Any) -> str:
        out = tmp_path / "out" / "a.svg"
        make_sheet(SheetOptions(sources=(many,), out=out, count=3, **options), progress=quiet)
        return out.read_text()

    assert "s01" not in text()
    assert "s01" not in text(numbers=True)
    assert ">2</text>" in text(numbers=True)
    assert "s01" in text(include_subjects=True)


def test_rows_are_chosen_and_named_as_asked(
    translator_run: Path, own_faces: Path, drawn: Callable[..., Sheet]
) -> None:
    paired(own_faces)
    some = drawn(translator_run, own_faces, rows=("truth", "source"), labels=("a", "b"))
    assert labels(some) == ["a", "b"]
    assert [row.thermal for row in some.rows] == [False, True]
    with pytest.raises(UsageError, match="--label was given 1 times, but there are 4 rows"):
        drawn(translator_run, own_faces, labels=("a",))
    with pytest.raises(UsageError, match="two would be called"):
        drawn(translator_run, translator_run, own_faces)
    with pytest.raises(UsageError, match="only a translator brings faces back"):
        drawn(own_faces, rows=("back",))


def test_a_truth_that_is_asked_for_and_not_there_is_told(
    faces: Path, drawn: Callable[..., Sheet]
) -> None:
    with pytest.raises(DataError, match="no row 'True thermal', for 4 of the 4 faces"):
        drawn(faces, rows=("source", "truth"))


def test_no_sheet_is_written_over_or_among_what_it_shows(
    many: Path, quiet: Progress, tmp_path: Path
) -> None:
    def make(out: Path) -> None:
        make_sheet(
            SheetOptions(sources=(many,), out=out, count=2, style=Style(dpi=60)), progress=quiet
        )

    original = (many / "s01" / "0.png").read_bytes()
    for out in (many / "s01" / "0.png", many / "s01" / "new.png"):
        with pytest.raises(DataError, match="holds originals"):
            make(out)
    (tmp_path / "link.png").symlink_to(many / "s01" / "0.png")
    make(tmp_path / "link.png")
    assert not (tmp_path / "link.png").is_symlink()
    assert (many / "s01" / "0.png").read_bytes() == original
    assert len(list((many / "s01").iterdir())) == 3


def test_a_broken_image_ends_in_a_sentence_without_a_sheet(
    many: Path, quiet: Progress, tmp_path: Path
) -> None:
    (many / "s01" / "0.png").write_bytes(b"no image")
    out = tmp_path / "out" / "a.png"
    with pytest.raises(DataError, match=r"s01/0\.png"):
        make_sheet(SheetOptions(sources=(many,), out=out), progress=quiet)
    assert not out.parent.exists() or not list(out.parent.iterdir())


def test_what_is_no_source_of_faces_is_refused(
    detector_run: Path, many: Path, drawn: Callable[..., Sheet], tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="is the run of a detector; a translator is needed"):
        drawn(detector_run, many)
    (tmp_path / "film.mp4").write_bytes(b"")
    with pytest.raises(UsageError, match="a recording goes into a video"):
        drawn(tmp_path / "film.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        drawn(tmp_path / "empty")
    image_writing.write_image(
        tmp_path / "deep" / "a.png", torch.full((1, 8, 8), 30315).to(torch.uint16)
    )
    with pytest.raises(DataError, match="say with --unit what they count"):
        drawn(tmp_path / "deep")
    warm = drawn(tmp_path / "deep", unit="centikelvin")
    assert warm.rows[0].pictures[0].unique().item() == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--out", "a.gif", "--width", "85"), "--width is for a picture"),
        (("--out", "a.png", "--rate", "9"), "--rate is for a video"),
        (("--out", "a.jpg"), ".jpg is no format of a sheet"),
    ],
)
def test_the_verb_refuses_what_is_for_the_other_kind_of_sheet(
    words: tuple[str, ...], told: str, many: Path
) -> None:
    result = CliRunner().invoke(main, ["sheet", str(many), *words])
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_verb_says_what_is_on_the_sheet(many: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "a.pdf"
    result = CliRunner().invoke(main, ["sheet", str(many), "--count", "3", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"written to {out}: 3 test faces, rows RGB\n"
    assert [file.name for file in out.parent.iterdir()] == ["a.pdf"]


def test_without_matplotlib_the_command_that_installs_it_is_told(
    many: Path, quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(CycadaError, match=r"pip install 'cycada\[sheet\]'"):
        make_sheet(SheetOptions(sources=(many,), out=tmp_path / "a.png"), progress=quiet)
