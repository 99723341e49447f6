"""Contrast stretched frame by frame is told from a fixed window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cycada import images, thermal
from cycada.data.auditing.looks import Seen
from cycada.data.auditing.sequences import audit_sequences, in_unison
from cycada.thermal import Unit, Window

Show = Callable[..., list[Seen]]


def windowed(video: Tensor, low: float, high: float) -> Tensor:
    shown = thermal.to_signed(video[:, None], Window(low, high))
    return images.from_signed(shown, dtype=torch.uint8)


def stretched(video: Tensor, share: float = 0.0) -> Tensor:
    flat = video.flatten(1)
    low, high = (flat.quantile(at, dim=1)[:, None, None, None] for at in (share, 1 - share))
    return (((video[:, None] - low) / (high - low)).clamp(0, 1) * 255).round().to(torch.uint8)


def seen(show: Show, root: Path, frames: Tensor, unit: Unit = "grey", **given: str) -> list[Seen]:
    return show(root, list(frames), unit=unit, subjects=["a"] * len(frames), sequence="s", **given)


def test_temperatures_and_fixed_windows_are_sound(
    show: Show, video: Tensor, tmp_path: Path
) -> None:
    counts = thermal.counts_from_celsius(video[:, None], "centikelvin")
    assert audit_sequences(seen(show, tmp_path / "raw", counts, "centikelvin")) == []
    for low, high in ((20, 40), (28, 37), (28, 34), (25, 30)):
        root = tmp_path / f"{low}"
        assert audit_sequences(seen(show, root, windowed(video, low, high))) == []


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05])
def test_a_stretch_of_each_frame_is_found(
    show: Show, video: Tensor, tmp_path: Path, share: float
) -> None:
    (found,) = audit_sequences(seen(show, tmp_path, stretched(video, share)))
    assert (found.check, found.severity) == ("stretch", "warning")
    assert "1 of 1 sequences was stretched frame by frame (s of a)" in found.text
    assert len(found.examples[0].files) == 4


def test_a_stretch_that_claims_temperatures_is_an_error(
    show: Show, video: Tensor, tmp_path: Path
) -> None:
    counts = (stretched(video).to(torch.int32) * 4 + 30000).to(torch.uint16)
    (found,) = audit_sequences(seen(show, tmp_path, counts, "centikelvin"))
    assert found.severity == "error"
    assert "cannot count centikelvin" in found.text


def test_single_faces_are_no_sequence(show: Show, video: Tensor, tmp_path: Path) -> None:
    frames = stretched(video)
    assert audit_sequences(show(tmp_path / "a", list(frames), subjects=["a"] * 24)) == []
    assert audit_sequences(seen(show, tmp_path / "b", frames[:7])) == []


def test_unison_is_how_much_better_a_line_explains_two_frames() -> None:
    draw = np.random.default_rng(0)
    scene = draw.uniform(20, 35, 1024)
    still = [scene + draw.normal(0, 0.05, 1024) for _ in range(7)]
    assert in_unison(still) == pytest.approx(1, abs=0.03)
    gains = 1 + 0.02 * np.arange(7) * (-1) ** np.arange(7)
    pumped = [gain * (frame - 20) + 20 for gain, frame in zip(gains, still, strict=True)]
    assert (in_unison(pumped) or 0) > 5
    # A third of the cells that move for themselves change nothing of that.
    for frame in pumped:
        frame[:340] = draw.permutation(scene[:340]) * 0.1 + frame[:340] * 0.9
    assert (in_unison(pumped) or 0) > 3
    assert in_unison([draw.uniform(20, 35, 1024) for _ in range(7)]) is None  # no two alike
    assert in_unison(still[:5]) is None  # four pairs
