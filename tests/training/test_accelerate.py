"""What ``accelerate launch`` says is done, or refused in a sentence; nothing of it is ignored."""

from __future__ import annotations

import pytest
import torch

from cycada.errors import ConfigError
from cycada.training.launch import make_accelerator, multiplies_in_bf16

STEPS = "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"
PRECISION = "ACCELERATE_MIXED_PRECISION"

on_processor = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")


@pytest.fixture(autouse=True)
def _untold(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (STEPS, PRECISION, "ACCELERATE_DYNAMO_BACKEND", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("ACCELERATE_USE_FSDP", "true", "FSDP"),
        ("ACCELERATE_USE_DEEPSPEED", "true", "DeepSpeed"),
        ("ACCELERATE_USE_MEGATRON_LM", "true", "Megatron-LM"),
        ("ACCELERATE_USE_PARALLELISM_CONFIG", "true", "a parallelism_config"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "torch.compile (dynamo_backend inductor)"),
        (PRECISION, "fp8", "mixed precision fp8"),
        (STEPS, "many", f"{STEPS} must be a whole number of at least 1, found 'many'"),
        (STEPS, "0", f"{STEPS} must be a whole number of at least 1, found '0'"),
    ],
)
def test_what_these_trainings_cannot_do_is_refused_by_name(
    variable: str, value: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        make_accelerator("auto", double=False)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bf16_of_accelerate_is_taken_where_the_settings_leave_it_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(PRECISION, "bf16")
    monkeypatch.setattr("cycada.training.launch.multiplies_in_bf16", lambda: False)
    assert make_accelerator("auto", double=False).mixed_precision == "bf16"


def test_no_of_accelerate_which_it_says_by_itself_leaves_auto_to_the_hardware(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(PRECISION, "no")
    expected = "bf16" if multiplies_in_bf16() else "no"
    assert make_accelerator("auto", double=False).mixed_precision == expected


@pytest.mark.parametrize(
    ("precision", "double", "told"),
    [
        ("no", False, "asks for mixed precision bf16, the settings for mixed_precision=no;"),
        ("no", True, "asks for mixed precision bf16, the settings for double=true;"),
    ],
)
def test_settings_and_accelerate_that_disagree_on_precision_are_told_apart(
    precision: str, double: bool, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PRECISION, "bf16")
    with pytest.raises(ConfigError) as caught:
        make_accelerator(precision, double=double)  # type: ignore[arg-type]
    assert told in str(caught.value)


@on_processor
@pytest.mark.parametrize("asked", ["settings", "accelerate"])
def test_fp16_is_refused_where_nothing_computes_in_it(
    asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if asked == "accelerate":
        monkeypatch.setenv(PRECISION, "fp16")
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        make_accelerator("fp16" if asked == "settings" else "auto", double=False)


@pytest.mark.parametrize(("setting", "asked", "portions"), [(0, "3", 3), (3, "3", 3), (2, "", 2)])
def test_a_batch_is_cut_as_accelerate_or_the_settings_say(
    setting: int, asked: str, portions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STEPS, asked)
    accelerator = make_accelerator("no", double=False, accumulate=setting)
    assert accelerator.gradient_accumulation_steps == portions


def test_settings_and_accelerate_that_disagree_on_portions_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(STEPS, "4")
    with pytest.raises(ConfigError, match=f"{STEPS} is 4, but the settings say accumulate=2;"):
        make_accelerator("no", double=False, accumulate=2)
