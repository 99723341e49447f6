"""Each fault of a single file has its name, and the sentence says which files have it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cycada import images, thermal
from cycada.data import phantom
from cycada.data.auditing.files import audit_files
from cycada.data.auditing.finding import Finding
from cycada.data.auditing.looks import Seen, look_at
from cycada.thermal import Unit, Window

Show = Callable[..., list[Seen]]


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, found
    return found[0]


@pytest.fixture
def counts(pair: phantom.Pair) -> Tensor:
    return thermal.counts_from_celsius(pair.celsius[:, None], "centikelvin")


@pytest.fixture
def grey(pair: phantom.Pair) -> Tensor:
    shown = thermal.to_signed(pair.celsius[:, None], Window())
    return images.from_signed(shown, dtype=torch.uint8)


def with_one(pictures: Tensor, other: Tensor) -> list[Tensor]:
    return [*pictures[:4], other, *pictures[5:]]


def test_sound_files_of_every_unit_and_depth(
    show: Show, pair: phantom.Pair, grey: Tensor, tmp_path: Path
) -> None:
    units: tuple[Unit, ...] = ("centikelvin", "decikelvin", "kelvin64", "kelvin16", "kelvin")
    for unit in units:
        pictures = thermal.counts_from_celsius(pair.celsius[:, None], unit)
        assert audit_files(show(tmp_path / unit, pictures, unit=unit, suffix="tiff")) == []
    warm = show(tmp_path / "celsius", pair.celsius[:, None], unit="celsius", suffix="npy")
    assert audit_files(warm) == []
    assert audit_files(show(tmp_path / "grey", grey)) == []
    deep = (grey.int() * 200).to(torch.uint16)
    assert audit_files(show(tmp_path / "deep", deep)) == []
    assert audit_files(show(tmp_path / "rgb", pair.rgb, domain="rgb", suffix="jpg")) == []


def test_missing_and_broken_files_are_named_with_the_reason(
    show: Show, counts: Tensor, tmp_path: Path
) -> None:
    rows = show(tmp_path, counts, unit="centikelvin")
    cut, none, gone = (rows[number].file for number in (3, 4, 5))
    cut.write_bytes(cut.read_bytes()[:2000])
    none.write_bytes(b"")
    gone.unlink()
    rows = [replace(one, look=look_at(one.file)) for one in rows]
    corrupt, missing = sorted(audit_files(rows), key=lambda finding: finding.check)
    assert (corrupt.check, corrupt.severity) == ("corrupt", "error")
    assert "2 of 12 cannot be read" in corrupt.text
    assert f"{cut} (cannot be read as an image (image file is truncated" in corrupt.text
    assert str(none) in corrupt.text
    assert [example.files for example in corrupt.examples] == [(cut,), (none,)]
    assert (missing.check, missing.severity) == ("missing", "error")
    assert f"1 of 12 are missing ({gone})" in missing.text
    assert missing.splits == {rows[5].face.split}


@pytest.mark.parametrize(
    ("check", "word", "make"),
    [
        ("palette", "are in colour", lambda grey: torch.cat([grey, grey // 2, 255 - grey])),
        ("depth", "8-bit images, which cannot count centikelvin", lambda grey: grey),
        ("depth", "values from 0 to 255 in files of 16", lambda grey: grey.to(torch.uint16)),
    ],
)
def test_values_that_are_no_temperatures(
    show: Show, counts: Tensor, grey: Tensor, tmp_path: Path, check: str, word: str,
    make: Callable[[Tensor], Tensor],
) -> None:  # fmt: skip
    rows = show(tmp_path, with_one(counts, make(grey[4])), unit="centikelvin")
    found = only(audit_files(rows))
    assert (found.check, found.severity) == (check, "error")
    assert "1 of 12" in found.text
    assert word in found.text
    assert found.examples[0].files == (rows[4].file,)


def test_another_unit_is_told_by_the_values(
    show: Show, pair: phantom.Pair, counts: Tensor, tmp_path: Path
) -> None:
    other = thermal.counts_from_celsius(pair.celsius[4][None], "kelvin64")
    found = only(audit_files(show(tmp_path / "a", with_one(counts, other), unit="centikelvin")))
    assert (found.check, found.severity) == ("unit", "error")
    assert "their values look like kelvin64" in found.text
    raw = (counts.int() - 20000).to(torch.uint16)
    found = only(audit_files(show(tmp_path / "b", raw, unit="centikelvin")))
    assert "12 of 12" in found.text
    assert "scale raw counts" in found.text


def test_floats_without_a_unit_and_ones_for_white(
    show: Show, pair: phantom.Pair, grey: Tensor, tmp_path: Path
) -> None:
    floats = pair.celsius[:, None]
    found = only(audit_files(show(tmp_path / "a", floats, suffix="tiff")))
    assert (found.check, found.severity) == ("depth", "error")
    assert "floats" in found.text
    assert "floats" in only(audit_files(show(tmp_path / "b", floats, domain="rgb",
                                             suffix="tiff"))).text  # fmt: skip
    ones = (grey > 128).to(torch.uint8)
    assert "from 0 to 1 in 8 bits" in only(audit_files(show(tmp_path / "c", ones))).text


def test_blank_images_are_a_warning_until_they_are_most(
    show: Show, counts: Tensor, tmp_path: Path
) -> None:
    draw = torch.Generator().manual_seed(0)
    shutter = 30000 + 5 * torch.randn(1, 64, 64, generator=draw)  # and its noise of 0.05 K
    closed = shutter.round().to(torch.int32).to(torch.uint16)
    for blank, severity in ((1, "warning"), (6, "warning"), (7, "error")):
        pictures = [closed] * blank + list(counts[blank:])
        found = only(audit_files(show(tmp_path / str(blank), pictures, unit="centikelvin")))
        assert (found.check, found.severity) == ("blank", severity)
        assert f"{blank} of 12 show nothing" in found.text
    flat = torch.full((3, 20, 20), 5, dtype=torch.uint8)
    flat[0, 0, 0] = 6
    found = only(audit_files(show(tmp_path / "rgb", [flat], domain="rgb")))
    assert found.check == "blank"


def test_grey_in_three_channels_is_a_note(show: Show, grey: Tensor, tmp_path: Path) -> None:
    found = only(audit_files(show(tmp_path, grey.expand(-1, 3, -1, -1), suffix="jpg")))
    assert (found.check, found.severity) == ("palette", "note")
    assert "12 of 12 are grey in three channels" in found.text


def test_each_set_is_told_of_for_itself(show: Show, grey: Tensor, tmp_path: Path) -> None:
    blank = torch.zeros(1, 64, 64, dtype=torch.uint8)
    rows = show(tmp_path / "a", with_one(grey, blank)) + show(tmp_path / "b", with_one(grey, blank))
    found = audit_files(rows)
    assert [str(tmp_path / name) in finding.text for name, finding in zip("ab", found, strict=True)]
    assert [finding.examples[0].files[0] for finding in found] == [rows[4].file, rows[16].file]
