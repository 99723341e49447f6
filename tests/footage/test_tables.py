from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cycada.errors import DataError
from cycada.footage import ReadOptions, find_sources, open_footage

HEAD = """File:;C:\\IR\\FLIR0031.jpg
Emissivity:;0,95
Refl. temp.:;20,0 \N{DEGREE SIGN}C

"""


def celsius() -> NDArray[np.float64]:
    """Return deg C with two decimals, 9 rows of 12."""
    return np.round(24 + np.arange(108).reshape(9, 12) * 0.11, 2)


def lines(separator: str, decimal: str = ".", end: str = "") -> str:
    rows = (
        separator.join(f"{value:.2f}".replace(".", decimal) for value in row) + end
        for row in celsius()
    )
    return "\n".join(rows) + "\n"


def read(file: Path) -> NDArray[np.float32]:
    footage = open_footage(file)
    assert (footage.unit, footage.count) == ("celsius", 1)
    (frame,) = footage.frames()
    found: NDArray[np.float32] = frame.image[0].numpy()
    return found


@pytest.mark.parametrize(
    ("separator", "decimal"),
    [(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ","), (" ", "."), ("; ", ",")],
)
def test_a_map_is_read_with_every_separator(tmp_path: Path, separator: str, decimal: str) -> None:
    (tmp_path / "a.csv").write_text(lines(separator, decimal))
    np.testing.assert_array_equal(read(tmp_path / "a.csv"), celsius().astype(np.float32))


def test_quoted_decimal_commas_between_commas_are_read(tmp_path: Path) -> None:
    quoted = "\n".join(
        ",".join('"' + f"{value:.2f}".replace(".", ",") + '"' for value in row) for row in celsius()
    )
    (tmp_path / "a.csv").write_text(quoted)
    np.testing.assert_array_equal(read(tmp_path / "a.csv"), celsius().astype(np.float32))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_before_the_map_are_left_out_with_a_note(
    tmp_path: Path, encoding: str, newline: str
) -> None:
    text = (HEAD + lines(";", ",", end=";")).replace("\n", newline)
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    np.testing.assert_array_equal(read(tmp_path / "a.csv"), celsius().astype(np.float32))
    notes = open_footage(tmp_path / "a.csv").notes
    assert notes[0] == "temperature map of 12 x 9 numbers separated by semicolons"
    assert notes[1].startswith("3 lines before the map left out, 'File:;C:")


def test_a_row_and_a_column_that_only_count_are_left_out(tmp_path: Path) -> None:
    rows = [";" + ";".join(str(i) for i in range(1, 13))]
    rows += [f"{i + 1};" + line for i, line in enumerate(lines(";").splitlines())]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    np.testing.assert_array_equal(read(tmp_path / "a.csv"), celsius().astype(np.float32))
    labelled = [f"Row {i};" + line for i, line in enumerate(lines(";").splitlines())]
    (tmp_path / "b.csv").write_text("\n".join(labelled))
    np.testing.assert_array_equal(read(tmp_path / "b.csv"), celsius().astype(np.float32))


def test_kelvin_is_told_by_the_median(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "a.csv", celsius() + 273.15, delimiter=",", fmt="%.2f")
    assert open_footage(tmp_path / "a.csv").unit == "kelvin"


def test_counts_in_text_are_counts(tmp_path: Path) -> None:
    counts = np.round((celsius() + 273.15) * 100).astype(int)
    np.savetxt(tmp_path / "a.csv", counts, delimiter=",", fmt="%d")
    footage = open_footage(tmp_path / "a.csv")
    assert footage.unit == "centikelvin"
    assert next(footage.frames()).image[0].tolist() == counts.tolist()


def test_decimal_commas_that_pass_for_separators_are_not_taken_for_temperatures(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.csv").write_text(lines(",", ","))  # 24,00,24,11,...
    with pytest.raises(DataError, match="does not tell the unit"):
        open_footage(tmp_path / "a.csv")


NAMED = ",".join(f"AU{i:02d}" for i in range(12)) + "\n" + lines(",")
FEW = "\n".join(lines(",").splitlines()[:5])
TALL = "\n".join(";".join(f"{24 + (12 * y + x) * 0.11:.2f}" for x in range(12)) for y in range(12))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no temperature map"),
        ("path,subject\na.png,F001\n", "holds no temperature map"),
        (FEW, "holds no temperature map, that is 8 or more rows"),
        (NAMED, r"names its columns in line 1, so it is a table"),
        ("Unit;\N{DEGREE SIGN}F\n" + lines(";"), "is in Fahrenheit; export deg C"),
        ("Units: F\n" + lines(";"), "is in Fahrenheit"),
        ("Temperature (F)\n" + lines(";"), "is in Fahrenheit"),
        ("Temp. / F\n" + lines(";"), "is in Fahrenheit"),
        ("in degF\n" + lines(";"), "is in Fahrenheit"),
        ("in \N{DEGREE FAHRENHEIT}\n" + lines(";"), "is in Fahrenheit"),
        (lines(";") + "\nUnit: Fahrenheit\n", "is in Fahrenheit"),
        (TALL.replace("25.43", "---"), "line 2 holds 11 numbers and is no row of the map of 12"),
        (TALL.replace("25.43", ""), "line 2 holds 11 numbers and is no row of the map of 12"),
        (TALL.replace("25.32", "---"), "line 2 holds 11 numbers"),
        (TALL.replace("37.20", ">150"), "line 11 holds 11 numbers"),
        (TALL[:-56], "line 12 holds 3 numbers"),
        ("\n".join(f"---;{line}" for line in TALL.splitlines()), "holds no temperature map"),
        (lines(";") + "\n" + lines(";"), "holds 2 maps of 12 columns, from the lines 1, 11"),
        (lines(";").replace("24.11", "nan"), "not finite numbers"),
        ("\n".join(["-5,-3,-2,0,1,2,4,5"] * 9), "values from -5 to 5"),
    ],
)
def test_a_file_that_is_no_map_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        open_footage(tmp_path / "a.csv")
    assert "a.csv" in str(caught.value)


def test_maps_are_told_from_other_tables_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text(HEAD + lines(";", ","), encoding="utf-8")
    (tmp_path / "labels.csv").write_text(NAMED)
    codes = np.random.default_rng(0).integers(0, 2, (30, 20))
    np.savetxt(tmp_path / "bp4d.csv", codes, delimiter=",", fmt="%d")
    np.savetxt(tmp_path / "scores.csv", codes * 0.37, delimiter=",", fmt="%.3f")
    assert find_sources(tmp_path).images == (tmp_path / "map.csv",)


@pytest.mark.parametrize(
    "text",
    [
        lines(";").replace("2", "1"),  # a median of 18.4
        "\n".join(";".join(f"{value:.1f}" for value in row) for row in celsius() - 17),
        "\n".join(";".join(f"{value:.0f}" for value in row) for row in celsius() * 100 + 27315),
        "Unit: F\n" + lines(";"),
        TALL.replace("25.43", ""),
    ],
    ids=["warm", "cold", "counts", "fahrenheit", "incomplete"],
)
def test_no_map_in_a_folder_is_passed_over_without_a_word(tmp_path: Path, text: str) -> None:
    (tmp_path / "map.csv").write_text(text, encoding="utf-8")
    assert find_sources(tmp_path).images == (tmp_path / "map.csv",)


@pytest.mark.parametrize("first", ["", "Row "])
@pytest.mark.parametrize("step", [1, 10, 0.5])
def test_places_of_rows_and_columns_are_no_pixels(tmp_path: Path, first: str, step: float) -> None:
    places = ";" + ";".join(f"{step * i:g}" for i in range(12))
    rows = [f"{first}{step * i:g};{line}" for i, line in enumerate(lines(";").splitlines())]
    (tmp_path / "a.csv").write_text("\n".join([places, *rows]))
    np.testing.assert_array_equal(read(tmp_path / "a.csv"), celsius().astype(np.float32))


def test_a_map_is_no_rgb_image(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(lines(";"))
    with pytest.raises(DataError, match="is a thermal file, not an RGB one"):
        open_footage(tmp_path / "a.csv", ReadOptions(domain="rgb"))
