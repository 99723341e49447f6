"""A user's mistake is one sentence that names the place, and leaves nothing half-written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from cycada import image_writing
from cycada.config import AlignmentConfig, DetectorConfig, DiscriminatorConfig, TranslatorConfig
from cycada.data.index import Face, Index, Split, read_index, write_index
from cycada.errors import ConfigError, CycadaError, DataError, RunError
from cycada.progress import Progress
from cycada.rejecting import Limit
from cycada.settings import load_config
from cycada.stages import leaving_out, train_detector, train_translator
from cycada.training.checkpoint import newest_checkpoint
from cycada.training.launch import make_accelerator

Maker = Callable[..., Any]

TRANSLATOR, DETECTOR = "translator", "detector"
BOTH = pytest.mark.parametrize("kind", [TRANSLATOR, DETECTOR])


@contextmanager
def refused(error: type[CycadaError], *words: str, out: Path) -> Iterator[None]:
    """Expect an error of that kind, in one sentence with these words, and no trace of ``out``."""
    with pytest.raises(CycadaError) as caught:
        yield
    told = str(caught.value)
    assert type(caught.value) is error, told
    assert caught.value.exit_code == (2 if issubclass(error, ConfigError) else 1)
    for word in words:
        assert word in told, told
    assert "\n" not in told
    assert told.endswith("."), told
    assert not out.exists(), sorted(out.rglob("*"))


class Train:
    """Trains either network on faces of the test's own."""

    def __init__(self, kind: str, make: Maker, faces: Path, out: Path) -> None:
        self.kind, self.make, self.faces, self.out = kind, make, faces, out

    def __call__(self, **changes: Any) -> None:
        where = "data" if self.kind == TRANSLATOR else "source"
        config = self.make(**{where: (str(self.faces),), **changes})
        stage = train_translator if self.kind == TRANSLATOR else train_detector
        none = Limit(0, 0)  # images that cannot be read are not left out
        stage.run_training(config, self.out, progress=Progress(shown=False), limit=none)


@pytest.fixture
def train(
    kind: str,
    tiny_translator: Callable[..., TranslatorConfig],
    tiny_detector: Callable[..., DetectorConfig],
    own_faces: Path,
    tmp_path: Path,
) -> Train:
    make = tiny_translator if kind == TRANSLATOR else tiny_detector
    return Train(kind, make, own_faces, tmp_path / "run")


def rewrite(root: Path, change: Callable[[Index], Index]) -> None:
    write_index(change(read_index(root)))


@BOTH
def test_a_subject_in_two_splits_of_one_index(train: Train) -> None:
    table = train.faces / "index.csv"
    rows = table.read_text().splitlines()
    rows[2] = rows[2].replace(",train,", ",test,")
    table.write_text("\n".join(rows) + "\n")
    with refused(DataError, "row 3", "'rgb0'", "'test'", "'train'", str(table), out=train.out):
        train()


@BOTH
def test_a_subject_in_two_splits_of_two_indexes(train: Train, faces: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"

    def moved(index: Index) -> Index:
        rows = [replace(f, path=os.path.relpath(faces / f.path, second), split="test")
                for f in index.faces if f.subject == "rgb0"]  # fmt: skip
        return replace(index, root=second, faces=tuple(rows))

    write_index(moved(read_index(faces)))
    where = "data" if train.kind == TRANSLATOR else "source"
    with refused(DataError, "'rgb0'", str(second), str(train.faces), out=train.out):
        train(**{where: (str(train.faces), str(second))})


@BOTH
def test_a_missing_index(train: Train) -> None:
    train.faces = train.faces / "none"
    with refused(DataError, str(train.faces), "no index", out=train.out):
        train()


@BOTH
def test_no_index_at_all(train: Train) -> None:
    with refused(ConfigError, "--data" if train.kind == TRANSLATOR else "--source", out=train.out):
        train(**{"data" if train.kind == TRANSLATOR else "source": ()})


@BOTH
@pytest.mark.parametrize("domain", ["rgb", "thermal"])
def test_an_empty_domain(train: Train, domain: str) -> None:
    rewrite(
        train.faces,
        lambda index: replace(
            index, faces=tuple(face for face in index.faces if face.domain != domain)
        ),
    )
    changes = {} if train.kind == TRANSLATOR else {"source_domain": domain}
    with refused(DataError, domain, str(train.faces), out=train.out):
        train(**changes)


@BOTH
def test_a_corrupt_image(train: Train) -> None:
    broken = train.faces / "rgb" / "1" / "2.png"
    broken.write_bytes(broken.read_bytes()[:70])
    with refused(DataError, str(broken), out=train.out):
        train()


@BOTH
def test_a_corrupt_validation_image(train: Train) -> None:
    broken = train.faces / "rgb" / "3" / "0.png"
    broken.write_bytes(b"no image")
    with refused(DataError, str(broken), out=train.out):
        train()


@BOTH
def test_a_corrupt_image_that_a_worker_reads(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in (train_translator, train_detector):  # as if it broke after the audit
        monkeypatch.setattr(stage, "audit_inputs", lambda *_, **__: [])
    monkeypatch.setattr(leaving_out, "_decided", lambda *_: [])
    for number in (0, 1, 2):
        for file in (train.faces / "rgb" / str(number)).iterdir():
            file.write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        train(cache_mb=0, workers=2)
    told = str(caught.value)
    assert str(train.faces / "rgb") in told
    assert "\n" not in told
    assert "worker" not in told
    assert newest_checkpoint(train.out) is None


@BOTH
def test_a_missing_image(train: Train) -> None:
    gone = train.faces / "rgb" / "1" / "2.png"
    gone.unlink()
    with refused(DataError, str(gone), "1 of", out=train.out):
        train()


@BOTH
def test_a_temperature_window_upside_down(train: Train) -> None:
    file = train.faces / "index.toml"
    file.write_text(file.read_text().replace("[20.0, 40.0]", "[40.0, 20.0]"))
    with refused(DataError, str(file), "40 to 20 deg C is upside down", out=train.out):
        train()


@BOTH
def test_a_batch_that_the_processes_cannot_share(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = make_accelerator

    class Two:
        """An Accelerator that believes to be one of two."""

        process_index, num_processes, gradient_accumulation_steps = 0, 2, 1

    def pretend(*args: Any, **named: Any) -> Any:
        real(*args, **named)
        return Two()

    for stage in (train_translator, train_detector):
        monkeypatch.setattr(stage, "make_accelerator", pretend)
    with refused(ConfigError, "batch_size 3", "2 processes", out=train.out):
        train(batch_size=3)


@BOTH
def test_a_run_directory_with_other_settings(train: Train) -> None:
    train(steps=1)
    before = {file: file.read_bytes() for file in train.out.rglob("*") if file.is_file()}
    with pytest.raises(RunError, match=r"batch_size 4 -> 2") as caught:
        train(steps=1, batch_size=2)
    assert str(train.out) in str(caught.value)
    assert before == {file: file.read_bytes() for file in train.out.rglob("*") if file.is_file()}


@BOTH
def test_an_index_that_was_remade_since(train: Train) -> None:
    old = read_index(train.faces)
    train(steps=1)
    before = {file: file.read_bytes() for file in train.out.rglob("*") if file.is_file()}

    def swapped(face: Face) -> Face:
        splits: dict[str, Split] = {"rgb0": "test", "rgb4": "train"}
        return replace(face, split=splits.get(face.subject, face.split))

    def relabelled(face: Face) -> Face:
        return replace(face, action_units={n: 1 - v for n, v in face.action_units.items()})

    for change in (swapped, relabelled):
        write_index(replace(old, faces=tuple(map(change, old.faces))))
        with pytest.raises(RunError, match="has changed since this run learned from it") as caught:
            train(steps=2)
        assert f"{train.out}: {train.faces} " in str(caught.value)
        assert "another --out" in str(caught.value)
        assert before == {f: f.read_bytes() for f in train.out.rglob("*") if f.is_file()}
    write_index(replace(old, faces=tuple(f for f in old.faces if f.subject != "thermal4")))
    train(steps=2)  # nobody learned from that test subject
    checkpoint = newest_checkpoint(train.out)
    assert checkpoint is not None
    assert checkpoint.step == 2


@BOTH
def test_an_index_that_was_remade_before_anything_was_learned(train: Train) -> None:
    train(steps=1)
    shutil.rmtree(train.out / "000001")
    rewrite(train.faces, lambda index: replace(index, faces=index.faces[1:]))
    train(steps=1)
    assert newest_checkpoint(train.out) is not None


@BOTH
def test_a_run_that_noted_no_index_goes_on(train: Train) -> None:
    train(steps=1)
    file = train.out / "config.json"
    noted = json.loads(file.read_text())
    indexes = noted.pop("inputs")
    assert list(indexes) == [str(train.faces), "rejected.csv"]
    file.write_text(json.dumps(noted))
    train(steps=2)
    assert json.loads(file.read_text())["inputs"] == indexes


@BOTH
def test_a_directory_that_is_no_run(train: Train) -> None:
    train.out.mkdir()
    (train.out / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty and no run") as caught:
        train()
    assert str(train.out) in str(caught.value)
    assert [file.name for file in train.out.iterdir()] == ["notes.txt"]


@BOTH
def test_a_run_of_the_other_kind(train: Train, translator_run: Path, detector_run: Path) -> None:
    train.out = detector_run if train.kind == TRANSLATOR else translator_run
    with pytest.raises(RunError, match=f"a {train.kind} is needed here"):
        train()


@pytest.mark.parametrize("kind", [TRANSLATOR])
def test_a_detector_of_another_size(train: Train, detector_run: Path) -> None:
    words = (str(detector_run), "16 px", "32 px")
    with refused(ConfigError, *words, out=train.out):
        train(detector=str(detector_run), size=32)


@pytest.mark.parametrize("kind", [TRANSLATOR])
@pytest.mark.parametrize("noted", [True, False])
def test_a_detector_of_thermal_faces_as_a_judge_of_rgb(
    noted: bool, train: Train, tiny_detector: Maker, quiet: Progress, tmp_path: Path
) -> None:
    def judge(name: str, **changes: Any) -> str:
        run = tmp_path / name
        train_detector.run_training(tiny_detector(steps=1, **changes), run, progress=quiet)
        about = run / "000001" / "about.json"
        facts = json.loads(about.read_text())
        if not noted:  # as in runs of earlier versions, which had no checksums either
            del facts["source_domains"]
            about.with_name("SHA256SUMS").unlink()
            about.write_text(json.dumps(facts))
        return str(run)

    thermal = judge("thermal", source_domain="thermal")
    with refused(ConfigError, thermal, "trained on thermal faces alone", out=train.out):
        train(detector=thermal)
    for name, changes in (("both", {"source_domain": "both"}), ("grey", {"channels": 1})):
        train.out = tmp_path / f"judged by {name}"
        train(detector=judge(name, **changes), steps=1)
        assert newest_checkpoint(train.out) is not None


@pytest.mark.parametrize("kind", [TRANSLATOR])
def test_a_size_that_the_networks_cannot_work_at(train: Train) -> None:
    with refused(ConfigError, "multiple of 4", "18", out=train.out):
        train(size=18)
    with refused(ConfigError, "size 16", "discriminator.layers 3", "24 px", out=train.out):
        train(discriminator=DiscriminatorConfig(width=4, layers=3))
    with refused(ConfigError, "rgb_cycle_block 5", "at most 4", out=train.out):
        train(rgb_cycle_block=5)


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_the_smallest_size_that_is_accepted_trains(
    layers: int, tiny_translator: Callable[..., TranslatorConfig], quiet: Progress, tmp_path: Path
) -> None:
    size = max(16, 3 * 2**layers)
    config = tiny_translator(
        size=size, discriminator=DiscriminatorConfig(width=2, layers=layers), steps=1, batch_size=1
    )
    train_translator.run_training(config, tmp_path / "run", progress=quiet)
    assert newest_checkpoint(tmp_path / "run") is not None


@pytest.mark.parametrize("kind", [TRANSLATOR])
def test_thermal_indexes_in_different_units(train: Train, faces: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"

    def other(index: Index) -> Index:
        rows = [replace(f, path=os.path.relpath(faces / f.path, second))
                for f in index.faces if f.domain == "thermal"]  # fmt: skip
        return replace(
            index, root=second, faces=tuple(rows), info=replace(index.info, unit="decikelvin")
        )

    write_index(other(read_index(faces)))
    with refused(DataError, "centikelvin, decikelvin", out=train.out):
        train(data=(str(train.faces), str(second)))


@pytest.mark.parametrize("kind", [DETECTOR])
def test_a_unit_that_is_not_annotated(train: Train) -> None:
    with refused(ConfigError, "AU04", "1, 12, 51, 52", out=train.out):
        train(action_units=(1, 4))


@pytest.mark.parametrize("kind", [DETECTOR])
def test_a_unit_that_the_validation_faces_lack(train: Train) -> None:
    rewrite(
        train.faces,
        lambda index: replace(
            index,
            faces=tuple(
                replace(face, action_units={n: v for n, v in face.action_units.items() if n != 12})
                if face.split == "val"
                else face
                for face in index.faces
            ),
        ),
    )
    with refused(DataError, "AU12", "'val'", out=train.out):
        train()


@pytest.mark.parametrize("kind", [DETECTOR])
def test_a_source_without_any_label(train: Train) -> None:
    rewrite(
        train.faces,
        lambda index: replace(
            index, faces=tuple(replace(face, action_units={}) for face in index.faces)
        ),
    )
    with refused(DataError, "no AU labels", str(train.faces), out=train.out):
        train()


@pytest.mark.parametrize("kind", [DETECTOR])
def test_a_target_without_a_method_and_a_method_without_a_target(train: Train) -> None:
    words = ("--target is for adaptation", "alignment.method=dann", "--teacher RUN")
    with refused(ConfigError, *words, out=train.out):
        train(target=(str(train.faces),))
    methods: tuple[Literal["dann", "adda"], ...] = ("dann", "adda")
    for method in methods:
        with refused(ConfigError, f"alignment.method={method}", "--target INDEX", out=train.out):
            train(alignment=AlignmentConfig(method=method))


@pytest.mark.parametrize("kind", [DETECTOR])
def test_adda_without_a_beginning(train: Train) -> None:
    with refused(ConfigError, "initial=RUN", out=train.out):
        train(target=(str(train.faces),), alignment=AlignmentConfig(method="adda"))


@pytest.mark.parametrize("kind", [DETECTOR])
def test_teachers_without_faces_to_answer_for(train: Train, detector_run: Path) -> None:
    with refused(ConfigError, "teachers", "give --target INDEX", out=train.out):
        train(teachers=(str(detector_run),))


@pytest.mark.parametrize("kind", [DETECTOR])
def test_teachers_with_adda(train: Train, detector_run: Path) -> None:
    with refused(ConfigError, "adda", "teachers", "dann or none", out=train.out):
        train(
            target=(str(train.faces),), teachers=(str(detector_run),), initial=str(detector_run),
            alignment=AlignmentConfig(method="adda"),
        )  # fmt: skip


@pytest.mark.parametrize("kind", [DETECTOR])
def test_a_teacher_that_cannot_answer(
    train: Train, tiny_detector: Maker, detector_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    few, target = tmp_path / "few", (str(train.faces),)
    config = tiny_detector(steps=1, action_units=(1, 52))
    train_detector.run_training(config, few, progress=quiet)
    # The second of two, so that each is looked at.
    with refused(ConfigError, f"detector {few} ", "AU12", "action_units", out=train.out):
        train(target=target, teachers=(str(detector_run), str(few)))
    with refused(ConfigError, f"detector {detector_run} ", "16 px", "size 32", out=train.out):
        train(target=target, teachers=(str(detector_run),), size=32)
    train(target=target, teachers=(str(few),), action_units=(52,), steps=1)
    assert newest_checkpoint(train.out) is not None


@pytest.mark.parametrize("kind", [DETECTOR])
def test_a_teacher_of_another_temperature_window(
    train: Train, tiny_detector: Maker, detector_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    thermal, target = tmp_path / "thermal", (str(train.faces),)
    config = tiny_detector(steps=1, source_domain="thermal")
    train_detector.run_training(config, thermal, progress=quiet)
    config = tiny_detector(steps=1, target=target, alignment=AlignmentConfig(method="dann"))
    aligned = tmp_path / "aligned"  # learned from RGB labels, but saw thermal faces too
    train_detector.run_training(config, aligned, progress=quiet)
    file = train.faces / "index.toml"
    file.write_text(file.read_text().replace("[20.0, 40.0]", "[20.0, 39.0]"))
    for teacher in (thermal, aligned):
        with refused(ConfigError, f"detector {teacher} ", "temperature window", out=train.out):
            train(target=target, teachers=(str(detector_run), str(teacher)))
    train(target=target, teachers=(str(detector_run),), steps=1)  # which learned from RGB
    assert newest_checkpoint(train.out) is not None


@BOTH
def test_a_judge_or_a_teacher_that_was_trained_further(
    train: Train, tiny_detector: Maker, quiet: Progress, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    train_detector.run_training(tiny_detector(steps=1), other, progress=quiet)
    taught = {"target": (str(train.faces),), "teachers": (str(other),)}
    uses = {"detector": str(other)} if train.kind == TRANSLATOR else taught
    train(steps=1, **uses)
    before = {file: file.read_bytes() for file in train.out.rglob("*") if file.is_file()}
    train_detector.run_training(tiny_detector(steps=2), other, progress=quiet)
    with pytest.raises(RunError, match="has changed since this run learned from it") as caught:
        train(steps=2, **uses)
    assert f"{train.out}: {other} " in str(caught.value)
    assert before == {f: f.read_bytes() for f in train.out.rglob("*") if f.is_file()}


@pytest.mark.parametrize("kind", [DETECTOR])
def test_a_teacher_that_is_no_run(
    train: Train, detector_run: Path, translator_run: Path, tmp_path: Path
) -> None:
    target, none = (str(train.faces),), tmp_path / "none"
    with refused(RunError, str(none), "no run directory", out=train.out):
        train(target=target, teachers=(str(detector_run), str(none)))
    with refused(RunError, str(translator_run), "a detector is needed here", out=train.out):
        train(target=target, teachers=(str(translator_run),))


@pytest.mark.parametrize("kind", [DETECTOR])
def test_a_beginning_of_another_shape(train: Train, detector_run: Path) -> None:
    for changes, words in (
        ({"width": 8}, ("width 4", "8")),
        ({"size": 32}, ("size 16", "32")),
        ({"channels": 1}, ("channels 3", "1")),
        ({"action_units": (1,)}, ("answers AU01, AU12, AU51, AU52", "training AU01;")),
        ({"view": "structure"}, ("view image", "structure")),
    ):
        with refused(ConfigError, str(detector_run), *words, out=train.out):
            train(initial=str(detector_run), **changes)


@pytest.mark.parametrize("kind", [DETECTOR])
def test_a_beginning_that_is_no_run(train: Train, tmp_path: Path) -> None:
    with refused(RunError, str(tmp_path / "none"), "no run directory", out=train.out):
        train(initial=str(tmp_path / "none"))


@pytest.mark.parametrize("kind", [DETECTOR])
def test_damaged_weights_of_a_beginning(
    train: Train, tmp_path: Path, tiny_detector: Callable[..., DetectorConfig]
) -> None:
    first = tmp_path / "first"
    train_detector.run_training(tiny_detector(steps=1), first, progress=Progress(shown=False))
    weights = first / "000001" / "detector.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with refused(RunError, str(weights), out=train.out):
        train(initial=str(first))


@pytest.mark.parametrize("kind", [DETECTOR])
def test_eight_bit_images_that_claim_temperatures(train: Train) -> None:
    file = train.faces / "thermal" / "0" / "0.png"
    image_writing.write_image(file, torch.zeros(1, 20, 16, dtype=torch.uint8))
    with refused(DataError, str(file), "8-bit", out=train.out):
        train(source_domain="thermal")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--set", "learning_rat=1"], 2, ["learning_rat", "Did you mean learning_rate?"]),
        (["--set", "batch_size=0"], 2, ["batch_size must be at least 1"]),
        (["--data", "nowhere"], 1, ["nowhere: there is no index"]),
    ],
)
def test_the_command_line_says_it_in_a_sentence_and_an_exit_code(
    arguments: list[str], code: int, words: list[str], tmp_path: Path
) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "cycada", "train-translator", "--out", "run", *arguments],
        capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert found.returncode == code, found.stderr
    for word in words:
        assert word in re.sub(r"\s+", " ", found.stderr)
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "run").exists()


def test_an_unknown_setting_names_its_nearest_neighbour() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean alignment\.method\?"):
        load_config(DetectorConfig, overrides=["alignment.metod=dann"])
