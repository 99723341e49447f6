"""Pictures that are there twice are found, faces that are only alike are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter
from torch import Tensor

from cycada import images, thermal
from cycada.data import phantom
from cycada.data.auditing import alike
from cycada.data.auditing.alike import comparable, same_pictures
from cycada.data.auditing.duplicates import audit_duplicates
from cycada.data.auditing.looks import Seen, cells_of

Show = Callable[..., list[Seen]]


def moved(one: Seen, **changes: object) -> Seen:
    return replace(one, face=replace(one.face, **changes))  # type: ignore[arg-type]


def changed(picture: Tensor, how: str) -> Tensor:
    values = picture.float()
    made = {
        "mirrored": lambda: values.flip(-1),
        "resized": lambda: images.resize(values, 96),
        "paler": lambda: 0.6 * values + 70,
        "gamma": lambda: 255 * (values / 255) ** 0.6,
        "in grey": lambda: images.with_channels(values, 1).expand(3, -1, -1),
        "noisy": lambda: values + 3 * torch.randn(values.shape),
    }[how]()
    return made.clamp(0, 255).round().to(torch.uint8)


@pytest.mark.parametrize("how", ["mirrored", "resized", "paler", "gamma", "in grey", "noisy"])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_changed_copies_in_another_split_are_found_but_not_other_faces(
    show: Show, pair: phantom.Pair, tmp_path: Path, how: str, suffix: str
) -> None:
    faces = [moved(one, split="train") for one in show(tmp_path / "a", pair.rgb, domain="rgb")]
    copies = show(
        tmp_path / "b", [changed(pair.rgb[n], how) for n in (2, 5)], domain="rgb", suffix=suffix,
        subjects=["other", "another"],
    )  # fmt: skip
    copies = [moved(one, split="test") for one in copies]
    (found,) = audit_duplicates([*faces, *copies])
    assert (found.check, found.severity) == ("near duplicates", "warning")
    assert found.text.startswith("2 rgb pictures are nearly the same in two splits")
    pictured = {frozenset(example.files) for example in found.examples}
    assert pictured == {
        frozenset((faces[2].file, copies[0].file)), frozenset((faces[5].file, copies[1].file)),
    }  # fmt: skip
    assert ("mirrored" in found.examples[0].reason) == (how == "mirrored")
    assert found.splits == {"train", "test"}
    # In one split, frames may be as alike as they like; so may those of one person.
    assert audit_duplicates([moved(one, split="train") for one in (*faces, *copies)]) == []
    same = [moved(one, subject="one") for one in (faces[2], copies[0])]
    assert audit_duplicates(same) == []


def test_different_people_are_never_near(show: Show, pair: phantom.Pair, tmp_path: Path) -> None:
    counts = thermal.counts_from_celsius(pair.celsius[:, None], "centikelvin")
    rows = show(tmp_path / "a", pair.rgb, domain="rgb") + show(
        tmp_path / "b", counts, unit="centikelvin"
    )
    assert audit_duplicates(rows) == []


def test_equal_pixels_are_errors_across_splits_and_across_names(
    show: Show, pair: phantom.Pair, tmp_path: Path
) -> None:
    pictures = [*pair.rgb[:4], pair.rgb[0]]
    rows = show(tmp_path, pictures, domain="rgb", suffix="png")
    first, last = rows[0], rows[4]
    assert first.look.digest == last.look.digest
    assert (first.face.split, last.face.split) == ("train", "val")
    (found,) = audit_duplicates(rows)
    assert (found.check, found.severity) == ("duplicates", "error")
    assert first.place in found.text
    assert last.place in found.text
    (found,) = audit_duplicates([*rows[:4], moved(last, split="train")])
    assert (found.check, found.severity) == ("names", "error")
    # One person's picture may be there twice in one split, and one file in two indexes.
    assert audit_duplicates([*rows[:4], moved(last, split="train", subject="rgb 0")]) == []
    assert audit_duplicates([*rows[:4], first]) == []


def test_small_and_blank_images_are_not_compared(show: Show, tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    small = torch.randint(0, 255, (1, 40, 60), generator=draw).to(torch.uint8)
    blank = torch.full((1, 64, 64), 7, dtype=torch.uint8)
    rows = show(tmp_path, [small, small.flip(-1), blank, blank])
    assert comparable(rows) == []
    assert audit_duplicates(rows) == []


def test_the_nearest_of_others_is_that_of_all_pairs_looked_at_one_by_one(
    show: Show, pair: phantom.Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alike, "CANDIDATE", -1.0)
    monkeypatch.setattr(alike, "ALIKE", -1.0)
    monkeypatch.setattr(alike, "_ROWS", 3)
    rows = show(tmp_path, pair.rgb, domain="rgb")
    ones, others = rows[:7], rows[7:]

    def likeness(one: Seen, other: Seen, *, mirrored: bool) -> float:
        pictures = [torch.from_numpy(cells_of(each.look)).double() for each in (one, other)]
        if mirrored:
            pictures[1] = pictures[1].flip(-1)
        inside = uniform_filter(np.ones((32, 32)), 5, mode="constant")
        smooth = [uniform_filter(p.numpy(), 5, mode="constant") / inside for p in pictures]
        found = [p.flatten().numpy() - s.flatten() for p, s in zip(pictures, smooth, strict=True)]
        return float(np.corrcoef(*found)[0, 1])

    expected = {
        one.file: max(
            (likeness(one, other, mirrored=mirrored), other.file, mirrored)
            for other in others
            for mirrored in (False, True)
        )
        for one in ones
    }
    found = list(alike._candidates(ones, others, inverted=False))
    assert len(found) == len(ones)
    for match in found:
        strength, file, mirrored = expected[match.one.file]
        assert match.likeness == pytest.approx(strength, abs=1e-4)
        assert (match.other.file, match.mirrored) == (file, mirrored)
    assert len(same_pictures(ones, others)) == len(ones)


def test_of_very_many_images_as_many_in_even_steps_are_compared(
    show: Show, pair: phantom.Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alike, "MOST", 4)
    monkeypatch.setattr("cycada.data.auditing.duplicates.MOST", 4)
    rows = show(tmp_path, pair.rgb, domain="rgb")
    assert [one.face.frame for one in comparable(rows)] == [0, 3, 7, 11]
    (found,) = audit_duplicates(rows)
    assert found.severity == "note"
    assert "of 12 images, 4" in found.text
