from __future__ import annotations

import csv
import io
import re
import struct
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from cycada.cli.index import index as command
from cycada.data.index import Index, read_index
from cycada.data.index_checks import check_files
from cycada.errors import CycadaError, DataError, UsageError
from cycada.image_writing import write_image
from cycada.progress import Progress
from cycada.rejecting import Limit
from cycada.stages import index as index_stage
from cycada.stages.index import Indexed, make_index, summary
from cycada.stages.index_options import IndexOptions
from cycada.thermal import Window, counts_from_celsius


def make(out: Path, **options: object) -> Indexed:
    return make_index(
        IndexOptions(out=out, **options),  # type: ignore[arg-type]
        progress=Progress(shown=False),
    )


def celsius(low: float = 22, high: float = 36) -> torch.Tensor:
    return torch.linspace(low, high, 64).reshape(1, 8, 8)


@pytest.fixture
def rgb(tmp_path: Path) -> Path:
    """Return a folder of six subjects with two 8-bit images each."""
    for subject in range(6):
        for frame in (1, 12):
            image = torch.full((3, 8, 8), 10 * subject, dtype=torch.uint8)
            write_image(tmp_path / "rgb" / f"F00{subject}" / "T1" / f"{frame}.png", image)
    return tmp_path / "rgb"


@pytest.fixture
def thermal(tmp_path: Path) -> Path:
    """Return a folder of three other subjects with two 16-bit images each."""
    counts = counts_from_celsius(celsius(), "centikelvin")
    for subject in range(3):
        for frame in range(2):
            write_image(tmp_path / "lepton" / f"M{subject}" / f"frame_{frame:04d}.tiff", counts)
    return tmp_path / "lepton"


def labels(tmp_path: Path, text: str, name: str = "labels.csv") -> Path:
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_folders_become_an_index_whose_images_can_be_found(
    tmp_path: Path, rgb: Path, thermal: Path
) -> None:
    made = make(tmp_path / "deep" / "index", rgb=rgb, thermal=thermal, source="here", licence="CC0")
    read = read_index(tmp_path / "deep" / "index")
    assert read == made.faces
    check_files(read)
    assert (read.info.unit, read.info.kind) == ("centikelvin", "none")
    assert (read.info.source, read.info.licence) == ("here", "CC0")
    first = read.faces[0]
    assert first.path == "../../rgb/F000/T1/1.png"
    assert (first.subject, first.sequence, first.frame) == ("F000", "T1", 1)
    assert {(face.domain, face.frame) for face in read.faces[12:]} == {
        ("thermal", 0),
        ("thermal", 1),
    }


def test_every_split_of_every_domain_has_faces_and_no_subject_is_cut(
    tmp_path: Path, rgb: Path, thermal: Path
) -> None:
    made = make(tmp_path / "index", rgb=rgb, thermal=thermal).faces
    for domain in ("rgb", "thermal"):
        subjects = [
            made.select(domain=domain, split=split).subjects()  # type: ignore[arg-type]
            for split in ("train", "val", "test")
        ]
        assert all(subjects)
        assert sum(map(len, subjects)) == len(set.union(*subjects))


def test_a_subject_of_both_domains_is_in_one_split(tmp_path: Path, rgb: Path) -> None:
    for subject in ("F000", "M1", "M2", "M3"):
        image = torch.zeros(1, 4, 4, dtype=torch.uint8)
        write_image(tmp_path / "thermal" / subject / "1.png", image)
    made = make(tmp_path / "index", rgb=rgb, thermal=tmp_path / "thermal").faces
    assert len({face.split for face in made.faces if face.subject == "F000"}) == 1
    assert len({face.domain for face in made.faces if face.subject == "F000"}) == 2


def test_the_same_seed_makes_the_same_index_and_another_one_another(
    tmp_path: Path, rgb: Path
) -> None:
    first = make(tmp_path / "a", rgb=rgb).faces
    assert make(tmp_path / "b", rgb=rgb).faces.faces == first.faces
    assert make(tmp_path / "c", rgb=rgb, seed=2).faces.faces != first.faces


def test_labels_are_joined_by_path_from_the_table_or_from_the_folder(
    tmp_path: Path, rgb: Path
) -> None:
    inner = labels(tmp_path, "path,AU01\nF000/T1/1.png,1\n", "inner.csv")
    outer = labels(tmp_path, "path,au_12\nrgb/F000/T1/1.png,0\nrgb/gone.png,1\n", "outer.csv")
    made = make(tmp_path / "index", rgb=rgb, labels=(inner, outer))
    assert made.faces.info.kind == "occurrence"
    assert [dict(face.action_units) for face in made.faces.faces[:2]] == [{1: 1.0, 12: 0.0}, {}]
    assert any("1 of 2 rows name no found image" in note for note in made.notes)


def test_labels_are_joined_by_subject_and_frame_in_both_domains(
    tmp_path: Path, thermal: Path
) -> None:
    for subject in range(3):
        image = torch.zeros(3, 8, 8, dtype=torch.uint8)
        write_image(tmp_path / "colour" / f"M{subject}" / "0001.jpg", image)
    table = labels(tmp_path, "subject,frame,AU04\nM1,1,3.5\n")
    made = make(tmp_path / "index", rgb=tmp_path / "colour", thermal=thermal, labels=(table,)).faces
    assert made.info.kind == "intensity"
    labelled = [(face.domain, face.subject, face.frame) for face in made.faces if face.action_units]
    assert labelled == [("rgb", "M1", 1), ("thermal", "M1", 1)]


def test_subjects_come_from_a_pattern_or_from_a_table(tmp_path: Path) -> None:
    for name in ("S1_1.png", "S1_2.png", "S2_1.png", "S3_1.png"):
        write_image(tmp_path / "flat" / name, torch.zeros(1, 4, 4, dtype=torch.uint8))
    made = make(tmp_path / "a", thermal=tmp_path / "flat", subject=r"(S\d+)_").faces
    assert [face.subject for face in made.faces] == ["S1", "S1", "S2", "S3"]
    rows = "path,subject\nS1_1.png,x\nS1_2.png,y\nS2_1.png,z\nS3_1.png,z\n"
    table = labels(tmp_path / "flat", rows)
    made = make(tmp_path / "b", thermal=tmp_path / "flat", labels=(table,)).faces
    assert [face.subject for face in made.faces] == ["x", "y", "z", "z"]


def test_subjects_of_tables_and_of_paths_together_are_told(tmp_path: Path, rgb: Path) -> None:
    table = labels(tmp_path, "path,subject\nF000/T1/1.png,anna\nF001/T1/1.png,ben\n")
    notes = make(tmp_path / "index", rgb=rgb, labels=(table,)).notes
    assert any(
        note.startswith("subjects of 2 images are those of a label file, of 10") for note in notes
    )


def test_a_given_unit_and_window_are_kept_and_the_clipping_is_told(
    tmp_path: Path, thermal: Path
) -> None:
    made = make(tmp_path / "index", thermal=thermal, unit="centikelvin", window=Window(22, 29))
    assert made.faces.info.window == Window(22, 29)
    assert "span 22.0 to 36.0 deg C, with 50.0% of the pixels outside" in made.notes[0]


def test_floats_in_degrees_are_recognised(tmp_path: Path) -> None:
    for subject in range(3):
        write_image(tmp_path / "npy" / f"s{subject}" / "1.npy", celsius())
    made = make(tmp_path / "index", thermal=tmp_path / "npy")
    assert made.faces.info.unit == "celsius"
    assert "guessed from the median pixel" in made.notes[0]


def test_images_that_cannot_be_used_are_set_aside_and_the_rest_is_indexed(
    tmp_path: Path, rgb: Path
) -> None:
    (rgb / "F000" / "T1" / "1.png").write_bytes(b"broken")
    (rgb / "F000" / "T1" / ".hidden.png").write_bytes(b"broken")
    write_image(rgb / "F001" / "9.npy", torch.zeros(3, 4, 4))
    out = tmp_path / "index"
    made = make(out, rgb=rgb)
    assert len(made.faces.faces) == 11
    with (out / "rejected.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == [
        str(rgb / "F000" / "T1" / "1.png"), str(rgb / "F001" / "9.npy")
    ]  # fmt: skip
    assert rows[0]["reason"].startswith("cannot be read as an image (")
    assert rows[1]["reason"] == "holds floats, which have no known range in an RGB image"
    (rgb / "F000" / "T1" / "1.png").unlink()
    (rgb / "F001" / "9.npy").unlink()
    make(out, rgb=rgb, overwrite=True)
    assert not (out / "rejected.csv").exists()


def test_more_images_than_are_allowed_to_be_set_aside_are_listed_and_nothing_is_indexed(
    tmp_path: Path, rgb: Path
) -> None:
    for name in ("1.png", "2.png"):
        (rgb / "F000" / "T1" / name).write_bytes(b"broken")
    out = tmp_path / "index"
    with pytest.raises(
        DataError, match=r"2 of \d+ images cannot be used, more than --max-rejected allows \(1\)"
    ):
        make(out, rgb=rgb, limit=Limit(0, 1))
    assert [file.name for file in out.iterdir()] == ["rejected.csv"]
    assert len((out / "rejected.csv").read_text().splitlines()) == 3
    assert make(out, rgb=rgb, limit=Limit(0, 2)).faces.faces


def test_an_index_is_replaced_only_when_asked(tmp_path: Path, rgb: Path) -> None:
    make(tmp_path / "index", rgb=rgb)
    with pytest.raises(DataError, match=r"index\.csv: exists already; --overwrite replaces it"):
        make(tmp_path / "index", rgb=rgb)
    make(tmp_path / "index", rgb=rgb, overwrite=True)


def broken(_rgb: Path, thermal: Path) -> dict[str, object]:
    for file in thermal.rglob("*.tiff"):
        file.write_bytes(b"")
    return {"thermal": thermal}


def mixed_depths(_rgb: Path, thermal: Path) -> dict[str, object]:
    write_image(thermal / "M0" / "9.png", torch.zeros(1, 4, 4, dtype=torch.uint8))
    return {"thermal": thermal}


def raw_counts(_rgb: Path, thermal: Path) -> dict[str, object]:
    counts = torch.full((1, 4, 4), 8192, dtype=torch.int32).to(torch.uint16)
    for file in thermal.rglob("*.tiff"):
        write_image(file, counts)
    return {"thermal": thermal}


def one_frame_in_another_unit(_rgb: Path, thermal: Path) -> dict[str, object]:
    write_image(thermal / "M1" / "9.tiff", counts_from_celsius(celsius(), "decikelvin"))
    return {"thermal": thermal}


def palette(rgb: Path, _thermal: Path) -> dict[str, object]:
    iron = torch.tensor([200, 80, 10], dtype=torch.uint8).reshape(3, 1, 1).expand(3, 4, 4)
    write_image(rgb / "iron" / "1.png", iron)
    return {"thermal": rgb / "iron"}


def telemetry(_rgb: Path, thermal: Path) -> dict[str, object]:
    counts = counts_from_celsius(celsius(), "centikelvin").to(torch.int32)
    counts[:, -1] = 3
    for file in thermal.rglob("*.tiff"):
        write_image(file, counts.to(torch.uint16))
    return {"thermal": thermal}


def thermograms(rgb: Path, _thermal: Path) -> dict[str, object]:
    camera = b"FLIR\0\x01\0\0FFF\0"
    for file in rgb.rglob("*.png"):
        shown = io.BytesIO()
        Image.new("L", (8, 8), 90).save(shown, "jpeg")
        segment = b"\xff\xe1" + struct.pack(">H", len(camera) + 2) + camera
        file.with_suffix(".jpg").write_bytes(shown.getvalue()[:2] + segment + shown.getvalue()[2:])
        file.unlink()
    return {"thermal": rgb}


def float_rgb(rgb: Path, _thermal: Path) -> dict[str, object]:
    write_image(rgb / "floats" / "F000" / "1.npy", celsius())
    return {"rgb": rgb / "floats"}


def flat(rgb: Path, _thermal: Path) -> dict[str, object]:
    return {"rgb": rgb / "F000" / "T1"}


def empty(rgb: Path, _thermal: Path) -> dict[str, object]:
    (rgb / "empty").mkdir()
    return {"rgb": rgb / "empty"}


def with_labels(text: str, **more: object) -> object:
    def prepare(rgb: Path, _thermal: Path) -> dict[str, object]:
        return {"rgb": rgb, "labels": (labels(rgb, text),), **more}

    return prepare


def contradicting(rgb: Path, _thermal: Path) -> dict[str, object]:
    one = labels(rgb, "path,AU01\nF000/T1/1.png,1\n", "one.csv")
    return {"rgb": rgb, "labels": (one, labels(rgb, "path,AU01\nF000/T1/1.png,0\n", "two.csv"))}


def two_kinds(rgb: Path, _thermal: Path) -> dict[str, object]:
    one = labels(rgb, "path,AU01\nF000/T1/1.png,1\n", "one.csv")
    return {"rgb": rgb, "labels": (one, labels(rgb, "path,AU02\nF000/T1/1.png,4\n", "two.csv"))}


def frame_in_two_sequences(rgb: Path, _thermal: Path) -> dict[str, object]:
    write_image(rgb / "F000" / "T2" / "1.png", torch.zeros(3, 4, 4, dtype=torch.uint8))
    return {"rgb": rgb, "labels": (labels(rgb, "subject,frame,AU01\nF000,1,1\n"),)}


def same_name_in_both_folders(rgb: Path, thermal: Path) -> dict[str, object]:
    write_image(thermal / "F000" / "T1" / "1.png", counts_from_celsius(celsius(), "centikelvin"))
    table = labels(rgb.parent, "path,AU01\nF000/T1/1.png,1\n")
    return {"rgb": rgb, "thermal": thermal, "labels": (table,)}


BAD = {
    "two folders": (same_name_in_both_folders, DataError, "is in several of the searched folders"),
    "nothing": (lambda *_: {}, UsageError, "give --rgb DIR, --thermal DIR, or both"),
    "no folder": (lambda rgb, _: {"rgb": rgb / "gone"}, DataError, "gone: there is no such folder"),
    "empty": (empty, DataError, "empty: holds no image"),
    "overlap": (lambda rgb, _: {"rgb": rgb, "thermal": rgb / "F000"}, UsageError, "overlap"),
    "no regex": (lambda rgb, _: {"rgb": rgb, "subject": "("}, UsageError, "no regular expression"),
    "no group": (lambda rgb, _: {"rgb": rgb, "subject": "F"}, UsageError, "has no group"),
    "no match": (lambda rgb, _: {"rgb": rgb, "subject": "(X+)"}, DataError, "finds no subject in"),
    "flat": (flat, DataError, "no folder names its subject; give --subject"),
    "few": (
        lambda rgb, _: {"rgb": rgb, "subject": "(F)"},
        DataError,
        r"1 subject\(s\) \(F\) cannot",
    ),
    "broken": (broken, DataError, "no image of the thermal domain can be read"),
    "depths": (mixed_depths, DataError, "has 8 bits but .* has more"),
    "raw": (raw_counts, DataError, "its median pixel 8192 does not tell the unit"),
    "units": (one_frame_in_another_unit, DataError, r"9\.tiff: its median pixel .*does not tell"),
    "palette": (palette, DataError, "is in colour; a palette such as iron"),
    "telemetry": (telemetry, DataError, r"spans -273 to 34 deg C as centikelvin, guessed"),
    "thermograms": (thermograms, DataError, r"is a radiometric JPEG, .* `cycada convert`"),
    "float rgb": (float_rgb, DataError, r"1\.npy: holds floats, which have no known range"),
    "unit": (lambda rgb, _: {"rgb": rgb, "unit": "kelvin"}, UsageError, "--unit is about thermal"),
    "8-bit unit": (
        lambda rgb, _: {"thermal": rgb, "unit": "kelvin"},
        DataError,
        "has 8 bits, which cannot count kelvin",
    ),
    "unmatched": (with_labels("path,AU01\nx.png,1\n"), DataError, "none of its 1 rows names"),
    "no rows": (with_labels("path,AU01\n"), DataError, "holds no rows"),
    "contradiction": (contradicting, DataError, "AU01 is 0, but another label file says 1"),
    "kinds": (two_kinds, DataError, r"one\.csv holds occurrences but .*two\.csv intensities"),
    "sequences": (frame_in_two_sequences, DataError, "both .* are frame 1 of 'F000'"),
    "fractions": (
        lambda rgb, _: {"rgb": rgb, "fractions": (0.5, 0.5, 0.5)},
        DataError,
        "must add up to 1",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing_behind(
    tmp_path: Path, rgb: Path, thermal: Path, case: str
) -> None:
    prepare, kind, message = BAD[case]
    options = prepare(rgb, thermal)  # type: ignore[no-untyped-call, operator]
    with pytest.raises(kind, match=message) as caught:
        make(tmp_path / "index", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "index").exists()


def test_the_summary_counts_images_subjects_and_labels(tmp_path: Path, rgb: Path) -> None:
    table = labels(tmp_path, "path,AU01\nF000/T1/1.png,1\nF000/T1/12.png,0\nF001/T1/1.png,0\n")
    lines = summary(make(tmp_path / "index", rgb=rgb, labels=(table,)).faces).splitlines()
    assert lines[1].split() == ["rgb", "12", "8", "2", "2", "6"]
    assert lines[-1].split() == ["AU01", "3", "33.3%"]
    assert "labels: occurrence" in lines


def test_the_summary_says_from_which_value_an_intensity_is_present(
    tmp_path: Path, rgb: Path
) -> None:
    table = labels(tmp_path, "path,AU01\nF000/T1/1.png,2\nF000/T1/12.png,3\n")
    made = make(tmp_path / "index", rgb=rgb, labels=(table,), threshold=3.0)
    lines = summary(made.faces).splitlines()
    assert "labels: intensity, present from 3" in lines
    assert lines[-1].split() == ["AU01", "2", "50.0%"]


def test_the_command_writes_the_index_and_prints_the_table(
    tmp_path: Path, rgb: Path, thermal: Path
) -> None:
    arguments = ["--rgb", rgb, "--thermal", thermal, "--out", tmp_path / "index"]
    arguments += ["--window", "22", "38", "--fractions", "0.34", "0.33", "0.33", "--seed", "1"]
    result = CliRunner().invoke(command, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    assert "centikelvin (guessed" in result.output
    assert "subjects" in result.output
    assert read_index(tmp_path / "index").info.window == Window(22, 38)


def test_a_window_upside_down_is_refused_by_the_command(tmp_path: Path, thermal: Path) -> None:
    arguments = ["--thermal", str(thermal), "--out", str(tmp_path / "x"), "--window", "40", "20"]
    result = CliRunner().invoke(command, arguments)
    assert isinstance(result.exception, CycadaError) or "upside down" in result.output
    assert not (tmp_path / "x").exists()


def test_paths_lead_back_also_from_a_linked_folder(tmp_path: Path, rgb: Path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    made: Index = make(tmp_path / "link", rgb=rgb).faces
    check_files(made)
    check_files(read_index(tmp_path / "far" / "away"))


@pytest.mark.parametrize("step", ["write_index", "forget_work"])
@pytest.mark.parametrize("folds", ["", "3"])
def test_an_index_that_was_killed_while_it_was_written_is_finished_by_the_same_command(
    tmp_path: Path, rgb: Path, step: str, folds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def contents(out: Path) -> dict[str, bytes]:
        return {
            # But for the digest of where it lies.
            file.relative_to(out).as_posix(): re.sub(b"outside_of = .*", b"", file.read_bytes())
            for file in out.rglob("*")
            if file.is_file()
        }

    (rgb / "F000" / "T1" / "1.png").write_bytes(b"broken")
    make(tmp_path / "whole", rgb=rgb, folds=folds)
    out, usual, calls = tmp_path / "index", getattr(index_stage, step), []

    def killed(*words: object) -> None:
        calls.append(words)
        if len(calls) == (2 if folds and step == "write_index" else 1):
            raise KeyboardInterrupt
        usual(*words)

    with monkeypatch.context() as patch:
        patch.setattr(index_stage, step, killed)
        with pytest.raises(KeyboardInterrupt):
            make(out, rgb=rgb, folds=folds)
    assert list(out.rglob("index.csv")) or step == "write_index"
    if list(out.rglob("index.csv")):
        with pytest.raises(DataError, match="exists already"):
            make(out, rgb=rgb, folds=folds, seed=1)
    make(out, rgb=rgb, folds=folds)
    assert contents(out) == contents(tmp_path / "whole")
    assert "rejected.csv" in contents(out)
    with pytest.raises(DataError, match="exists already"):
        make(out, rgb=rgb, folds=folds)
