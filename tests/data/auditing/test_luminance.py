"""A "thermal" image that is a tone curve of a colour image is told from a real one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from cycada import images, thermal
from cycada.data import phantom
from cycada.data.auditing.looks import Seen
from cycada.data.auditing.luminance import audit_luminance, rank_correlation

Show = Callable[..., list[Seen]]


def named(rows: list[Seen], partners: list[Seen], column: str) -> list[Seen]:
    """Let each row name its partner, whose file lies below the same folder."""
    return [
        replace(one, face=replace(one.face, **{column: str(other.file.relative_to(one.root))}))
        for one, other in zip(rows, partners, strict=True)
    ]


def converted(rgb: Tensor) -> Tensor:
    """Return temperatures made of the luminance: dark is warm, by a curve."""
    share = images.with_channels(rgb.float(), 1) / 255
    return thermal.counts_from_celsius(36 - 8 * share**0.6, "centikelvin")


def counts(pair: phantom.Pair) -> Tensor:
    return thermal.counts_from_celsius(pair.celsius[:, None], "centikelvin")


def test_ranks_correlate_as_scipy_says_also_with_ties() -> None:
    draw = torch.Generator().manual_seed(0)
    one = torch.randint(0, 9, (1, 20, 20), generator=draw).float()
    for other in (torch.rand(1, 20, 20, generator=draw), (one - 4) ** 2, one.exp(), -one):
        expected = spearmanr(one.flatten(), other.flatten()).statistic
        assert rank_correlation(one, other) == pytest.approx(expected, abs=1e-9)
    assert rank_correlation(one, torch.zeros(1, 20, 20)) == 0


def test_true_pairs_are_sound(show: Show, pair: phantom.Pair, tmp_path: Path) -> None:
    rgb = show(tmp_path, pair.rgb, domain="rgb")
    warm = show(tmp_path, counts(pair), unit="centikelvin")
    for column in ("pair", "origin"):
        assert audit_luminance([*rgb, *named(warm, rgb, column)]) == []
    assert audit_luminance([*named(rgb, warm, "pair"), *warm]) == []


@pytest.mark.parametrize(("column", "severity"), [("pair", "error"), ("origin", "warning")])
def test_named_pairs_of_luminance_are_found(
    show: Show, pair: phantom.Pair, tmp_path: Path, column: str, severity: str
) -> None:
    rgb = show(tmp_path, pair.rgb, domain="rgb")
    warm = named(show(tmp_path, converted(pair.rgb), unit="centikelvin"), rgb, column)
    (found,) = audit_luminance([*rgb, *warm])
    assert (found.check, found.severity) == ("luminance", severity)
    assert "inverted" in found.text
    pictured = [example.files for example in found.examples]
    assert set(pictured) <= {(a.file, b.file) for a, b in zip(rgb, warm, strict=True)}
    three = named(warm[:3], rgb[:3], column)  # too few to be sure, but equal pictures
    others = [replace(one, face=replace(one.face, pair="", origin="")) for one in warm[3:]]
    assert "inverted" in audit_luminance([*rgb, *three, *others])[0].text


def test_pictures_that_are_in_both_domains_are_found_without_pairs(
    show: Show, pair: phantom.Pair, tmp_path: Path
) -> None:
    rgb = show(tmp_path, pair.rgb, domain="rgb")
    made = counts(pair)
    made[3], made[8] = converted(pair.rgb[3]), converted(pair.rgb[8].flip(-1))
    warm = show(tmp_path, made, unit="centikelvin")
    (found,) = audit_luminance([*rgb, *warm])
    assert found.severity == "error"
    assert found.text.startswith("2 of 12 thermal images are the luminance of a colour image")
    pictured = {frozenset(example.files) for example in found.examples}
    assert pictured == {frozenset((rgb[n].file, warm[n].file)) for n in (3, 8)}


def test_one_file_in_both_domains_is_found_whatever_its_size(show: Show, tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    small = torch.randint(0, 255, (2, 1, 20, 20), generator=draw).to(torch.uint8)
    rgb = show(tmp_path, small, domain="rgb")
    (found,) = audit_luminance([*rgb, *show(tmp_path, small[1:])])
    assert found.text.startswith("1 of 1 thermal images")


def test_converted_faces_of_other_people_are_found_by_their_mean(
    show: Show, pair: phantom.Pair, tmp_path: Path
) -> None:
    draw = torch.Generator().manual_seed(1)

    def crowd(faces: Tensor) -> list[Tensor]:
        """Return 30 faces, each a mixture of six; all have something of the first of them."""
        shares = torch.rand(30, 6, generator=draw) ** 3
        shares[:, 0] += 0.4
        mixed = torch.einsum("nf,fchw->nchw", shares / shares.sum(1, keepdim=True), faces)
        return list(images.resize(mixed, 40))  # too small to be compared one by one

    colour = crowd(pair.rgb[:6].float())
    rgb = show(tmp_path, [face.to(torch.uint8) for face in colour], domain="rgb")
    true = [
        thermal.counts_from_celsius(heat, "centikelvin") for heat in crowd(pair.celsius[6:, None])
    ]
    assert audit_luminance([*rgb, *show(tmp_path, true, unit="centikelvin")]) == []
    others = crowd(pair.rgb[:6].float())
    made = show(tmp_path / "made", [converted(face) for face in others], unit="centikelvin")
    (found,) = audit_luminance([*rgb, *made])
    assert (found.check, found.severity) == ("luminance", "warning")
    assert "their mean is the mean colour image, inverted" in found.text
    assert audit_luminance([*rgb, *made[:29]]) == []  # too few for a mean
    grey = [images.with_channels(face, 1).to(torch.uint8) for face in colour]
    # Images in grey, such as digits, may well have one mean.
    assert audit_luminance([*show(tmp_path / "grey", grey, domain="rgb"), *made]) == []
