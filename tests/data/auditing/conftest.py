"""Phantom faces, and rows of an index as an audit sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cycada import image_writing
from cycada.data import phantom
from cycada.data.auditing.looks import Seen, look_at_all
from cycada.data.index import SPLITS, Domain, Face, Index, IndexInfo
from cycada.progress import Progress
from cycada.thermal import Unit, Window

Show = Callable[..., list[Seen]]


@pytest.fixture(scope="session")
def show() -> Show:
    """Return what writes pictures of one domain to files and looks at them.

    Each picture is of another subject; subjects are dealt to the splits in turn.
    """

    def written(
        root: Path,
        pictures: Sequence[Tensor],
        *,
        domain: Domain = "thermal",
        unit: Unit = "grey",
        suffix: str = "png",
        subjects: Sequence[str] = (),
        sequence: str = "",
    ) -> list[Seen]:
        faces = []
        for number, picture in enumerate(pictures):
            path = f"{domain}/{number:03d}.{suffix}"
            image_writing.write_image(root / path, picture)
            faces.append(
                Face(
                    path=path,
                    domain=domain,
                    subject=subjects[number] if subjects else f"{domain} {number}",
                    split=SPLITS[number % 3],
                    frame=number,
                    sequence=sequence,
                )
            )
        info = IndexInfo(kind="none", unit=unit, window=Window(28, 37))
        return look_at_all([Index(root, info, tuple(faces))], progress=Progress(shown=False))

    return written


@pytest.fixture(scope="session")
def pair() -> phantom.Pair:
    """Return 12 faces of 12 people in both domains, at 64 px."""
    draw = torch.Generator().manual_seed(0)
    return phantom.render_pair(
        phantom.sample_identities(12, generator=draw),
        phantom.sample_intensities(12, domain="rgb", generator=draw),
        phantom.sample_scenes(12, generator=draw),
        size=64,
    )


@pytest.fixture(scope="session")
def video() -> Tensor:
    """Return 24 frames of a thermal video at 64 px, ``(24, 64, 64)`` in deg C."""
    draw = torch.Generator().manual_seed(2)
    who = phantom.sample_identities(1, generator=draw)
    sequence = phantom.sample_sequence(24, domain="thermal", generator=draw)
    return phantom.render_celsius(who.take([0] * 24), sequence.intensities, sequence.scene, size=64)
