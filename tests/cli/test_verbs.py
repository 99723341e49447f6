from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import click
import pytest
from click.testing import CliRunner

import cycada
from cycada import cli
from cycada.cli import VERBS, main
from cycada.cli import output as output_module
from cycada.config import DetectorConfig, TranslatorConfig
from cycada.errors import DataError
from cycada.stopping import Stopped
from cycada.training.run import open_run

LISTED = """
import sys
from cycada.cli import VERBS, main
for words in (["--help"], *([verb, "--help"] for verb in VERBS)):
    main(words, standalone_mode=False)
heavy = {"torch", "torchvision", "accelerate", "kornia", "numpy", "PIL"} & set(sys.modules)
sys.exit(f"imported {sorted(heavy)}" if heavy else 0)
"""


def failing(error: BaseException) -> click.Command:
    @click.command()
    def verb() -> None:
        raise error

    return verb


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs ``cycada report`` as if the verb raised an error."""

    def run(error: BaseException) -> Any:
        monkeypatch.setattr(cli.Verbs, "get_command", lambda *_: failing(error))
        return CliRunner().invoke(main, ["report"])

    return run


def test_no_help_waits_for_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTED], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_every_file_of_a_verb_is_listed() -> None:
    folder = Path(cli.__file__).parent
    others = {"__init__", "launch", "output", "reading", "rejecting", "settings"}
    files = {file.stem for file in folder.glob("*.py")} - others
    assert files == {verb.replace("-", "_") for verb in VERBS}


@pytest.mark.parametrize("verb", VERBS)
def test_help_explains_every_option_and_shows_two_commands(verb: str) -> None:
    command = main.get_command(click.Context(main), verb)
    assert command is not None
    assert command.name == verb
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{verb} {option.name} is not explained"
    shown = CliRunner().invoke(main, [verb, "--help"]).output
    examples = [line for line in shown.splitlines() if line.strip().startswith(f"cycada {verb}")]
    assert len(examples) == 2


def test_the_version_comes_from_one_place() -> None:
    assert CliRunner().invoke(main, ["--version"]).output.split()[-1] == cycada.__version__


def test_a_misspelt_verb_is_answered_with_the_nearest() -> None:
    result = CliRunner().invoke(main, ["train-transaltor"])
    assert result.exit_code == 2
    assert "Did you mean train-translator?" in result.output


def test_a_missing_option_ends_with_2() -> None:
    assert CliRunner().invoke(main, ["phantom"]).exit_code == 2


def test_a_users_mistake_is_one_sentence_and_ends_with_1(broken: Any) -> None:
    result = broken(DataError("index.csv: is empty."))
    assert (result.exit_code, result.stderr, result.stdout) == (
        1, "Error: index.csv: is empty.\n", "",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(13, "Permission denied", "/mine"), "/mine: Permission denied."),
        (OSError(28, "No space left on device"), "No space left on device."),
        (OSError(27, "File too large"), "File too large."),
    ],
)
def test_a_place_that_cannot_be_written_to_is_one_sentence(
    broken: Any, error: OSError, told: str
) -> None:
    result = broken(error)
    assert (result.exit_code, result.stderr) == (1, f"Error: {told}\n")


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_one_sentence(device: str, tmp_path: Path) -> None:
    words = ["evaluate", str(tmp_path), str(tmp_path), "--out", str(tmp_path), "--device", device]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: --device {device}: cannot be used here (")


@pytest.mark.parametrize(
    ("kind", "words", "meant"),
    [
        ("translator", ("--domain", "thermal"), "detector"),
        ("detector", ("--detector", "run"), "translator"),
        ("detector", ("--lpips", "download"), "translator"),
        ("detector", ("--features", "{file}"), "translator"),
    ],
)
def test_an_option_of_evaluate_for_another_kind_of_run_is_refused(
    kind: Literal["detector", "translator"], words: tuple[str, str], meant: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    config = DetectorConfig() if kind == "detector" else TranslatorConfig()
    open_run(run, kind, config, writes=True)
    option, value = words[0], words[1].format(file=run / "config.json")
    given = ["evaluate", str(run), str(tmp_path), "--out", str(tmp_path / "out"), option, value]
    result = CliRunner().invoke(main, given)
    assert (result.exit_code, result.stderr) == (
        2, f"Error: {option} is for a {meant}, but {run} is the run of a {kind}; leave it out.\n",
    )  # fmt: skip


def test_an_index_that_is_not_there_is_told(tmp_path: Path) -> None:
    words = ["train-translator", "--data", str(tmp_path / "no"), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(broken: Any) -> None:
    result = broken(KeyboardInterrupt())
    assert result.exit_code == 130
    assert "The same command continues." in result.stderr


def test_sigterm_ends_with_143_and_says_how_to_go_on(broken: Any) -> None:
    result = broken(Stopped(signal.SIGTERM))
    assert result.exit_code == 143
    assert result.stderr == "\nStopped. The same command continues.\n"


def test_a_place_that_nobody_can_write_to_is_one_sentence(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    for out in (place / "run", Path("/sys/run")):  # the last also for root
        words = ["phantom", "--out", str(out), "--subjects", "5", "--size", "16"]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 1, result.output
        assert result.stderr.startswith(f"Error: {out}")
        assert result.stderr.count("\n") == 1


def test_a_programmers_mistake_keeps_its_traceback(broken: Any) -> None:
    assert isinstance(broken(ZeroDivisionError()).exception, ZeroDivisionError)


@pytest.mark.parametrize("verb", sorted(set(VERBS) - set(cli._SHARED)))
def test_a_verb_of_one_process_refuses_several(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = CliRunner().invoke(main, [verb])
    assert result.exit_code == 2
    assert f"cycada {verb} works in one process" in result.stderr


def test_other_processes_keep_quiet_but_tell_their_own_faults(
    broken: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(output_module, "_PATIENCE", 0.0)
    output_module.say("result")
    assert capsys.readouterr().out == ""
    assert not output_module.progress().shown
    assert broken(KeyboardInterrupt()).output == ""
    result = broken(DataError("b.png: is broken."))
    assert (result.exit_code, result.stderr) == (1, "Error in process 1: b.png: is broken.\n")
