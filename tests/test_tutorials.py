"""The tutorials do what they say: their blocks are run as printed, in order, in a fresh folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from cycada import image_reading
from cycada.data.index import read_index

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = ROOT / "docs" / "tutorials"
RUNNER = ROOT / "tests" / "tutorial.py"


def run(name: str, where: Path, *, tree: Path = ROOT) -> str:
    """Run a tutorial with the package of ``tree`` in the folder ``where``."""
    done = subprocess.run(
        [sys.executable, RUNNER, TUTORIALS / f"{name}.md"], cwd=where, check=False, text=True,
        capture_output=True, timeout=900,
        env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def changes(name: str) -> list[tuple[str, str, str]]:
    """Return of each hunk of a tutorial's diffs the file, what is there, and what is to be."""
    found = []
    text = (TUTORIALS / f"{name}.md").read_text(encoding="utf-8")
    for diff in re.findall(r"^```diff\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE):
        head, *hunks = re.split(r"^@@.*\n", diff, flags=re.MULTILINE)
        file = re.fullmatch(r"--- a/(\S+)\n\+\+\+ b/(\S+)\n", head)
        assert file is not None
        assert file[1] == file[2]
        for hunk in hunks:
            lines = hunk.splitlines(keepends=True)
            old = "".join(line[1:] for line in lines if line[0] in " -")
            new = "".join(line[1:] for line in lines if line[0] in " +")
            found.append((file[1], old, new))
    return found


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the package with the changes that the third tutorial tells to make."""
    tree = tmp_path_factory.mktemp("tree")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "cycada", tree / "cycada", ignore=ignored)
    for file, old, new in changes("add-your-own"):
        text = (tree / file).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{file} holds {text.count(old)} times:\n{old}"
        (tree / file).write_text(text.replace(old, new), encoding="utf-8")
    return tree


def test_the_first_tutorial_makes_a_corpus_with_the_labels_of_the_colour_faces(
    tmp_path: Path,
) -> None:
    run("synthetic-corpus", tmp_path)
    drawn = {face.path: face for face in read_index(tmp_path / "phantom").faces}
    made = read_index(tmp_path / "data" / "translated")
    assert len(made.faces) == 40
    for face in made.faces:
        person, picture = Path(face.path).parts[-2:]
        original = drawn[f"rgb/{person}/{picture}"]
        assert face.action_units == original.action_units  # across the table, index and translation
        assert face.domain == "thermal"
        image = image_reading.read_image(made.file(face))
        assert image.dtype == torch.uint16
        assert image.shape == (1, 32, 32)
        kelvin = image.to(torch.float64) / 100
        assert 273.15 + 28 - 0.01 <= kelvin.min() <= kelvin.max() <= 273.15 + 37 + 0.01
    assert (
        len({image_reading.read_image(made.file(face)).float().mean() for face in made.faces}) > 30
    )
    assert (tmp_path / "faces.png").stat().st_size > 10_000
    assert (tmp_path / "page" / "report.html").exists()


def test_the_second_tutorial_scores_every_detector_on_the_same_unseen_people(
    tmp_path: Path,
) -> None:
    said = run("compare-detectors", tmp_path)
    told = dict(re.findall(r"^(\w+) +macro F1 (\S+) ", said, flags=re.MULTILINE))
    assert list(told) == ["source_only", "structure", "dann", "supervised"]
    scored, weights = set(), set()
    for name, score in told.items():
        found = json.loads((tmp_path / "results" / name / "scores.json").read_text("utf-8"))
        assert float(score) == pytest.approx(found["scores"]["macro_f1"], abs=0.005)
        table = (tmp_path / "results" / name / "predictions.csv").read_text("utf-8").splitlines()
        scored.add(tuple(sorted(line.split(",")[0] for line in table[1:])))
        weights.add(found["weights"])
    assert len(scored) == 1  # the same faces
    assert len(weights) == 4
    test = read_index(tmp_path / "faces").select(domain="thermal", split="test")
    assert len(scored.pop()) == len(test.faces) > 0


def test_a_method_and_a_generator_are_added_by_changing_two_files_each() -> None:
    files = [file for file, _, _ in changes("add-your-own")]
    assert list(dict.fromkeys(files)) == [
        "cycada/config.py", "cycada/training/alignment.py", "cycada/models/generator.py",
    ]  # fmt: skip
    assert files.count("cycada/config.py") == 2  # one for each


def test_the_third_tutorial_adds_a_method_that_aligns_and_a_generator_that_translates(
    changed: Path, tmp_path: Path
) -> None:
    run("add-your-own", tmp_path, tree=changed)  # the page itself compares the covariances
    lines = (tmp_path / "runs" / "coral" / "metrics.jsonl").read_text("utf-8").splitlines()
    logged = [figures for line in lines if "coral" in (figures := json.loads(line))]
    assert [figures["step"] for figures in logged] == [10, 20, 30, 40, 50, 60]
    assert all(figures["coral"] >= 0 for figures in logged)
    (weights,) = (tmp_path / "runs" / "unet").glob("*/generators.safetensors")
    with safe_open(weights, "pt") as held:
        names = set(held.keys())
    assert "to_thermal.join_half.0.weight" in names  # the new network
    assert not any("middle" in name for name in names)  # not the one that was there
    assert len(read_index(tmp_path / "translated").faces) == 40


def test_the_tutorials_pictures_are_small() -> None:
    assert sum(file.stat().st_size for file in (ROOT / "docs/images").glob("tutorial-*")) < 150_000
