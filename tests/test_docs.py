from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cycada.cli import VERBS, main
from cycada.config import DetectorConfig, TranslatorConfig
from cycada.settings import load_config

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "docs" / "recipes").glob("*.toml"))
FIRST = "python3 -m venv .venv && . .venv/bin/activate && pip install . && cycada demo"
SECOND = "pip install '.[test]' && pytest -n auto"


def commands(text: str) -> list[str]:
    """Return the lines of a text's shell blocks that call cycada, continued ones joined."""
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if re.search(r"(^|-m )cycada ", line.strip())]


def documented() -> list[str]:
    found = []
    for file in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        found += commands(file.read_text(encoding="utf-8"))
    for verb in VERBS:
        shown = CliRunner().invoke(main, [verb, "--help"]).output.splitlines()
        found += [line.strip() for line in shown if line.strip().startswith("cycada ")]
    return found


@pytest.mark.parametrize("line", sorted(set(documented())))
def test_every_documented_command_is_understood(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = shlex.split(line.partition("cycada ")[2])
    verb, *arguments = words
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    for word in arguments:  # so that what must exist does
        if re.fullmatch(r"[a-z]+(/[a-z_]+)?", word):
            (tmp_path / word).mkdir(parents=True, exist_ok=True)
    if verb.startswith("train-"):
        result = CliRunner().invoke(main, [verb, *arguments, "--dry-run"])
        assert result.exit_code == 0, result.output
    else:
        command = main.get_command(click.Context(main), verb)
        assert command is not None
        command.make_context(verb, arguments)


def test_the_walk_with_ones_own_data_names_every_verb_in_order() -> None:
    text = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
    told = [line.partition("cycada ")[2].split()[0] for line in commands(text)]
    way = [
        "index", "audit", "train-detector", "train-translator", "translate", "evaluate", "report",
        "sheet", "view", "detect", "monitor",
    ]  # fmt: skip
    assert sorted(set(told), key=told.index) == way


def test_the_readme_holds_the_two_commands_as_one_line_each() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert FIRST in lines
    assert SECOND in lines


def test_the_reference_of_settings_is_up_to_date() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "config_reference.py"))
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == tool["reference"](), "run python tools/config_reference.py"


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_every_recipe_loads(file: Path) -> None:
    kind = TranslatorConfig if file.stem.startswith("translator") else DetectorConfig
    assert load_config(kind, file) != kind()


def test_no_link_in_the_docs_is_broken() -> None:
    for file in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for target in re.findall(r"\]\(([^)#]+)", file.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (file.parent / target).exists(), f"{file.name}: {target}"
