from __future__ import annotations

import numpy as np
import pytest
import torch

from cycada.data.detections import Detected
from cycada.report.overlay import _BOX, _PRESENT, overlaid

NAMES = ("AU01", "AU12", "AU25")


def found(**changes: object) -> Detected:
    facts: dict[str, object] = {
        "frame": 3, "timestamp": 0.3, "confidence": 0.8, "box": (30.0, 20.0, 40.0, 60.0),
        "probabilities": (0.1, 0.9, 0.5), "decisions": (False, True, True),
        "assessable": (True, True, False),
    }  # fmt: skip
    return Detected(**{**facts, **changes})  # type: ignore[arg-type]


def coloured(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (pixels == np.array(colour)).all(-1)


@pytest.mark.parametrize("size", [(120, 160), (161, 119), (480, 640)])
@pytest.mark.parametrize("channels", [1, 3])
def test_frames_of_a_video_keep_one_even_size_whatever_is_found(
    size: tuple[int, int], channels: int
) -> None:
    frame = torch.zeros(channels, *size)
    shapes = {
        overlaid(frame, said, names=NAMES).shape
        for said in (found(), found(probabilities=(), box=None, reason="no warm region"))
    }
    assert len(shapes) == 1
    height, width, _ = shapes.pop()
    assert height % 2 == width % 2 == 0
    assert height >= size[0]
    assert width > size[1]


def test_the_box_is_drawn_where_the_face_is_and_turned_as_it_is() -> None:
    frame = torch.full((1, 480, 640), -1.0)  # large enough to be shown as it is
    upright = coloured(overlaid(frame, found(box=(100.0, 50.0, 200.0, 300.0)), names=NAMES), _BOX)
    rows, columns = np.nonzero(upright)
    assert (columns.min(), columns.max()) == pytest.approx((100, 300), abs=2)
    assert (rows.min(), rows.max()) == pytest.approx((50, 350), abs=2)
    turned = found(box=(100.0, 50.0, 200.0, 300.0), angle=90.0)
    rows, columns = np.nonzero(coloured(overlaid(frame, turned, names=NAMES), _BOX))
    assert (columns.min(), columns.max()) == pytest.approx((50, 350), abs=2)  # about (200, 200)
    assert (rows.min(), rows.max()) == pytest.approx((100, 300), abs=2)


def test_a_positive_angle_turns_clockwise_as_seen() -> None:
    frame = torch.full((1, 480, 640), -1.0)
    tilted = found(box=(200.0, 100.0, 100.0, 200.0), angle=20.0)
    rows, columns = np.nonzero(coloured(overlaid(frame, tilted, names=NAMES), _BOX))
    assert columns[rows.argmin()] < 250  # the top left corner is the highest, as it moves right
    assert columns[rows.argmin()] > 200


def test_a_box_in_which_nothing_was_assessed_is_not_marked_as_a_face() -> None:
    frame = torch.full((1, 480, 640), -1.0)
    refused = found(probabilities=(), decisions=(), assessable=(), reason="smaller than 24 px")
    assert not coloured(overlaid(frame, refused, names=NAMES), _BOX).any()
    assert coloured(overlaid(frame, found(), names=NAMES), _BOX).any()


def test_bars_grow_with_the_probability_and_what_is_not_seen_has_none() -> None:
    frame = torch.full((1, 480, 640), -1.0)

    def lit(**changes: object) -> int:
        return int(
            coloured(overlaid(frame, found(box=None, **changes), names=NAMES), _PRESENT).sum()
        )

    some, more = lit(probabilities=(0.1, 0.5, 0.5)), lit(probabilities=(0.1, 0.9, 0.5))
    assert more > some > 0
    hidden = lit(assessable=(True, False, False))
    assert hidden == 0
