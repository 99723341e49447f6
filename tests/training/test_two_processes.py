"""Two processes compute what one does (in float64: in float32 a flipped ReLU hides real bugs)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cycada.config import AlignmentConfig, DetectorConfig, TranslatorConfig, flatten
from cycada.data.index import Face, read_index, write_index
from cycada.data.sampling import Order
from cycada.progress import Progress
from cycada.stages import train_detector, train_translator
from cycada.training.run import newest_checkpoint, read_log

TOLERANCE = 1e-10
NUMBERS = (1, 12, 51, 52)  # the AUs of the tiny faces

SEVERAL = """
import json, sys
from cycada.cli import main
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments, standalone_mode=False)
    except SystemExit as end:
        if end.code:
            raise
"""


def arguments(verb: str, config: Any, out: Path) -> list[str]:
    settings = [f"--set={name}={json.dumps(value)}" for name, value in flatten(config).items()]
    return [verb, "--out", str(out), *settings]


def on_two_processes(*command: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Not `accelerate launch --cpu`: with Accelerate 1.15 that starts one process, whatever
    # --num_processes says, unless MPI is set up.
    launch = [
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2",
        "--master_addr", "127.0.0.1", "--master_port", str(port),
    ]  # fmt: skip
    found = subprocess.run(
        [*launch, *command], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-6000:]


def states(run: Path) -> dict[str, Any]:
    checkpoint = newest_checkpoint(run)
    assert checkpoint is not None
    assert checkpoint.step == 4
    return dict(leaves(checkpoint.state()))


def leaves(tree: Any, name: str = "") -> list[tuple[str, Any]]:
    if isinstance(tree, (dict, list)):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return [leaf for key, value in items for leaf in leaves(value, f"{name}/{key}")]
    return [(name, tree)]


def assert_equal_runs(one: Path, two: Path) -> None:
    left, right = states(one), states(two)
    assert left.keys() == right.keys()
    for name, value in left.items():
        if torch.is_tensor(value):
            assert value.shape == right[name].shape, name
            away = float((value.double() - right[name].double()).abs().max()) if len(
                value.flatten()) else 0.0  # fmt: skip
            assert away <= TOLERANCE, f"{name} is {away:.2e} away"
        else:
            assert value == pytest.approx(right[name], abs=TOLERANCE), name


@dataclass(frozen=True)
class Case:
    config: DetectorConfig
    one: Path
    two: Path


@pytest.fixture(scope="module")
def uneven(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an index in which most labels are unknown, so that the shares of a batch differ."""
    index = read_index(faces)
    root = tmp_path_factory.mktemp("uneven")

    def thinned(number: int, face: Face) -> Face:
        path = os.path.relpath(faces / face.path, root)
        if face.split != "train" or number == 4:
            return replace(face, path=path)
        kept = {NUMBERS[number]: float(number % 2)} if number < len(NUMBERS) else {}
        return replace(face, path=path, action_units=kept)

    made = tuple(thinned(number, face) for number, face in enumerate(index.faces))
    write_index(replace(index, root=root, faces=made))
    return root


@pytest.fixture(scope="module")
def detectors(
    faces: Path,
    uneven: Path,
    tiny_detector: Callable[..., DetectorConfig],
    detector_run: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Case]:
    """Return detectors, one per method, trained on one and on two processes."""
    root = tmp_path_factory.mktemp("detectors")
    alignment = AlignmentConfig(hidden=8, weight=1.0, warm_up=0.5, healthy_from=0.0)
    make = tiny_detector
    aligned: dict[str, Any] = {"target": (str(faces),)}
    configs = {
        "none": make(source=(str(uneven),), double=True, clip_norm=0.0),
        "dann": make(
            source=(str(uneven),), labelled_target=(str(faces),), double=True,
            alignment=replace(alignment, method="dann"), **aligned,
        ),
        "adda": make(
            initial=str(detector_run), double=True, alignment=replace(alignment, method="adda"),
            **aligned,
        ),
    }  # fmt: skip
    cases = {
        name: Case(config, root / name / "one", root / name / "two")
        for name, config in configs.items()
    }
    for case in cases.values():
        train_detector.run_training(case.config, case.one, progress=Progress(shown=False))
    script = root / "several.py"
    script.write_text(SEVERAL)
    verbs = [arguments("train-detector", case.config, case.two) for case in cases.values()]
    on_two_processes(str(script), json.dumps(verbs))
    return cases


def test_two_processes_share_the_work(detectors: dict[str, Case]) -> None:
    """Guard: two processes that do not know of each other would agree with one, too."""
    one, two = (read_log(run)[0] for run in (detectors["adda"].one, detectors["adda"].two))
    assert one["domain"] != pytest.approx(two["domain"], rel=1e-6)  # the log shows one share


def test_a_translator_learns_the_same_on_two_processes(
    tiny_translator: Callable[..., TranslatorConfig], detector_run: Path, tmp_path: Path
) -> None:
    config = tiny_translator(detector=str(detector_run), double=True, clip_norm=1.0)
    assert config.pool > 0
    assert config.weights.identity > 0
    one, two = tmp_path / "one", tmp_path / "two"
    train_translator.run_training(config, one, progress=Progress(shown=False))
    on_two_processes("-m", "cycada", *arguments("train-translator", config, two))
    assert_equal_runs(one, two)
    assert {"semantic", "identity"} <= read_log(one)[0].keys()


@pytest.mark.parametrize("method", ["none", "dann", "adda"])
def test_a_detector_learns_the_same_on_two_processes(
    method: str, detectors: dict[str, Case]
) -> None:
    assert_equal_runs(detectors[method].one, detectors[method].two)


def test_the_shares_of_a_batch_hold_different_numbers_of_annotations(
    uneven: Path, detectors: dict[str, Case]
) -> None:
    """Guard: where both shares hold as many, a mean per process would pass unnoticed."""
    index = read_index(uneven).select(domain="rgb", split="train")
    known = index.occurrences(NUMBERS)[1]
    config = detectors["none"].config
    order = Order(len(known), config.batch_size, seed=config.seed, stream="source")
    counts = [known[order(step)].view(2, -1).sum(1).tolist() for step in range(config.steps)]
    assert sum(first != second for first, second in counts) >= 2
    assert any(first + second == 1 for first, second in counts), counts
