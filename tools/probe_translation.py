"""Tell whether a translation shows the Action Units as real thermal faces do.

python tools/probe_translation.py demo-0 demo-1 demo-2

Two detectors of a finished demo read real and translated faces of test subjects: one that learned
from labelled thermal faces (``target_supervised``), one that learned from translations (``pixel``).
Where the second reads translations well but the first does not, the AU is in the translation, but
not in the way that thermal faces show it. A table of the ROC-AUC of each AU, means over the demos.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ending import run_tool

from cycada.data.index import read_index
from cycada.metrics.bootstrap import Floats
from cycada.metrics.detection import mean_over_units, roc_auc
from cycada.progress import Progress
from cycada.stages.evaluate import predict_faces
from cycada.training.loading import load_detector

READERS = {"target_supervised": "thermal detector", "pixel": "detector of translations"}
FACES = {"faces": "real", "translated": "translated"}


def main() -> None:
    """Read the command, ask the detectors, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("demos", type=Path, nargs="+", metavar="DEMO", help="finished demos")
    demos: Sequence[Path] = parser.parse_args().demos
    names: tuple[str, ...] = ()
    columns: list[Floats] = []
    for reader in READERS:
        for folder in FACES:
            each = []
            for demo in demos:
                names, found = read(demo / reader, demo / folder)
                each.append(found)
            columns.append(np.mean(each, axis=0))
    heads = ["", *(f"{reader}, {faces}" for reader in READERS.values() for faces in FACES.values())]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for row, name in enumerate(names):
        print(f"| {name} | {' | '.join(f'{column[row]:.2f}' for column in columns)} |")
    print(f"| mean | {' | '.join(f'{mean_over_units(column):.3f}' for column in columns)} |")


def read(run: Path, index: Path) -> tuple[tuple[str, ...], Floats]:
    """Return the AUs that a detector knows, and its ROC-AUC on the thermal test faces."""
    detector = load_detector(run)
    faces = read_index(index).select(domain="thermal", split="test")
    labels, known = faces.labels(detector.task)
    said = predict_faces(detector, faces, domain="thermal", progress=Progress(shown=False))
    return detector.task.names, roc_auc(said, labels, known)


if __name__ == "__main__":
    run_tool(main)
