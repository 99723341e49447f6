"""The tool that kills verbs: it kills where it says, and tells a loss and a difference."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

WORDS = ("phantom", "--subjects", "4", "--frames-per-subject", "1", "--size", "16", "--out")


@pytest.fixture(scope="module")
def kills() -> ModuleType:
    import torture_kills

    return torture_kills


@pytest.fixture(scope="module")
def server(kills: ModuleType) -> Iterator[Any]:
    server = kills.Server()
    yield server
    server.close()


def test_a_few_kills_and_inputs_do_no_harm_and_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torture

    told = tmp_path / "torture.json"
    words = ["--quick", "--verbs", "train-detector", "convert", "--readers", "labels"]
    monkeypatch.setattr(sys, "argv", ["torture.py", *words, "--json", str(told)])
    with pytest.raises(SystemExit) as ended:
        torture.main()
    assert not ended.value.code
    found = json.loads(told.read_text())
    clean = {"tried": 4, "lost": 0, "different": 0}
    assert found["kills"] == {"train-detector": clean, "convert": clean}
    (labels,) = found["fuzz"].values()
    assert labels.pop("peak_mb") < 3000
    assert labels == {"inputs": 60, "tracebacks": 0, "hangs": 0}


def test_a_child_ends_before_or_within_the_change_that_was_chosen(
    kills: ModuleType, server: Any, tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    whole = server.run((*WORDS, str(tmp_path / "whole")), log)
    assert whole.code == 0
    ended = server.run(
        (*WORDS, str(tmp_path / "one")), log, {"operation": whole.operations - 9, "signal": 9}
    )
    assert (ended.code, ended.operations) == (-signal.SIGKILL, whole.operations - 9)
    ended = server.run((*WORDS, str(tmp_path / "two")), log, {"operation": 10, "bytes": 33})
    assert ended.code == -signal.SIGXFSZ
    assert [file.stat().st_size for file in (tmp_path / "two").rglob(".*.part-*.png")][:1] == [33]
    ended = server.run((*WORDS, str(tmp_path / "three")), log, {"operation": 10, "signal": 15})
    assert (ended.code, ended.fired) == (143, True)
    assert "Stopped. The same command continues." in ended.log
    server.run((*WORDS, str(tmp_path / "three")), log)
    assert kills.contents(tmp_path / "three") == kills.contents(tmp_path / "whole")


def test_times_alone_are_left_out_of_the_comparison(kills: ModuleType, tmp_path: Path) -> None:
    def written(second: int, step: int) -> Any:
        (tmp_path / "metrics.jsonl").write_text(
            f'{{"step": 1, "seconds": 0.1}}\n'
            f'{{"step": {step}, "seconds": {second}, "waiting": 0.0{second}}}\n'
        )
        (tmp_path / "demo.json").write_text(json.dumps({"seconds": second, "a": 1}, indent=1))
        for old in tmp_path.glob("events.*"):
            old.unlink()
        (tmp_path / f"events.out.tfevents.17957480{second}.host.1.0").write_bytes(b"log again")
        return kills.snapshot(kills.contents(tmp_path))

    assert written(2, 2) == written(3, 2)
    assert written(2, 2) != written(2, 3)
    (tmp_path / "other.json").write_text('{"seconds": 1}')
    before = kills.snapshot(kills.contents(tmp_path))
    (tmp_path / "other.json").write_text('{"seconds": 2}')
    assert before != kills.snapshot(kills.contents(tmp_path))


class Scripted:
    """A server whose commands do what a list says, one after the other."""

    def __init__(self, kills: ModuleType, out: Path, script: list[tuple[dict[str, str], int, str]]):
        self.kills, self.out, self.script = kills, out, script

    def run(self, _words: object, _log: Path, moment: Any = None) -> Any:
        files, code, log = self.script.pop(0)
        self.out.mkdir(exist_ok=True)
        for file in self.out.iterdir():
            file.unlink()
        for name, text in files.items():
            (self.out / name).write_text(text)
        fired = moment is not None and code != 0
        if fired and log:  # an answer to a request
            moment.clear()
            moment.update(operation=1, signal=int(signal.SIGTERM))
        elif fired:
            moment.clear()
            moment.update(operation=1, signal=int(signal.SIGKILL))
        return self.kills.Ended(code, 1.0, 5, fired, log)


WHOLE = {"a": "1", "b": "2"}
STOPPED = "Stopped. The same command continues."


@pytest.mark.parametrize(
    ("script", "lost", "different"),
    [
        ([(WHOLE, 0, ""), ({"a": "1"}, -9, ""), (WHOLE, 0, "")], 0, 0),
        ([(WHOLE, 0, ""), ({"a": "1"}, 143, STOPPED), (WHOLE, 0, "")], 0, 0),
        ([(WHOLE, 0, ""), ({"a": "1"}, -9, ""), ({"a": "1", "b": "3", "c": ""}, 0, "")], 0, 2),
        ([(WHOLE, 0, ""), ({"a": "1"}, -9, ""), ({"a": "1"}, 2, "Error: no.")], 1, 0),
        ([(WHOLE, 0, ""), ({"a": "1"}, 143, "Bye.")], 1, 0),
        ([(WHOLE, 0, ""), ({"a": "1"}, 130, STOPPED)], 1, 0),
        ([(WHOLE, 0, ""), ({"a": "1"}, 143, f"Traceback\n{STOPPED}")], 1, 0),
    ],
)
def test_a_loss_and_a_difference_are_counted(
    kills: ModuleType, script: Any, lost: int, different: int, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    case = kills.Case("convert", ("convert",), out)
    server = Scripted(kills, out, list(script))
    counts = kills.torture(
        case, server, kills=1, seed=0, log=tmp_path / "log", keep=tmp_path / "kept", real=False
    )
    assert server.script == []
    assert (counts.tried, counts.lost, counts.different) == (1, lost, different)
    assert counts.is_clean == (not lost and not different)
    assert len(counts.harm) == lost + bool(different)
    assert (tmp_path / "kept").exists() == (not counts.is_clean)


def test_what_was_saved_and_is_gone_is_a_loss(kills: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = [(WHOLE, 0, ""), ({"a": "1"}, -9, ""), ({"b": "2"}, -9, "")]
    counts = kills.torture(
        kills.Case("convert", ("convert",), out),
        Scripted(kills, out, script),
        kills=2,
        seed=0,
        log=tmp_path / "log",
        keep=None,
        real=False,
    )
    assert (counts.lost, counts.different) == (1, 0)
    assert "such as a" in counts.harm[0]
    rows = [(WHOLE | {"t.csv": "h\n1\n2\n"}, 0, ""), ({"t.csv": "h\n1\n"}, -9, ""),
            ({"t.csv": "h\n"}, -9, "")]  # fmt: skip
    counts = kills.torture(
        kills.Case("convert", ("convert",), out),
        Scripted(kills, out, rows),
        kills=2,
        seed=0,
        log=tmp_path / "log",
        keep=None,
        real=False,
    )
    assert counts.lost == 1


def test_what_was_being_written_was_never_saved(kills: ModuleType) -> None:
    rows = b"path,x\na,1\nb,2\n"
    assert kills.saved({"index.csv": rows}) == (-1, 2)
    assert kills.saved({".landmarks.part-4711.csv": rows}) == (-1, 0)
