"""A checkpoint is whole or absent, and one that is damaged later is not used."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cycada.errors import CycadaError, RunError
from cycada.progress import Progress
from cycada.stages import train_translator
from cycada.stages.translate import run_translation
from cycada.training import translator as translator_training
from cycada.training.checkpoint import SUMS_NAME, checkpoints, newest_checkpoint, remove_parts
from cycada.training.loading import load_translator
from cycada.training.run import Run
from cycada.training.run_reading import read_log

FILES = ("about.json", "net.safetensors", "state.pt")


def save(root: Path, step: int, *, keep: int = 9) -> None:
    net = nn.Linear(8, 8)
    nn.init.constant_(net.weight, step)
    Run(root, writes=True).save(
        step, state={"weight": net.weight.detach()}, weights={"net": net},
        about={"seen_subjects": []}, keep=keep,
    )  # fmt: skip


def newest_step(root: Path) -> int:
    """Return the newest step by what is in the files, not by the name of the folder."""
    found = newest_checkpoint(root, told=False)
    assert found is not None
    net = nn.Linear(8, 8)
    found.load_weights("net", net)
    steps = {found.about()["step"], *net.weight.flatten().tolist()}
    steps |= {found.step, *found.state()["weight"].flatten().tolist()}
    (step,) = steps
    return int(step)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a run with checkpoints of the steps 1 and 2."""
    for step in (1, 2):
        save(tmp_path, step)
    return tmp_path


def flipped(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", [lambda c: c[:-1], lambda _: b"", flipped, None])
def test_whatever_is_damaged_the_checkpoint_before_is_used_with_one_warning(
    name: str, harm: Callable[[bytes], bytes] | None, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = root / "000002" / name
    if harm is None:
        file.unlink()
    else:
        file.write_bytes(harm(file.read_bytes()))
    found = newest_checkpoint(root)
    assert found is not None
    assert found.step == newest_step(root) == 1
    (told,) = caplog.messages
    assert told.startswith(f"{file}: is ")
    assert told.endswith("; the checkpoint before it, 000001, is used.")
    assert "\n" not in told
    weights = newest_checkpoint(root, with_state=False, told=False)
    assert weights is not None
    assert weights.step == (2 if name == "state.pt" else 1)  # weights do not need the state


def test_a_training_that_goes_on_sets_the_damaged_one_aside_and_keeps_the_good_one(
    root: Path,
) -> None:
    state = root / "000002" / "state.pt"
    state.write_bytes(state.read_bytes()[:50])
    newest = Run(root, writes=True).newest()
    assert newest is not None
    assert newest.step == 1
    assert (root / "000002.damaged" / "state.pt").stat().st_size == 50
    save(root, 2, keep=2)
    assert [each.step for each in checkpoints(root)] == [1, 2]
    assert newest_step(root) == 2


def test_when_no_checkpoint_is_whole_nothing_begins_anew_unasked(root: Path) -> None:
    for step in ("000001", "000002"):
        (root / step / "state.pt").write_bytes(b"")
    with pytest.raises(RunError, match=r"000002/state.pt: is damaged .* no other .* is whole"):
        Run(root, writes=True).newest()
    assert len(checkpoints(root)) == 2


def test_checkpoints_of_earlier_versions_load_and_torn_ones_are_recognised(root: Path) -> None:
    for step in ("000001", "000002"):
        (root / step / SUMS_NAME).unlink()
    assert newest_step(root) == 2
    for name in FILES[1:]:
        spoilt = shutil.copytree(root, root.parent / f"spoilt {name}")
        file = spoilt / "000002" / name
        file.write_bytes(file.read_bytes()[:-30])
        assert newest_step(spoilt) == 1


def test_the_checksums_are_those_that_sha256sum_reads(root: Path) -> None:
    check = ["sha256sum", "--check", "--strict", SUMS_NAME]
    found = subprocess.run(check, cwd=root / "000002", capture_output=True, text=True, check=False)
    assert found.stdout.split() == [word for name in FILES for word in (f"{name}:", "OK")]


def _ended_before_file_operation(number: int, act: Callable[[], None]) -> bool:
    """Do ``act`` in a child that ends, as by SIGKILL, before its file operation ``number``."""
    child = os.fork()
    if child == 0:
        left = number

        def hook(event: str, _: Any) -> None:
            nonlocal left
            if event == "open" or event.startswith(("os.", "shutil.")):
                left -= 1
                if left == 0:
                    os._exit(9)

        try:
            sys.addaudithook(hook)
            act()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("damaged", [False, True])
def test_killed_at_any_file_operation_of_a_save_a_whole_checkpoint_is_there(
    damaged: bool, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()
    save(begun, 1)
    if damaged:
        save(begun, 2)
        (begun / "000002" / "state.pt").write_bytes(b"torn")
    seen = []
    number = 0
    while True:
        number += 1
        root = shutil.copytree(begun, tmp_path / str(number))
        killed = _ended_before_file_operation(number, lambda root=root: save(root, 2, keep=1))
        seen.append(newest_step(root))
        if not killed:
            break
        remove_parts(root)  # as the same command does
        save(root, 2, keep=1)
        assert newest_step(root) == 2
        assert not list(root.glob(".*"))
    assert len(seen) > 10
    assert seen == sorted(seen)
    assert set(seen) == {1, 2}
    assert [each.step for each in checkpoints(root)] == [2]


def test_a_training_that_goes_on_removes_what_a_killed_one_did_not_come_to_remove(
    root: Path, tiny_translator: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    run = root / "run"
    config = tiny_translator(keep=1)
    with monkeypatch.context() as patch:
        patch.setattr("cycada.training.run.drop_old_checkpoints", killed)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                train_translator.run_training(config, run, progress=Progress(shown=False))
            patch.setattr("cycada.training.run.Run.newest", lambda run: newest_checkpoint(run.root))
    assert [each.step for each in checkpoints(run)] == [2, 4]
    train_translator.run_training(config, run, progress=Progress(shown=False))
    assert [each.step for each in checkpoints(run)] == [4]


def test_what_a_stop_has_saved_goes_when_the_next_checkpoint_is_there(tmp_path: Path) -> None:
    def saved(*steps: int) -> list[int]:
        for step in steps:
            net = nn.Linear(2, 2)
            Run(tmp_path, writes=True, every=3).save(
                step, state={}, weights={"net": net}, about={}, keep=2
            )
        return [each.step for each in checkpoints(tmp_path)]

    assert saved(3, 6, 8) == [6, 8]
    assert saved(9) == [6, 9]
    assert saved(10) == [9, 10]  # the last step


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Let no file grow over ``size`` bytes: writing fails in its middle, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(root: Path) -> set[str]:
    """Return what is there; event files without the time, host and process in their names."""
    found = {path.relative_to(root).as_posix() for path in root.rglob("*")}
    return {name.partition(".tfevents.")[0] for name in found}


def test_a_full_disk_ends_a_training_in_a_sentence_with_the_old_checkpoint_intact(
    tiny_translator: Callable[..., Any], quiet: Progress, tmp_path: Path
) -> None:
    run, config = tmp_path / "run", tiny_translator(steps=4)
    whole = tmp_path / "whole"
    train_translator.run_training(config, whole, progress=quiet)
    shutil.copytree(whole, run)
    shutil.rmtree(run / "000004")
    before = names(run)
    largest = (whole / "000004" / "state.pt").stat().st_size
    for size in (largest // 2, largest - 1):
        with at_most(size), pytest.raises(RunError) as caught:
            train_translator.run_training(config, run, progress=quiet)
        told = str(caught.value)
        assert told.startswith(f"{run / '000004'}: cannot be written (File too large)")
        assert "\n" not in told
        assert names(run) == before  # nothing half written is left
    train_translator.run_training(config, run, progress=quiet)
    one, two = newest_checkpoint(run), newest_checkpoint(whole)
    assert one is not None
    assert two is not None
    for name in ("about.json", "generators.safetensors"):
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes()


def test_a_full_disk_leaves_no_half_translation(
    faces: Path, translator_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    run_translation(translator_run, faces, whole, depth="auto", progress=quiet)
    sizes = sorted(file.stat().st_size for file in whole.rglob("*.png"))
    for size in (300, sizes[len(sizes) // 2]):
        with at_most(size), pytest.raises((CycadaError, OSError)) as caught:
            run_translation(translator_run, faces, out, depth="auto", progress=quiet)
        assert isinstance(caught.value, CycadaError) or caught.value.filename
        assert not (out / "index.csv").exists()
        for file in out.rglob("*.png"):
            assert file.read_bytes() == (whole / file.relative_to(out)).read_bytes()
    run_translation(translator_run, faces, out, depth="auto", progress=quiet)
    assert names(out) == names(whole)


def test_a_directory_that_vanishes_ends_the_training_and_does_not_come_back(
    tiny_translator: Callable[..., Any], quiet: Progress, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = tmp_path / "run"
    real = translator_training.translator_step

    def vanishing(*args: Any, step: int, **named: Any) -> Any:
        if step == 1:
            shutil.rmtree(run)
        return real(*args, step=step, **named)

    monkeypatch.setattr(translator_training, "translator_step", vanishing)
    for changes in ({}, {"log_every": 9}, {"log_every": 9, "save_every": 9, "sample_every": 2}):
        with pytest.raises(RunError, match=f"{run}: is no longer there"):
            train_translator.run_training(tiny_translator(**changes), run, progress=quiet)
        assert not run.exists()


def test_a_damaged_checkpoint_is_passed_over_by_who_uses_its_weights(
    translator_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = shutil.copytree(translator_run, tmp_path / "run")
    later = shutil.copytree(run / "000002", run / "000004")
    about = json.loads((later / "about.json").read_text())
    (later / "about.json").write_text(json.dumps(about | {"step": 4}))  # not as its checksum says
    assert load_translator(run).fingerprint == load_translator(translator_run).fingerprint
    assert [message.split(": is ")[0] for message in caplog.messages] == [f"{later}/about.json"]


@pytest.mark.parametrize(
    "line", [b'{"step": 2, "cycle\xff": 1}', b"{}", b'{"step": "two"}', b"[2]", b"\x80"]
)
def test_a_damaged_line_of_the_log_is_named(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl: holds a damaged line, '"):
        read_log(tmp_path)


def test_a_torn_last_line_of_the_log_is_dropped_for_good(tmp_path: Path) -> None:
    run = Run(tmp_path, writes=True)
    for step in (1, 2):
        run.log(step, {"loss": 0.5})
    file = tmp_path / "metrics.jsonl"
    whole = file.read_bytes()
    for cut in range(1, len(whole.splitlines(keepends=True)[1])):
        file.write_bytes(whole[:-cut])
        run.forget_after(2)
        run.log(2, {"loss": 0.5})
        assert [line["step"] for line in read_log(tmp_path)] == [1, 2]


def test_tensors_are_saved_as_they_are(root: Path) -> None:
    found = newest_checkpoint(root)
    assert found is not None
    assert torch.equal(found.state()["weight"], torch.full((8, 8), 2.0))
