"""Tell how well detectors of regions find the eyes, on phantom faces, whose landmarks are known.

python tools/probe_landmarks.py demo-0 demo-1 demo-2

The finder has learned from the RGB faces' landmarks alone. A table of the mean distance between
the found and the true middle of the eyes, over the distance of the eyes, on test subjects of both
domains. Means over the demos.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from ending import run_tool
from torch import Tensor

from cycada import images
from cycada.data.dataset import FaceImages, signed
from cycada.data.index import DOMAINS, Domain, read_index
from cycada.data.landmarks import LANDMARKS_NAME, read_landmarks
from cycada.errors import DataError
from cycada.landmarks import EYE_CORNERS
from cycada.training.loading import LoadedDetector, load_detector

RUN = "regions"  # the others have its finder
BATCH = 64


def main() -> None:
    """Read the command, find the eyes, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("demos", type=Path, nargs="+", metavar="DEMO", help="finished demos")
    demos: Sequence[Path] = parser.parse_args().demos
    print(f"|  | {' | '.join(DOMAINS)} |\n|{'---|' * (1 + len(DOMAINS))}")
    cells = []
    for domain in DOMAINS:
        found = [error(load_detector(demo / RUN), demo / "faces", domain) for demo in demos]
        cells.append(f"{statistics.fmean(found):.3f}")
    print(f"| {RUN} | {' | '.join(cells)} |")


@torch.no_grad()
def error(detector: LoadedDetector, root: Path, domain: Domain) -> float:
    """Return the mean error of the middle of the eyes on test faces, in eye distances.

    Raises:
        DataError: The index has no landmarks.
    """
    index = read_index(root).select(domain=domain, split="test")
    table = read_landmarks(root)
    if table is None:
        raise DataError(f"{root}: there is no {LANDMARKS_NAME}.")
    true = table.of(index, EYE_CORNERS, size=detector.size)
    faces = FaceImages([index], domain=domain, size=detector.size)
    parts = []
    for rows in torch.split(torch.arange(len(faces)), BATCH):
        pictures = images.with_channels(signed(faces.batch(rows)), detector.channels)
        parts.append(detector.module(pictures.to(detector.device)).landmarks.cpu())
    places = [detector.module.landmarks.index(corner) for corner in EYE_CORNERS]
    away, apart = middle(torch.cat(parts)[:, places]) - middle(true), distance(true)
    return float((torch.linalg.vector_norm(away, dim=1) / apart).mean())


def middle(eyes: Tensor) -> Tensor:
    """Return the ``(N, 2)`` middles of ``(N, 4, 2)`` corners."""
    return eyes.mean(1)


def distance(eyes: Tensor) -> Tensor:
    """Return the ``(N,)`` distances of the eyes whose ``(N, 4, 2)`` corners are given."""
    apart: Tensor = torch.linalg.vector_norm(eyes[:, :2].mean(1) - eyes[:, 2:].mean(1), dim=1)
    return apart


if __name__ == "__main__":
    run_tool(main)
