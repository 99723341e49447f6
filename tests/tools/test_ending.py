"""Tools end with a sentence and the exit code that the verbs have."""

from __future__ import annotations

import signal

import pytest
from ending import run_tool

from cycada.errors import DataError, UsageError
from cycada.stopping import Stopped


@pytest.mark.parametrize(
    ("problem", "code", "told"),
    [
        (DataError("a.csv: is empty."), 1, "Error: a.csv: is empty.\n"),
        (UsageError("--seeds: give one."), 2, "Error: --seeds: give one.\n"),
        (KeyboardInterrupt(), 130, "\nStopped. The same command continues.\n"),
        (Stopped(signal.SIGTERM), 143, "\nStopped. The same command continues.\n"),
    ],
)
def test_a_mistake_or_a_stop_is_a_sentence(
    problem: BaseException, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise problem

    with pytest.raises(SystemExit) as ended:
        run_tool(main)
    assert ended.value.code == code
    assert capsys.readouterr().err == told
