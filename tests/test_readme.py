"""The README is short, and its way from faces to a monitored patient is walked in its words."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from cycada.cli import main

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
SCREEN = 50  # lines of a terminal or a page
WIDTH = 100

DETECTOR = """
backbone = "small"
width = 4
size = 32
batch_size = 8
steps = 2
"""
STAND_INS = {  # of the recipes, under their names: what can be learned in a second
    "detector-resnet18": DETECTOR,
    "detector-resnet18-dann": DETECTOR + '[alignment]\nmethod = "dann"\n',
    "translator-faces-128": """
size = 32
batch_size = 2
steps = 2
[generator]
width = 4
blocks = 1
[discriminator]
width = 4
layers = 1
""",
}


def walked() -> list[str]:
    """Return the commands of the longest block, which is the way."""
    blocks = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    return max(blocks, key=len).strip().splitlines()


def test_the_readme_fits_on_two_screens() -> None:
    shown = 0
    for line in README.splitlines():
        text = re.sub(r"\]\([^)]*\)", "]", line)  # what a link says is seen, not where it leads
        code = line.startswith(("cycada ", "pip ", "python3 "))  # scrolls sideways
        shown += 1 if code else max(1, -(-len(text) // WIDTH))
    assert shown <= 2 * SCREEN


def test_the_way_uses_every_verb_of_the_flow_in_order() -> None:
    verbs = [shlex.split(line)[1] for line in walked()]
    assert sorted(set(verbs), key=verbs.index) == [
        "index", "audit", "train-detector", "train-translator", "translate", "evaluate", "report",
        "detect", "monitor",
    ]  # fmt: skip


def test_the_way_is_walked_in_the_readmes_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _what_a_user_has(tmp_path)
    for line in walked():
        program, *words = shlex.split(line)
        assert program == "cycada"
        found = CliRunner().invoke(main, words)
        assert found.exit_code == 0, f"{line}\n{found.output}"
    assert (tmp_path / "page" / "report.html").is_file()
    assert len(list((tmp_path / "data/translated").rglob("*.png"))) == 40
    with (tmp_path / "results/night/night.csv").open(newline="") as opened:
        assert len(list(csv.DictReader(opened))) == 6 * 9
    with (tmp_path / "results/patient/vitals.csv").open(newline="") as opened:
        assert len(list(csv.DictReader(opened))) == 6


def _what_a_user_has(folder: Path) -> None:
    """Make folders of colour faces and of recordings, their labels, a video, and the recipes."""
    drawn = folder / "drawn"
    _invoke("phantom", "--subjects", "10", "--frames-per-subject", "4", "--size", "32",
            "--out", str(drawn))  # fmt: skip
    for domain, name in (("rgb", "faces"), ("thermal", "recordings")):
        shutil.copytree(drawn / domain, folder / name)
        with (drawn / "index.csv").open(newline="") as opened:
            rows = [row for row in csv.DictReader(opened) if row["domain"] == domain]
        columns = ["path", *(column for column in rows[0] if column.startswith("AU"))]
        with (folder / name / "au.csv").open("w", newline="") as opened:
            table = csv.DictWriter(opened, columns, extrasaction="ignore")
            table.writeheader()
            for row in rows:
                table.writerow(row | {"path": row["path"].removeprefix(f"{domain}/")})
    _invoke("phantom", "--clips", "1", "--seconds", "6", "--scenario", "calm", "--out", "clips")
    shutil.copy(folder / "clips/videos/0000.npz", folder / "night.npz")
    (folder / "docs/recipes").mkdir(parents=True)
    for name, text in STAND_INS.items():
        (folder / f"docs/recipes/{name}.toml").write_text(text)


def _invoke(*words: str) -> None:
    found = CliRunner().invoke(main, words)
    assert found.exit_code == 0, found.output
