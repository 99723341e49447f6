from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cycada.cli import main
from cycada.config import DetectorConfig, TranslatorConfig
from cycada.settings import load_config, settings_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TRAININGS = {"train-translator": TranslatorConfig, "train-detector": DetectorConfig}


def dry(verb: str, *words: str) -> Any:
    return CliRunner().invoke(main, [verb, *words, "--out", "run", "--dry-run"])


@pytest.mark.parametrize("verb", TRAININGS)
def test_a_dry_run_prints_what_config_reads_again(verb: str, tmp_path: Path) -> None:
    given = {
        "train-translator": [
            "--data",
            'a "b" \\ ü/ö',
            "--data",
            "c",
            "--set",
            "weights.cycle=1e-7",
        ],
        "train-detector": ["--source", "a", "--target", "b", "--set", "action_units=[12, 1]"],
    }[verb]
    shown = dry(verb, *given)
    assert shown.exit_code == 0
    (tmp_path / "settings.toml").write_text(shown.output, encoding="utf-8")
    again = dry(verb, "--config", str(tmp_path / "settings.toml"))
    assert again.output == shown.output
    assert not Path("run").exists()


@pytest.mark.parametrize("config", TRAININGS.values())
def test_every_setting_is_printed(config: Any) -> None:
    read = tomllib.loads(settings_text(config()))
    assert load_config(config, values=read) == config()
    assert set(read) == set(config.__dataclass_fields__)


def test_an_odd_character_in_a_path_survives() -> None:
    config = TranslatorConfig(data=("a\x7fb\tc",))
    assert tomllib.loads(settings_text(config))["data"] == ["a\x7fb\tc"]


def test_options_beat_the_file_and_set_beats_both(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('detector = "file"\nsteps = 7\nsize = 64\n')
    words = ["--config", str(file), "--detector", "option", "--set", "steps=9"]
    read = tomllib.loads(dry("train-translator", *words).output)
    assert (read["detector"], read["steps"], read["size"]) == ("option", 9, 64)
    assert tomllib.loads(dry("train-translator", *words, "--set", "detector=set").output)[
        "detector"
    ] == "set"  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "override", "expected"),
    [
        ("train-translator", "stepps=4", "Did you mean steps?"),
        ("train-translator", "weights.cycel=4", "Did you mean weights.cycle?"),
        ("train-detector", "alignment.method=dan", "must be one of none, dann, cdan, adda"),
        ("train-detector", "steps=many", "steps must be a whole number"),
        ("train-detector", "steps", "expected KEY=VALUE"),
    ],
)
def test_a_wrong_setting_is_one_sentence_and_ends_with_2(
    verb: str, override: str, expected: str
) -> None:
    result = dry(verb, "--set", override)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
