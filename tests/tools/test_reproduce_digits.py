"""The digit experiments: their table, and the whole way on digits that are drawn in a moment."""

from __future__ import annotations

import argparse
import itertools
import json
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import reproduce_digits

from cycada.errors import DataError
from cycada.progress import Progress
from cycada.stages.side_by_side import Job

COLUMNS = ("source_only", "feature", "pixel", "both", "beyond", "target_supervised")
FURTHER = ("source_own", "self_trained")
PAIRS = ("mnist2usps", "usps2mnist", "svhn2mnist")
SIZES = {"train": 60, "test": 20}
VALIDATION = 20


# The table.


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def found(*values: float) -> dict[str, list[float]]:
    """Return the accuracies of each method: ``values``, one per cent more from one to the next."""
    return {
        method: [value + place for value in values]
        for place, method in enumerate((*COLUMNS, *FURTHER))
    }


@pytest.mark.parametrize("pair", PAIRS)
def test_the_table_has_a_row_for_every_paper_and_one_for_us(pair: str) -> None:
    lines = reproduce_digits.table(pair, found(50.0)).splitlines()
    papers = reproduce_digits.PAPERS[pair]
    rows = [cells(line) for line in lines if line.startswith("|")]
    assert [row[0] for row in rows[2:-1]] == [name for name, _ in papers]
    assert all(len(row) == 1 + len(COLUMNS) for row in rows)
    assert rows[1] == ["---"] * 7
    assert rows[0] == [
        "", "Source only", "Feature (ADDA)", "Pixel", "Pixel + feature", "Beyond",
        "Target supervised",
    ]  # fmt: skip
    for row, (_, values) in zip(rows[2:-1], papers, strict=True):
        assert row[1:] == [values.get(method, "") for method in COLUMNS]
        assert values.keys() <= set(COLUMNS)


def test_cycadas_accuracies_of_svhn_to_mnist_are_in_their_columns() -> None:
    """Table 1 of the paper (Hoffman et al., ICML 2018)."""
    (row,) = (
        line
        for line in reproduce_digits.table("svhn2mnist", found(50.0)).splitlines()
        if "CyCADA" in line
    )
    assert cells(row)[1:] == ["67.1 ± 0.6", "83.8", "70.3", "90.4 ± 0.4", "", "99.2"]


def test_our_row_has_the_mean_and_the_standard_deviation_over_seeds() -> None:
    lines = reproduce_digits.table("usps2mnist", found(50.0, 52.0, 57.0)).splitlines()
    (row,) = (line for line in lines if line.startswith("| cycada"))
    # Mean 53; deviations -3, -1 and 4, of which the sample's standard deviation is sqrt(26 / 2).
    assert cells(row) == ["cycada, 3 seeds", *(f"**{53 + n}.0 ± 3.6**" for n in range(6))]
    assert lines[-1] == (
        "Beside the table: Source only, own network, augmented: 59.0 ± 3.6. "
        "The same, self-trained, without translation: 60.0 ± 3.6."
    )


def test_of_a_single_seed_there_is_no_deviation() -> None:
    lines = reproduce_digits.table("usps2mnist", found(50.04)).splitlines()
    (row,) = (line for line in lines if line.startswith("| cycada"))
    assert cells(row) == ["cycada, 1 seed", *(f"**{50 + n}.0**" for n in range(6))]


PAGE = """# Results

<!-- mnist2usps quick -->

old

<!-- end -->
between
<!-- usps2mnist quick -->
also old
<!-- end -->
<!-- usps2mnist full --><!-- end -->
last
"""


def options(pair: str, budget: str) -> argparse.Namespace:
    return argparse.Namespace(pair=pair, budget=budget)


@pytest.mark.parametrize(
    ("pair", "budget", "old", "new"),
    [
        ("mnist2usps", "quick", "\n\nold\n\n", "\n\nTABLE\n\n"),
        ("usps2mnist", "quick", "\nalso old\n", "\n\nTABLE\n\n"),
        (
            "usps2mnist", "full", "<!-- usps2mnist full --><!-- end -->",
            "<!-- usps2mnist full -->\n\nTABLE\n\n<!-- end -->",
        ),
    ],
)  # fmt: skip
def test_only_what_stands_between_the_marks_is_replaced(
    pair: str, budget: str, old: str, new: str, tmp_path: Path
) -> None:
    file = tmp_path / "results.md"
    file.write_text(PAGE, encoding="utf-8")
    assert PAGE.count(old) == 1
    for _ in range(2):  # a second time it changes nothing
        reproduce_digits.insert_table(file, options(pair, budget), "TABLE")
        assert file.read_text(encoding="utf-8") == PAGE.replace(old, new)


@pytest.mark.parametrize(
    "page",
    [
        "no marks\n",
        "<!-- mnist2usps quick --> and no end\n",
        "<!-- end --> before <!-- mnist2usps quick -->\n",
        "<!-- mnist2usps full -->\n<!-- end -->\n",
        "",
    ],
)
def test_a_file_without_marks_is_refused_and_left_as_it_is(page: str, tmp_path: Path) -> None:
    file = tmp_path / "results.md"
    file.write_text(page, encoding="utf-8")
    with pytest.raises(DataError, match=r"<!-- mnist2usps quick --> and <!-- end -->.* missing\.$"):
        reproduce_digits.insert_table(file, options("mnist2usps", "quick"), "TABLE")
    assert file.read_text(encoding="utf-8") == page
    assert [f.name for f in tmp_path.iterdir()] == ["results.md"]


def test_a_missing_results_file_is_named_and_not_made(tmp_path: Path) -> None:
    file = tmp_path / "none.md"
    with pytest.raises(DataError, match=re.escape(str(file))):
        reproduce_digits.insert_table(file, options("mnist2usps", "quick"), "TABLE")
    assert not file.exists()


# The whole way.


def idx(array: Any, magic: int) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.astype("u1").tobytes()


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with 80 MNIST and 80 USPS digits: noise, brighter where the class says."""
    folder = tmp_path_factory.mktemp("digits")
    draw = np.random.default_rng(0)
    for corpus, side in (("mnist", 28), ("usps", 16)):
        for part, size in SIZES.items():
            labels = np.arange(size) % 10
            pictures = draw.integers(0, 256, (size, side, side), dtype=np.uint8)
            for picture, label in zip(pictures, labels.tolist(), strict=True):
                picture[label * side // 10 :][: side // 10] = 255
            if corpus == "mnist":
                name = {"train": "train", "test": "t10k"}[part]
                (folder / f"{name}-images-idx3-ubyte").write_bytes(idx(pictures, 0x803))
                (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels, 0x801))
            else:
                rows = (
                    f"{label:.4f} {' '.join(f'{pixel / 127.5 - 1:.4f}' for pixel in picture.flat)}"
                    for picture, label in zip(pictures, labels.tolist(), strict=True)
                )
                (folder / f"zip.{part}").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return the program's ``main`` with the shortest of plans."""
    plan = reproduce_digits.Plan(
        plain=2, adda=2, translator=2, translator_batch=4, own=2, self_trained=2, beyond=2
    )
    monkeypatch.setattr(reproduce_digits, "PLANS", {"quick": plan, "full": plan})
    monkeypatch.setattr(reproduce_digits, "VALIDATION", VALIDATION)

    def main(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["reproduce_digits.py", *map(str, arguments)])
        reproduce_digits.main()

    return main


def files_of(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Return when each file was written and what it holds, but for the clocks of the seeds."""
    return {
        file: (file.stat().st_mtime_ns, file.read_bytes())
        for file in folder.rglob("*")
        if file.is_file() and file.name != reproduce_digits.SUMMARY_NAME
    }


def test_the_whole_way_ends_with_a_table_and_a_second_time_does_nothing_anew(
    short: Callable[..., None], digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, told, out = tmp_path / "results.md", tmp_path / "told.json", tmp_path / "out"
    page.write_text("before\n<!-- usps2mnist quick -->\n<!-- end -->\nafter\n", encoding="utf-8")
    command = (
        "--pair", "usps2mnist", "--data", digits, "--seeds", 0, 3, "--out", out, "--json", told,
        "--results", page,
    )  # fmt: skip
    short(*command)
    result = json.loads(told.read_text(encoding="utf-8"))
    assert list(result) == [
        "pair", "seeds", "budget", "accuracy", "further", "seconds"
    ]  # fmt: skip
    assert (result["pair"], result["seeds"], result["budget"]) == ("usps2mnist", [0, 3], "quick")
    assert list(result["accuracy"]) == list(COLUMNS)
    assert list(result["further"]) == list(FURTHER)
    every = {**result["accuracy"], **result["further"]}
    for method, values in every.items():
        assert len(values) == 2
        for seed, value in zip((0, 3), values, strict=True):
            # Per cent of 20 test digits, as they were scored.
            assert value in [5.0 * hits for hits in range(21)]
            scores = json.loads(
                (out / f"seed-{seed}" / "evaluation" / method / "scores.json").read_text()
            )
            assert value == pytest.approx(100 * scores["scores"]["accuracy"], abs=0.005)
            assert scores["scores"]["frames"] == 20
    assert max(max(values) for values in every.values()) > 1  # in per cent, not as a share
    assert len(result["seconds"]) == 2
    assert all(seconds > 0 for seconds in result["seconds"])
    table = reproduce_digits.table("usps2mnist", every)
    expected = f"before\n<!-- usps2mnist quick -->\n\n{table}\n\n<!-- end -->\nafter\n"
    assert page.read_text(encoding="utf-8") == expected
    assert table in capsys.readouterr().out

    before = files_of(out)
    short(*command)
    again = capsys.readouterr()
    assert "[seed" not in again.err
    assert table in again.out
    assert files_of(out) == before
    later = json.loads(told.read_text(encoding="utf-8"))
    assert {**later, "seconds": 0} == {**result, "seconds": 0}

    # What is missing is done anew, and nothing else.
    gone = out / "seed-3" / "evaluation" / "pixel" / "scores.json"
    gone.unlink()
    short(*command)
    heard = capsys.readouterr().err
    assert re.findall(r"\[seed (\d+), (\d+)/(\d+)\] (.*)", heard) == [
        ("3", "18", "18", "evaluation: pixel")
    ]
    later = json.loads(told.read_text(encoding="utf-8"))
    assert {**later, "seconds": 0} == {**result, "seconds": 0}


def test_the_seconds_of_a_seed_are_those_of_its_work(
    tmp_path: Path, quiet: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sitting that goes on adds to them; one in which all is done already adds nothing."""
    done: list[bool] = []
    job = Job("one", "one", lambda **_: done.append(True), lambda: bool(done))
    monkeypatch.setattr(reproduce_digits, "_jobs", lambda *_, **__: [job])
    clock = SimpleNamespace(monotonic=itertools.count(0.0, 10.0).__next__)  # 10 s from look to look
    monkeypatch.setattr(reproduce_digits, "time", clock)
    plan = reproduce_digits.PLANS["quick"]

    def sit() -> float:
        found: dict[str, Any] = reproduce_digits.run_seed(
            tmp_path / "index", tmp_path / "seed", seed=0, plan=plan, progress=quiet
        )
        return float(found["seconds"])

    first = sit()
    assert first > 0
    assert sit() == first
    done.clear()  # something is missing
    assert sit() > first


def test_no_method_but_the_last_reads_the_targets_labels(
    short: Callable[..., None], digits: Path, tmp_path: Path
) -> None:
    """Their settings tell: thermal rows are sources of target_supervised alone."""
    out = tmp_path / "out"
    short("--pair", "mnist2usps", "--data", digits, "--out", out)
    index, made = str(out / "digits"), str(out / "seed-0" / "translated")
    runs = out / "seed-0"
    sources = {}
    for name in (*COLUMNS, *FURTHER):
        settings = json.loads((runs / name / "config.json").read_text())["settings"]
        sources[name] = (settings["source"], settings["source_domain"])
        assert settings["labelled_target"] == []
        assert settings["target_labels"] == 0
        assert settings["choose"] == "auto"  # with a target, the last
    assert sources == {
        "source_only": ([index], "auto"),
        "feature": ([index], "auto"),
        "pixel": ([made], "auto"),
        "both": ([made], "auto"),
        "beyond": ([index, made], "auto"),
        "target_supervised": ([index], "thermal"),
        "source_own": ([index], "auto"),
        "self_trained": ([index], "auto"),
    }
    about = json.loads((runs / "beyond" / "000002" / "about.json").read_text())
    assert about["source_domains"] == ["rgb", "thermal"]  # MNIST, and what was made of it
    assert about["faces"]["source"] == 2 * (SIZES["train"] - VALIDATION)
    assert about["faces"]["target"] == SIZES["train"] - VALIDATION


def test_an_unknown_pair_is_a_wrong_command(
    short: Callable[..., None], digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (
        ("--pair", "mnist2mnist", "--data", digits),
        ("--pair", "mnist2usps"),
        ("--pair", "mnist2usps", "--data", digits, "--seeds", "-1"),
    ):
        with pytest.raises(SystemExit) as caught:
            short(*arguments)
        assert caught.value.code == 2
        assert "usage:" in capsys.readouterr().err


def test_a_folder_without_digits_is_told_in_a_sentence(tmp_path: Path) -> None:
    file = Path(__file__).parents[2] / "tools" / "reproduce_digits.py"
    ended = subprocess.run(
        [sys.executable, file, "--pair", "usps2mnist", "--data", tmp_path / "none"],
        capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 1
    assert re.fullmatch(r"Error: .*none: usps is not there; looked for .*\.\n", ended.stderr)
    assert ended.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_broken_results_file_is_told_only_after_all_is_done(
    short: Callable[..., None], digits: Path, tmp_path: Path
) -> None:
    """The accuracies are not lost for it."""
    told, out = tmp_path / "told.json", tmp_path / "out"
    with pytest.raises(DataError, match=r"none\.md"):
        short(
            "--pair", "usps2mnist", "--data", digits, "--out", out, "--json", told,
            "--results", tmp_path / "none.md",
        )  # fmt: skip
    assert json.loads(told.read_text(encoding="utf-8"))["seeds"] == [0]
