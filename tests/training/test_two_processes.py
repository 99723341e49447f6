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
from accelerate.state import AcceleratorState

from cycada.config import AlignmentConfig, DetectorConfig, TranslatorConfig
from cycada.data.index import Face, read_index, write_index
from cycada.data.sampling import Order
from cycada.progress import Progress
from cycada.settings import flatten
from cycada.stages import train_detector, train_translator
from cycada.training.checkpoint import newest_checkpoint
from cycada.training.run_reading import TIMES, read_log

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


ACCELERATE = (
    str(Path(sys.executable).with_name("accelerate")), "launch", "--quiet", "--cpu",
    "--num_processes", "2", "-m", "cycada",
)  # fmt: skip
TORCHRUN = (
    sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
)  # fmt: skip


def alone(**variables: str) -> dict[str, str]:
    """Return the environment of a process that shares its core."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **variables}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=alone()
    )  # fmt: skip


def on_two_processes(*command: str) -> str:
    """Return what was told on standard error."""
    found = run(*command)
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-6000:]
    return found.stderr


def on_two_hosts(*words: str, **variables: str) -> None:
    """Start a process under a launcher of its own on each of two hosts, which are both this one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launchers = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node",
             "1", "--node_rank", str(rank), "--master_addr", "127.0.0.1", "--master_port", port,
             *words],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=alone(**variables),
        ) for rank in range(2)
    ]  # fmt: skip
    told = [launcher.communicate(timeout=300)[0][-6000:] for launcher in launchers]
    assert [launcher.returncode for launcher in launchers] == [0, 0], told


def machine_of(run: Path) -> dict[str, Any]:
    """Return what a run says that it was trained on."""
    (machine,) = json.loads((run / "config.json").read_text())["machines"]
    found: dict[str, Any] = machine
    return found


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


def assert_equal_logs(one: Path, two: Path) -> None:
    """Compare the figures, which are means over the processes, in float32."""
    left, right = (
        [
            {name: value for name, value in line.items() if name not in TIMES}
            for line in read_log(run)
        ]
        for run in (one, two)
    )
    assert [line.keys() for line in left] == [line.keys() for line in right]
    for before, after in zip(left, right, strict=True):
        assert before == pytest.approx(after, rel=1e-5)


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
    mark_eyes: Callable[..., Path],
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
        "taught": make(
            # AU51 without AU52: the mirrored faces of a share have fewer answers.
            source=(str(uneven),), teachers=(str(detector_run),), action_units=(1, 12, 51),
            double=True, **aligned,
        ),
        "regions": make(
            # The shares have different numbers of faces whose eyes are known.
            source=(str(mark_eyes(uneven, every=2)),), labelled_target=(str(faces),), double=True,
            backbone="regions", width=6, alignment=replace(alignment, method="dann"), **aligned,
        ),
    }  # fmt: skip
    cases = {
        name: Case(config, root / name / "one", root / name / "two")
        for name, config in configs.items()
    }
    for case in cases.values():
        train_detector.run_training(case.config, case.one, progress=Progress(shown=False))
    verbs = [arguments("train-detector", case.config, case.two) for case in cases.values()]
    on_two_processes(*ACCELERATE, *verbs.pop(0))
    script = root / "several.py"
    script.write_text(SEVERAL)
    on_two_processes(*TORCHRUN, str(script), json.dumps(verbs))
    return cases


@pytest.mark.parametrize(
    ("launcher", "judge"), [(ACCELERATE, "following"), ((*TORCHRUN, "-m", "cycada"), "frozen")]
)
def test_a_translator_learns_the_same_on_two_processes(
    launcher: tuple[str, ...],
    judge: str,
    tiny_translator: Callable[..., TranslatorConfig],
    detector_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    config = tiny_translator(
        detector=str(detector_run), double=True, clip_norm=1.0, semantic_judge=judge
    )
    assert config.pool > 0
    assert config.weights.identity > 0
    one, two = tmp_path / "one", tmp_path / "two"
    train_translator.run_training(config, one, progress=Progress(shown=False))
    told = on_two_processes(*launcher, *arguments("train-translator", config, two))
    assert "its own copy of the decoded images" not in told
    assert not list(scratch.glob("cycada-*"))
    assert_equal_runs(one, two)
    assert_equal_logs(one, two)
    assert {"semantic", "identity"} <= read_log(one)[0].keys()
    assert ("follower" in read_log(one)[0]) == (judge == "following")
    assert len(list((two / "tensorboard").iterdir())) == 1  # of the main process alone


def test_a_translation_is_shared_by_two_processes(
    faces: Path, translator_run: Path, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    words = ("translate", str(translator_run), str(faces), "--out")
    assert run(sys.executable, "-m", "cycada", *words, str(one)).returncode == 0
    on_two_processes(*ACCELERATE, *words, str(two))
    files = sorted(file.relative_to(one) for file in one.rglob("*") if file.is_file())
    assert files == sorted(file.relative_to(two) for file in two.rglob("*") if file.is_file())
    assert len([file for file in files if file.suffix == ".png"]) == 20
    for file in files:
        left, right = (whole_but_place(folder / file) for folder in (one, two))
        assert left == right, file


def whole_but_place(file: Path) -> bytes:
    """Return what a file holds, without the digest of where an index lies."""
    lines = file.read_bytes().splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(b"outside_of"))


def test_two_processes_are_there_and_a_mistake_is_one_sentence(
    tiny_translator: Callable[..., TranslatorConfig], tmp_path: Path
) -> None:
    """Guard: the runs above would also be equal if one process made both."""
    words = arguments("train-translator", tiny_translator(batch_size=3), tmp_path / "run")
    found = run(*ACCELERATE, *words)
    assert found.returncode == 1  # Accelerate's own; it knows no other
    said = [line for line in found.stderr.splitlines() if "Error" in line]
    assert said == [
        "Error: batch_size 3 cannot be shared evenly by 2 processes; choose a multiple."
    ]
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["none", "dann", "adda", "taught", "regions"])
def test_a_detector_learns_the_same_on_two_processes(
    method: str, detectors: dict[str, Case]
) -> None:
    assert_equal_runs(detectors[method].one, detectors[method].two)
    assert_equal_logs(detectors[method].one, detectors[method].two)


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


def test_two_hosts_with_two_portions_each_learn_what_one_process_does_at_once(
    faces: Path,
    tiny_translator: Callable[..., TranslatorConfig],
    tiny_detector: Callable[..., DetectorConfig],
    tmp_path: Path,
) -> None:
    """A translator, and a detector without batch normalisation whose labels are uneven."""
    quiet, first = Progress(shown=False), tmp_path / "first"
    digits: dict[str, Any] = {"backbone": "lenet", "double": True}
    train_detector.run_training(tiny_detector(steps=1, **digits), first, progress=quiet)
    translator = tiny_translator(detector=str(first), double=True, clip_norm=1.0)
    alignment = AlignmentConfig(method="adda", hidden=8, weight=1.0, healthy_from=0.0)
    detector = tiny_detector(
        initial=str(first), target=(str(faces),), alignment=alignment, **digits
    )
    one, two = tmp_path / "one", tmp_path / "two"
    train_translator.run_training(translator, one / "translator", progress=quiet)
    train_detector.run_training(detector, one / "detector", progress=quiet)
    verbs = [
        arguments("train-translator", translator, two / "translator"),
        arguments("train-detector", detector, two / "detector"),
    ]
    script = tmp_path / "several.py"
    script.write_text(SEVERAL)
    on_two_hosts(str(script), json.dumps(verbs), ACCELERATE_GRADIENT_ACCUMULATION_STEPS="2")
    for name in ("translator", "detector"):
        assert_equal_runs(one / name, two / name)
        assert_equal_logs(one / name, two / name)
        shared = {"processes": 2, "hosts": 2, "distributed": "MULTI_CPU", "accumulate": 2}
        assert shared.items() <= machine_of(two / name).items()
        by_itself = {"processes": 1, "hosts": 1, "distributed": "NO", "accumulate": 1}
        assert by_itself.items() <= machine_of(one / name).items()


def test_two_processes_that_accelerate_tells_bf16_learn_what_one_does_in_bf16(
    tiny_translator: Callable[..., TranslatorConfig], tmp_path: Path
) -> None:
    """With images so large that their channels come last."""
    config = tiny_translator(mixed_precision="auto", steps=2, size=128)
    for precision in ("bf16", "no"):
        AcceleratorState._reset_state(reset_partial_state=True)
        train_translator.run_training(
            replace(config, mixed_precision=precision), tmp_path / precision,
            progress=Progress(shown=False),
        )  # fmt: skip
    half = (*ACCELERATE[:-2], "--mixed_precision", "bf16", *ACCELERATE[-2:])
    on_two_processes(*half, *arguments("train-translator", config, tmp_path / "two"))
    one, full, two = (read_log(tmp_path / name) for name in ("bf16", "no", "two"))
    one, full, two = (
        [{name: value for name, value in line.items() if name not in TIMES} for line in lines]
        for lines in (one, full, two)
    )
    assert two[0] == pytest.approx(one[0], rel=1e-6)
    assert two[0] != pytest.approx(full[0], rel=2e-5)  # so bf16 it is
    # Where a gradient is next to nothing, Adam makes a whole step of how it was rounded.
    assert two[1] == pytest.approx(one[1], rel=2e-3)
    said = {"processes": 2, "mixed_precision": "bf16"}
    assert said.items() <= machine_of(tmp_path / "two").items()
