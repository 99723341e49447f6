from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from cycada.config import AugmentConfig, DetectorConfig, TranslatorConfig, TranslatorWeights
from cycada.errors import ConfigError
from cycada.models.build import chosen_generator
from cycada.settings import differences, flatten, load_config, to_dict
from cycada.training.run import open_run
from cycada.training.run_reading import run_config


def with_set(*overrides: str) -> TranslatorConfig:
    return load_config(TranslatorConfig, overrides=overrides)


def toml(folder: Path, text: str) -> Path:
    file = folder / "settings.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_without_a_word_all_settings_are_the_defaults() -> None:
    assert load_config(TranslatorConfig) == TranslatorConfig()
    assert load_config(DetectorConfig) == DetectorConfig()
    assert (TranslatorConfig().weights.cycle, TranslatorConfig().pool) == (10.0, 50)


def test_every_setting_says_what_it_means() -> None:
    for cls in (TranslatorConfig, DetectorConfig, TranslatorWeights, AugmentConfig):
        for item in dataclasses.fields(cls):
            table = dataclasses.is_dataclass(getattr(cls(), item.name))
            assert table or len(item.metadata["help"]) > 5, item.name


def test_a_toml_file_says_what_differs_from_the_defaults(tmp_path: Path) -> None:
    file = toml(tmp_path, 'data = ["a", "b"]\nlearning_rate = 1e-4\n[weights]\ncycle = 3\n')
    config = load_config(TranslatorConfig, file)
    assert config.data == ("a", "b")
    assert config.learning_rate == 0.0001
    assert config.weights == TranslatorWeights(cycle=3.0)
    assert set(differences(TranslatorConfig(), config)) == {
        "data", "learning_rate", "weights.cycle",
    }  # fmt: skip


def test_an_override_wins_over_an_option_and_that_over_the_file(tmp_path: Path) -> None:
    file = toml(tmp_path, "size = 32\nsteps = 10\nseed = 1\n")
    config = load_config(TranslatorConfig, file, ["size=96"], {"size": 64, "steps": 20})
    assert (config.size, config.steps, config.seed) == (96, 20, 1)


def test_a_table_in_an_override_leaves_the_rest_of_the_files_table_alone(tmp_path: Path) -> None:
    file = toml(tmp_path, "[weights]\nidentity = 2\ncycle = 7\n")
    config = load_config(TranslatorConfig, file, ["weights={cycle=3}", "generator={width=8}"])
    assert config.weights == TranslatorWeights(identity=2.0, cycle=3.0)
    assert config.generator.width == 8
    config = load_config(TranslatorConfig, file, ["weights={cycle=3}", "weights.semantic=0"])
    assert config.weights == TranslatorWeights(identity=2.0, cycle=3.0, semantic=0.0)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("detector=runs/rgb detector", "detector", "runs/rgb detector"),
        ("detector = 'runs/rgb'", "detector", "runs/rgb"),
        ("detector=a=b", "detector", "a=b"),
        ("adversarial=hinge", "adversarial", "hinge"),
        ('data=["a", "b"]', "data", ["a", "b"]),
        ("data=data/both", "data", ["data/both"]),
        ("weights.cycle=1e-2", "weights.cycle", 0.01),
        ("weights.cycle=3", "weights.cycle", 3.0),
        ("flip=false", "flip", False),
    ],
)
def test_set_reads_toml_values_and_bare_words(text: str, name: str, value: object) -> None:
    assert flatten(with_set(text))[name] == value


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("steps", "expected KEY=VALUE"),
        ("steps=ten", "steps must be a whole number, found 'ten'"),
        ("steps=10.5", "steps must be a whole number, found 10.5"),
        ("steps=true", "steps must be a whole number, found True"),
        ("learning_rate=fast", "learning_rate must be a number, found 'fast'"),
        ("learning_rate=nan", "learning_rate must be at least 0, found nan"),
        ("learning_rate=inf", "learning_rate must be finite, found inf"),
        ("weights.cycle=1e999", "weights.cycle must be finite, found inf"),
        ("flip=1", "flip must be true or false, found 1"),
        ("detector=5", "detector must be a text, found 5"),
        ("adversarial=wgan", "adversarial must be one of least_squares, hinge; found 'wgan'"),
        ("decay_from=1.5", "decay_from must be between 0 and 1, found 1.5"),
        ("batch_size=0", "batch_size must be at least 1, found 0"),
        ("weights.cycle=-1", "weights.cycle must be at least 0, found -1"),
        ("weights=3", "weights is a table"),
        ("size.px=3", "size.px: unknown|size must be a whole number"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        with_set(text)
    assert caught.value.exit_code == 2


def test_a_choice_of_numbers_takes_no_other_type() -> None:
    assert load_config(DetectorConfig, overrides=["channels=1"]).channels == 1
    for text in ("channels=1.0", "channels=true", "channels=2"):
        with pytest.raises(ConfigError, match="channels must be one of 0, 1, 3"):
            load_config(DetectorConfig, overrides=[text])


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("learning_rat=1", "unknown setting learning_rat. Did you mean learning_rate?"),
        ("weights.cicle=1", "unknown setting weights.cicle. Did you mean weights.cycle?"),
        ("zzz=1", "unknown setting zzz. Known: data, detector, size,"),
    ],
)
def test_an_unknown_setting_comes_with_the_nearest_known_one(text: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_set(text)
    assert hint in str(caught.value)


def test_a_mistake_in_a_file_is_blamed_on_the_file(tmp_path: Path) -> None:
    for text, complaint in (
        ("stepz = 3", "unknown setting stepz. Did you mean steps?"),
        ("steps = 0", "steps must be at least 1"),
        ("steps = ", "not valid TOML"),
    ):
        file = toml(tmp_path, text)
        with pytest.raises(ConfigError) as caught:
            load_config(TranslatorConfig, file, ["steps=3"])
        assert str(file) in str(caught.value)
        assert complaint in str(caught.value)


def test_a_missing_or_binary_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read"):
        load_config(TranslatorConfig, tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"binary\.toml: cannot be read"):
        load_config(TranslatorConfig, tmp_path / "binary.toml")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(ConfigError, match="expected a table"):
        load_config(TranslatorConfig, tmp_path / "list.json")


def test_the_settings_of_a_run_are_accepted_again(tmp_path: Path) -> None:
    config = with_set("data=['x', 'y']", "weights.semantic=0.5", "flip=false", "steps=7")
    open_run(tmp_path / "run", "translator", config, writes=True)
    file = tmp_path / "run" / "config.json"
    chosen = dataclasses.replace(config, generator=chosen_generator(config))
    assert chosen.generator.width > 0  # what was left to be chosen is written as it was chosen
    assert load_config(TranslatorConfig, file) == chosen
    assert run_config(tmp_path / "run", "translator", TranslatorConfig) == chosen
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(to_dict(config)))
    assert load_config(TranslatorConfig, plain) == config


def test_differences_name_what_differs_and_nothing_else() -> None:
    one, two = (
        DetectorConfig(),
        load_config(DetectorConfig, overrides=["alignment.weight=0.3", "action_units=[1, 12]"]),
    )
    assert differences(one, one) == {}
    assert differences(one, two) == {
        "alignment.weight": (0.1, 0.3),
        "action_units": ([], [1, 12]),
    }


def test_settings_cannot_be_changed_by_accident() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TranslatorConfig().steps = 3  # type: ignore[misc]
