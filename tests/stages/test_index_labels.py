"""``cycada index`` with the labels of corpora and programs, from the command to the index."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click
import pytest
import torch
from click.testing import CliRunner, Result

from cycada.cli import main
from cycada.cli.index import index as command
from cycada.data.index import Index, read_index
from cycada.data.index_checks import check_disjoint
from cycada.data.label_table import LabelKind
from cycada.data.labels import ANY_LAYOUT
from cycada.errors import DataError
from cycada.image_writing import write_image

# The lists of the published folds begin with these.
DISFA = ("SN002", "SN010", "SN013", "SN018", "SN003", "SN029")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["index", *map(str, arguments)])


def done(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def images(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        pixels = torch.full((3, 4, 4), number % 256, dtype=torch.uint8)
        write_image(folder / name, pixels)
    return folder


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.fixture
def disfa(tmp_path: Path) -> Path:
    """Return DISFA's folder of labels for six subjects; frame n has AU12 = n, AU01 = 5 - n."""
    for subject in DISFA:
        for unit, values in ((1, (4, 3, 2)), (12, (1, 2, 3)), (25, (0, 0, 0))):
            lines = "".join(f"{frame},{value}\n" for frame, value in enumerate(values, start=1))
            write(tmp_path / "labels" / subject / f"{subject}_au{unit}.txt", lines)
    return tmp_path / "labels"


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Return the frames of the same subjects, taken from the videos with numbers from 0."""
    names = [f"{subject}/{frame}.png" for subject in DISFA for frame in range(3)]
    return images(tmp_path / "frames", *names)


def units(index: Index) -> dict[str, dict[int, float]]:
    return {face.path.rsplit("frames/")[-1]: dict(face.action_units) for face in index.faces}


def test_disfa_is_recognised_and_its_frames_brought_together(
    tmp_path: Path, disfa: Path, frames: Path
) -> None:
    said = done("--rgb", frames, "--labels", disfa, "--out", tmp_path / "index")
    assert "18 files recognised as DISFA, for the name SN002_au1.txt" in said
    assert "rgb images count from 0, labels from 1: label 1 belongs to frame 0." in said
    read = read_index(tmp_path / "index")
    assert (read.info.kind, read.info.threshold) == ("intensity", 2)
    for subject in DISFA:
        for frame in range(3):
            known = {1: 4 - frame, 12: 1 + frame, 25: 0}
            assert units(read)[f"{subject}/{frame}.png"] == known
    assert read.occurrences([12])[0].flatten().tolist() == [0, 1, 1] * 6


def test_a_frame_offset_is_taken_at_its_word(tmp_path: Path, disfa: Path, frames: Path) -> None:
    said = done(
        *("--rgb", frames, "--labels", disfa, "--out", tmp_path / "index", "--frame-offset", 0)
    )
    assert "label 1 belongs to frame 1 of the rgb images, as --frame-offset says." in said
    read = read_index(tmp_path / "index")
    assert units(read)["SN002/0.png"] == {}
    assert units(read)["SN002/1.png"] == {1: 4, 12: 1, 25: 0}


def test_published_folds_become_three_indexes(tmp_path: Path, disfa: Path, frames: Path) -> None:
    out = tmp_path / "folds"
    arguments = ("--rgb", frames, "--labels", disfa, "--folds", "disfa", "--out", out)
    said = done(*arguments)
    assert "fold-1 tests part 3 of DISFA, 2 subjects; 3 train, 1 validate." in said
    tested = []
    for number in (1, 2, 3):
        read = read_index(out / f"fold-{number}")
        tested.append(read.select(split="test").subjects())
        assert len(read.faces) == 18
        assert read.subjects() == {*DISFA}
        assert all(read.file(face).is_file() for face in read.faces)
        assert units(read)["SN002/0.png"] == {1: 4, 12: 1, 25: 0}
    assert tested == [{"SN003", "SN029"}, {"SN013", "SN018"}, {"SN002", "SN010"}]
    assert not (out / "index.csv").exists()
    assert "fold-1/index.csv: exists already" in run(*arguments).output
    done(*arguments, "--overwrite")


def test_folds_of_another_number_do_not_mix_with_the_old_ones(tmp_path: Path, frames: Path) -> None:
    out = tmp_path / "folds"
    done("--rgb", frames, "--folds", 3, "--out", out)
    assert [read_index(out / f"fold-{n}").select(split="test").subjects() for n in (1, 2, 3)]
    result = run("--rgb", frames, "--folds", 2, "--out", out, "--overwrite")
    assert result.exit_code == 1
    assert "fold-3: is of other folds than these 2; remove it" in result.output


def test_a_subject_that_the_folds_do_not_know_stops_the_command(
    tmp_path: Path, frames: Path
) -> None:
    images(frames, "SN099/1.png")
    result = run("--rgb", frames, "--folds", "disfa", "--out", tmp_path / "folds")
    assert result.exit_code == 1
    assert "'SN099' is in none of the published parts" in result.output
    assert not (tmp_path / "folds").exists()


@pytest.fixture
def bp4d(tmp_path: Path) -> Path:
    """Return BP4D's folder of labels, beside images of it that are among the frames."""
    images(tmp_path / "frames", *(f"F00{n}/T1/{frame}.png" for n in (1, 2) for frame in (7, 8)))
    for number in (1, 2):
        write(tmp_path / "AU_OCC" / f"F00{number}_T1.csv", "0,1,7,12\n7,1,9,0\n8,0,1,1\n")
    return tmp_path / "AU_OCC"


def test_corpora_of_two_kinds_meet_only_as_occurrences(
    tmp_path: Path, disfa: Path, frames: Path, bp4d: Path
) -> None:
    arguments = ("--rgb", frames, "--labels", disfa, "--labels", bp4d, "--out", tmp_path / "index")
    result = run(*arguments)
    assert result.exit_code == 1
    assert "AU_OCC holds occurrences but" in result.output
    assert not (tmp_path / "index").exists()
    said = done(*arguments, "--kind", "occurrence", "--threshold", 3)
    assert "intensities from 3 on became occurrences: 18 of 54 AU values are present." in said
    read = read_index(tmp_path / "index")
    found = units(read)
    assert found["SN002/0.png"] == {1: 1, 12: 0, 25: 0}
    assert found["SN002/2.png"] == {1: 0, 12: 1, 25: 0}
    assert found["F001/T1/7.png"] == {1: 1, 12: 0}
    assert found["F001/T1/8.png"] == {1: 0, 7: 1, 12: 1}
    assert read.action_units() == (1, 7, 12, 25)
    _, known = read.occurrences([7])
    assert known.sum() == 2
    assert (read.info.kind, read.info.intensity_threshold) == ("occurrence", 3)
    written = (tmp_path / "index" / "index.toml").read_text().splitlines()
    assert written[:2] == [
        'kind = "occurrence"',
        "intensity_threshold = 3.0  # from here on it became occurrence",
    ]


OPENFACE = "frame, confidence, success, AU01_r, AU01_c\n1, 1, 1, 4.5, 0\n2, 1, 0, 0, 1\n"


def test_openface_is_matched_by_folder_in_both_domains(tmp_path: Path) -> None:
    names = [
        f"s{number}/clip{number}_aligned/{frame}.png" for number in range(3) for frame in (1, 2)
    ]
    rgb, thermal = (images(tmp_path / name, *names) for name in ("rgb", "thermal"))
    for number in range(3):
        write(tmp_path / "of" / f"clip{number}.csv", OPENFACE)
    out = tmp_path / "index"
    said = done("--rgb", rgb, "--thermal", thermal, "--labels", tmp_path / "of", "--out", out)
    assert "occurrences by a program (OpenFace), not by FACS coders" in said
    assert "3 frame(s) without a face are not annotated" in said
    read = read_index(out)
    assert read.info.kind == "occurrence"
    assert {(face.domain, face.frame): dict(face.action_units) for face in read.faces} == {
        ("rgb", 1): {1: 0},
        ("rgb", 2): {},
        ("thermal", 1): {1: 0},
        ("thermal", 2): {},
    }


def test_probabilities_stay_what_they_are_with_a_threshold_of_their_own(tmp_path: Path) -> None:
    names = [f"s{number}/{frame}.png" for number in range(4) for frame in range(2)]
    rgb = images(tmp_path / "rgb", *names)
    lines = [f"9,.9,{0.4 + 0.2 * (n % 2)},/far/away/{name}" for n, name in enumerate(names)]
    fex = write(tmp_path / "fex.csv", "\n".join(["FaceRectX,FaceScore,AU12,input", *lines]))
    done("--rgb", rgb, "--labels", fex, "--out", tmp_path / "a")
    read = read_index(tmp_path / "a")
    assert (read.info.kind, read.info.threshold) == ("probability", 0.5)
    assert 'kind = "probability"\nthreshold = 0.5  # probability from which' in (
        (tmp_path / "a" / "index.toml").read_text()
    )
    assert read.occurrences([12])[0].flatten().tolist() == [0, 1] * 4
    assert {face.action_units[12] for face in read.faces} == {0.4, 0.6000000000000001}
    done("--rgb", rgb, "--labels", fex, "--out", tmp_path / "b", "--kind", "occurrence")
    read = read_index(tmp_path / "b")
    assert (read.info.kind, read.info.probability_threshold) == ("occurrence", 0.5)
    assert [face.action_units[12] for face in read.faces] == [0, 1] * 4


def test_of_a_million_lines_those_of_the_images_are_kept(tmp_path: Path) -> None:
    names = [f"N_{number}" for number in (3, 5, 8)]
    rgb = images(tmp_path / "rgb", *(f"{name}/{name}.png" for name in names))
    values = "\t".join(["1", "0", *["999"] * 58])
    lines = [f"http://a.b/N_1/N_{n}.jpg\thttp://c.d/{n}\t{values}" for n in range(100)]
    table = write(tmp_path / "en" / "all.txt", "\n".join(lines))
    said = done("--rgb", rgb, "--labels", table, "--out", tmp_path / "index")
    assert "97 of 100 rows name no found image" in said
    read = read_index(tmp_path / "index")
    assert [dict(face.action_units) for face in read.faces] == [{1: 1, 2: 0}] * 3


def test_a_plain_table_of_intensities_becomes_occurrences_with_a_threshold(tmp_path: Path) -> None:
    rgb = images(tmp_path / "rgb", "a/1.png", "b/1.png", "c/1.png")
    table = write(tmp_path / "au.csv", "path,AU01\nrgb/a/1.png,3\nrgb/b/1.png,1\nrgb/c/1.png,\n")
    arguments = ("--rgb", rgb, "--labels", table, "--out", tmp_path / "index")
    result = run(*arguments, "--kind", "occurrence")
    assert (result.exit_code, "expected 0 or 1, found 3" in result.output) == (1, True)
    done(*arguments, "--kind", "occurrence", "--threshold", 2)
    read = read_index(tmp_path / "index")
    assert [dict(face.action_units) for face in read.faces] == [{1: 1}, {1: 0}, {}]


@pytest.mark.parametrize(
    "option",
    [("--format", "disfa"), ("--kind", "intensity"), ("--threshold", 3), ("--missing", 9),
     ("--frame-offset", 1)],
)  # fmt: skip
def test_options_for_labels_are_refused_without_any(
    tmp_path: Path, frames: Path, option: tuple[str, object]
) -> None:
    result = run("--rgb", frames, "--out", tmp_path / "index", *option)
    assert (result.exit_code, f"{option[0]} is for labels: give --labels." in result.output) == (
        2,
        True,
    )


def test_a_subject_of_disfa_plus_who_is_tested_on_in_disfa_is_caught(
    tmp_path: Path, disfa: Path, frames: Path
) -> None:
    names = [f"{subject}/A1_TrailNo_1/000.png" for subject in ("SN003", "SN004", "SN010")]
    plus = images(tmp_path / "plus", *names)
    for name in names:
        write(tmp_path / "Labels" / name.replace("000.png", "AU12.txt"), "# AU12\n000.jpg  4\n")
    done(
        *("--rgb", plus, "--labels", tmp_path / "Labels", "--out", tmp_path / "b"),
        *("--fractions", 1, 0, 0),
    )
    done(
        *("--rgb", frames, "--labels", disfa, "--folds", "disfa", "--out", tmp_path / "a"),
        *("--fractions", 1, 0, 0),
    )
    extra = read_index(tmp_path / "b")
    assert [face.action_units for face in extra.faces] == [{12: 4}] * 3
    for fold, subject in ((1, "SN003"), (3, "SN010")):
        with pytest.raises(DataError, match=f"subject '{subject}' is in the split 't"):
            check_disjoint([read_index(tmp_path / "a" / f"fold-{fold}"), extra])


def test_the_command_offers_every_layout_and_kind() -> None:
    choices = {
        option.name: option.type.choices
        for option in command.params
        if isinstance(option.type, click.Choice)
    }
    assert choices["layout"] == ANY_LAYOUT
    assert choices["kind"] == get_args(LabelKind)


def test_no_network_is_built_for_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an index needs no network")

    monkeypatch.setattr(torch.nn.Module, "__init__", refuse)
    rgb = images(tmp_path / "rgb", "a/1.png", "b/1.png", "c/1.png")
    labels = write(tmp_path / "RAFAU_label.txt", "1.jpg 1+L4\n")
    arguments = (
        "--rgb",
        rgb / "a",
        "--subject",
        "(1)",
        "--labels",
        labels,
        "--out",
        tmp_path / "i",
    )
    result = run(*arguments, "--fractions", 1, 0, 0)
    assert result.exit_code == 0, result.output
    assert [dict(face.action_units) for face in read_index(tmp_path / "i").faces] == [{1: 1, 4: 1}]
