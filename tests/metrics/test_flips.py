"""Counts of what becomes of AUs are those of counting face by face."""

from __future__ import annotations

import torch

from cycada.metrics.flips import FlipCounts


def test_counts_are_those_of_going_from_face_to_face() -> None:
    draw = torch.Generator().manual_seed(0)
    before = torch.rand(200, 4, generator=draw) < 0.4
    after = torch.rand(200, 4, generator=draw) < 0.4
    counts = FlipCounts(4)
    counts.add(before[:70], after[:70])
    counts.add(before[70:], after[70:])
    assert counts.faces == 200
    for one in range(4):
        shown = [n for n in range(200) if before[n, one]]
        assert counts.kept_share()[one] == sum(bool(after[n, one]) for n in shown) / len(shown)
        for other in range(4):
            became = [
                n for n in shown
                if not after[n, one] and not before[n, other] and after[n, other]
            ]  # fmt: skip
            assert counts.becomes_share()[one, other] == len(became) / len(shown)
            if one == other:
                continue
            lost = [n for n in shown if not after[n, one]]
            others = [n for n in range(200) if n not in lost and not before[n, other]]
            gained = [n for n in others if after[n, other]]
            assert counts.chance_share()[one, other] == len(gained) / len(others)


def test_an_au_that_no_face_shows_has_no_share() -> None:
    counts = FlipCounts(2)
    counts.add(torch.tensor([[True, False]]), torch.tensor([[False, True]]))
    assert counts.becomes_share()[0].tolist() == [0.0, 1.0]
    assert counts.becomes_share()[1].isnan().all()
