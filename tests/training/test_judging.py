"""Judges of the semantic term that learn the labels, or that have adapted to thermal faces."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import pytest
import safetensors.torch
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from cycada.config import AlignmentConfig, DetectorConfig, TranslatorConfig
from cycada.data.dataset import FaceImages
from cycada.data.index import Face, read_index, write_index
from cycada.data.subjects import subject_digest
from cycada.errors import ConfigError, CycadaError, DataError
from cycada.models.detector import Detector
from cycada.progress import Progress
from cycada.stages.train_detector import run_training as train_detector
from cycada.stages.train_translator import run_training
from cycada.task import TaskKind
from cycada.training import translator as translator_training
from cycada.training.checkpoint import newest_checkpoint
from cycada.training.examples import Labelled
from cycada.training.judging import Readers
from cycada.training.launch import make_accelerator
from cycada.training.run_reading import TIMES, read_log
from cycada.training.translator import make_state
from cycada.training.translator_step import (
    Judges,
    TranslatorState,
    _generator_terms,
    plain_halves,
    translator_step,
)

ANSWERS, FACES, SIDE = 5, 4, 16
KINDS = get_args(TaskKind)
MakeConfig = Callable[..., TranslatorConfig]
MakeDetector = Callable[..., DetectorConfig]


def random(*shape: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=draw, dtype=torch.float64) * 2 - 1


RGB, THERMAL = random(FACES, 3, SIDE, SIDE, seed=0), random(FACES, 1, SIDE, SIDE, seed=1)


@pytest.fixture
def accelerator() -> Accelerator:
    return make_accelerator("no", double=True)


def network(kind: TaskKind, *, seed: int, channels: int = 3) -> Detector:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = Detector(
            "small", channels=channels, outputs=ANSWERS, width=4, pretrained="none", kind=kind
        )
    made = made.double().eval()
    with torch.no_grad():
        made.head.weight.mul_(20)  # so that it says something
    return made.requires_grad_(False)


@pytest.fixture(params=KINDS)
def detector(request: pytest.FixtureRequest) -> Detector:
    return network(request.param, seed=0)


def labelled(kind: TaskKind) -> Labelled:
    """Return labels that are not what any network says, and of which some are unknown."""
    if kind == "classes":
        labels = nn.functional.one_hot(torch.tensor([4, 0, 2, 1]), ANSWERS).float()
        known = torch.tensor([True, True, False, True])[:, None].expand(-1, ANSWERS)
    else:
        labels = (random(FACES, ANSWERS, seed=5) > 0).float()
        known = random(FACES, ANSWERS, seed=6) > -0.5
    return Labelled(RGB, torch.where(known, labels, 0.5), known)


def prepared(
    make: MakeConfig, readers: Readers, accelerator: Accelerator, **changes: Any
) -> tuple[TranslatorConfig, TranslatorState, Judges]:
    config = make(double=True, semantic_judge="joint", **changes)
    judges = Judges(readers, None)
    return config, make_state(config, judges, accelerator), judges


def say(judge: nn.Module, pictures: Tensor) -> Tensor:
    logits: Tensor = judge(pictures.expand(-1, 3, -1, -1)).logits
    return logits


def chances(logits: Tensor, kind: TaskKind) -> Tensor:
    return torch.softmax(logits, 1) if kind == "classes" else torch.sigmoid(logits)


def cross_entropy(logits: Tensor, known: Labelled, kind: TaskKind) -> Tensor:
    """Return the mean over annotated AUs, or over annotated faces, by definition."""
    q, wanted = chances(logits, kind), known.labels.double()
    if kind == "classes":
        return -(wanted * q.log()).sum(1)[known.known.all(1)].mean()
    return (-wanted * q.log() - (1 - wanted) * (1 - q).log())[known.known].mean()


def distance(after: Tensor, before: Tensor, kind: TaskKind) -> Tensor:
    """Return the Kullback-Leibler divergence of classes or of yes-or-no answers, averaged."""
    p, q = chances(before, kind), chances(after, kind)
    each = p * (p / q).log()
    if kind == "classes":
        return each.sum(1).mean()
    return (each + (1 - p) * ((1 - p) / (1 - q)).log()).mean()


def same(one: nn.Module, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


def test_a_joint_judge_begins_from_other_weights_than_the_detector(
    detector: Detector, tiny_translator: MakeConfig, accelerator: Accelerator
) -> None:
    before = copy.deepcopy(detector.state_dict())
    readers = Readers(detector, None, None)
    judges = []
    for seed in (3, 3, 4):
        _, state, _ = prepared(tiny_translator, readers, accelerator, seed=seed)
        assert state.learner is not None
        assert not state.learner.training
        judges.append(state.learner)
        for name, weight in state.learner.named_parameters():
            assert weight.requires_grad
            # Batch normalisation begins with ones and zeros, as the detector did.
            assert torch.equal(weight, before[name]) == bool((weight == weight.flatten()[0]).all())
    assert same(judges[0], judges[1].state_dict())
    assert not same(judges[0], judges[2].state_dict())
    assert same(detector, before)
    assert not any(weight.requires_grad for weight in detector.parameters())


def test_no_weight_of_the_detector_outlives_in_a_joint_judge(
    tiny_translator: MakeConfig, accelerator: Accelerator
) -> None:
    judges = []
    for seed in (0, 1):
        detector = network("action_units", seed=seed)
        with torch.no_grad():
            for number, value in enumerate(detector.state_dict().values()):
                if value.is_floating_point():
                    value.add_(0.1 * random(*value.shape, seed=number + seed).abs())
        readers = Readers(detector, None, None)
        judges.append(prepared(tiny_translator, readers, accelerator)[1].learner)
    assert judges[0] is not None
    assert judges[1] is not None
    assert same(judges[0], judges[1].state_dict())


def test_a_joint_judge_learns_the_labels_of_rgb_faces(
    detector: Detector, tiny_translator: MakeConfig, accelerator: Accelerator
) -> None:
    readers = Readers(detector, None, None)
    config, state, judges = prepared(tiny_translator, readers, accelerator)
    assert state.learner is not None
    expected = copy.deepcopy(state.learner)
    known, kind = labelled(detector.kind), detector.kind
    figures = translator_step(
        state, RGB, THERMAL, labelled=known, step=0,
        halves=plain_halves(state, judges, config, accelerator), config=config,
        accelerator=accelerator,
    )  # fmt: skip
    loss = cross_entropy(say(expected, RGB), known, kind)
    torch.testing.assert_close(figures["joint_judge"], loss.detach())
    assert "follower" not in figures
    # One step of Adam on that loss alone, with the rate and moments of CyCADA's released code.
    adam = torch.optim.Adam(expected.parameters(), lr=1e-3, betas=(0.5, 0.999))
    adam.zero_grad()
    loss.backward()
    adam.step()
    for name, weight in expected.named_parameters():
        torch.testing.assert_close(state.learner.get_parameter(name), weight, rtol=0, atol=1e-7)
    assert cross_entropy(say(state.learner, RGB), known, kind) < loss


def test_a_joint_judge_keeps_labels_of_rgb_and_its_own_answers_on_thermal_faces(
    detector: Detector, tiny_translator: MakeConfig, accelerator: Accelerator
) -> None:
    readers = Readers(detector, None, None)
    config, state, judges = prepared(tiny_translator, readers, accelerator)
    judge, kind, known = state.learner, detector.kind, labelled(detector.kind)
    assert judge is not None
    with torch.no_grad():
        judge.head.weight.mul_(20)  # so that it says something
    made = state.generators(RGB, THERMAL, None, None)
    terms = _generator_terms(state, made, RGB, THERMAL, known, judges, config, accelerator)
    there = cross_entropy(say(judge, made.thermal), known, kind)
    back = distance(say(judge, made.rgb), say(judge, THERMAL), kind)
    torch.testing.assert_close(terms["semantic"], there + back)
    assert float(back.detach()) > 1e-4  # so that the right judge shows
    by_detector = distance(say(detector, made.rgb), say(detector, THERMAL), kind)
    assert not torch.allclose(back, by_detector)
    # Labels that are not known change nothing.
    other = torch.where(known.known, known.labels, 1 - 0.3 * random(FACES, ANSWERS, seed=9))
    again = _generator_terms(
        state, made, RGB, THERMAL, known._replace(labels=other), judges, config, accelerator
    )
    assert float(again["semantic"].detach()) == float(terms["semantic"].detach())


def test_the_term_of_a_joint_judge_teaches_the_generators_alone(
    detector: Detector, tiny_translator: MakeConfig, accelerator: Accelerator
) -> None:
    readers = Readers(detector, None, None)
    config, state, judges = prepared(tiny_translator, readers, accelerator)
    made = state.generators(RGB, THERMAL, None, None)
    terms = _generator_terms(
        state, made, RGB, THERMAL, labelled(detector.kind), judges, config, accelerator
    )
    terms["semantic"].backward()
    for direction in (state.generators.to_thermal, state.generators.to_rgb):
        assert all(bool(weight.grad.any()) for weight in direction.parameters())
    assert state.learner is not None
    others = [*detector.parameters(), *state.learner.parameters()]
    assert all(weight.grad is None for weight in others)
    assert all(weight.requires_grad for weight in state.learner.parameters())


def test_the_semantic_term_is_nothing_while_the_judges_loss_is_high(
    detector: Detector, tiny_translator: MakeConfig, accelerator: Accelerator
) -> None:
    readers, known = Readers(detector, None, None), labelled(detector.kind)
    _, state, _ = prepared(tiny_translator, readers, accelerator)
    assert state.learner is not None
    loss = float(cross_entropy(say(state.learner, RGB), known, detector.kind).detach())

    def after(
        readers: Readers | None, **changes: Any
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        config = tiny_translator(double=True, semantic_judge="joint", **changes)
        judges = Judges(readers, None)
        state = make_state(config, judges, accelerator)
        figures = translator_step(
            state, RGB, THERMAL, labelled=known, step=0,
        halves=plain_halves(state, judges, config, accelerator), config=config,
            accelerator=accelerator,
        )  # fmt: skip
        return figures, state.generators.state_dict()

    for below, counts in ((loss * 0.99, False), (loss * 1.01, True), (0.0, False)):
        figures, learned = after(readers, semantic_below=below)
        assert (float(figures["semantic"]) > 0) == counts
        if not counts:
            assert float(figures["semantic"]) == 0
        # Whether it counts shows in what is learned too, not in the figure alone.
        _, without = after(None)
        unchanged = all(torch.equal(value, without[name]) for name, value in learned.items())
        assert unchanged == (not counts)


def test_a_detector_of_thermal_faces_reads_these_and_there_is_no_learner(
    detector: Detector, tiny_translator: MakeConfig, accelerator: Accelerator
) -> None:
    kind = detector.kind
    thermal = network(kind, seed=8)
    before = copy.deepcopy((detector.state_dict(), thermal.state_dict()))
    readers = Readers(detector, thermal, None)
    for judge in ("following", "frozen", "joint"):
        config = tiny_translator(double=True, semantic_judge=judge)
        judges = Judges(readers, None)
        state = make_state(config, judges, accelerator)
        assert state.learner is None
        assert state.learner_optimizer is None
        made = state.generators(RGB, THERMAL, None, None)
        terms = _generator_terms(state, made, RGB, THERMAL, None, judges, config, accelerator)
        there = distance(say(thermal, made.thermal), say(detector, RGB), kind)
        back = distance(say(detector, made.rgb), say(thermal, THERMAL), kind)
        torch.testing.assert_close(terms["semantic"], there + back)
        figures = translator_step(
            state,
            RGB,
            THERMAL,
            step=0,
            halves=plain_halves(state, judges, config, accelerator),
            config=config,
            accelerator=accelerator,
        )
        assert not {"follower", "joint_judge"} & figures.keys()
    assert same(detector, before[0])
    assert same(thermal, before[1])
    frozen = (*detector.parameters(), *thermal.parameters())
    assert all(weight.grad is None and not weight.requires_grad for weight in frozen)


# Whole runs.


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict | list):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, value in items:
            yield from leaves(value, f"{name}/{key}")
    else:
        yield name, tree


def end(run: Path) -> tuple[dict[str, Any], bytes, dict[str, Any]]:
    checkpoint = newest_checkpoint(run)
    assert checkpoint is not None
    weights = (checkpoint.folder / "generators.safetensors").read_bytes()
    return dict(leaves(checkpoint.state())), weights, checkpoint.about()


def figures_of(run: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if k not in TIMES} for line in read_log(run)]


@pytest.fixture(scope="module")
def adapted_run(
    tiny_detector: MakeDetector, faces: Path, detector_run: Path, quiet: Progress,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    """Return the run of a detector that has adapted to thermal faces for two steps."""
    out = tmp_path_factory.mktemp("adapted") / "run"
    alignment = AlignmentConfig(method="dann", hidden=8, weight=1.0, warm_up=0.0)
    config = tiny_detector(
        target=(str(faces),), initial=str(detector_run), alignment=alignment, steps=2
    )
    train_detector(config, out, progress=quiet)
    return out


@dataclass
class Judged:
    config: TranslatorConfig
    judge: str
    whole: Path


@pytest.fixture(scope="module", params=["joint", "thermal_detector"])
def judged(
    request: pytest.FixtureRequest,
    tiny_translator: MakeConfig,
    detector_run: Path,
    adapted_run: Path,
    quiet: Progress,
    tmp_path_factory: pytest.TempPathFactory,
) -> Judged:
    """Return an uninterrupted training of four steps."""
    uses: dict[str, Any] = {"semantic_judge": "joint", "semantic_below": 100.0}
    if request.param == "thermal_detector":
        uses = {"thermal_detector": str(adapted_run)}
    config = tiny_translator(detector=str(detector_run), **uses)
    out = tmp_path_factory.mktemp(request.param) / "run"
    run_training(config, out, progress=quiet)
    return Judged(config, request.param, out)


def test_two_and_two_steps_of_a_judged_translator_equal_four(
    judged: Judged, quiet: Progress, tmp_path: Path
) -> None:
    run = shutil.copytree(judged.whole, tmp_path / "run")
    shutil.rmtree(run / "000004")
    run_training(judged.config, run, progress=quiet)
    (one, weights, about), (two, other_weights, other_about) = end(judged.whole), end(run)
    assert one.keys() == two.keys()
    for name, value in one.items():
        equal = torch.equal(value, two[name]) if torch.is_tensor(value) else value == two[name]
        assert equal, f"{name} differs"
    assert (weights, about) == (other_weights, other_about)
    assert figures_of(judged.whole) == figures_of(run)
    assert [line["step"] for line in figures_of(run)] == [1, 2, 3, 4]


def test_the_state_holds_a_judge_that_learns_and_none_that_does_not(judged: Judged) -> None:
    parts = {name.split("/")[1] for name in end(judged.whole)[0]}
    assert ({"learner", "learner_optimizer"} <= parts) == (judged.judge == "joint")
    for line in figures_of(judged.whole):
        assert line["semantic"] > 0
        assert ("joint_judge" in line) == (judged.judge == "joint")
        assert "follower" not in line
    if judged.judge == "joint":
        early, late = (
            torch.load(judged.whole / step / "state.pt", weights_only=True)["learner"]
            for step in ("000002", "000004")
        )
        assert any(not torch.equal(value, early[name]) for name, value in late.items())


def test_a_translator_leaves_its_detectors_as_they_are(
    judged: Judged, detector_run: Path, adapted_run: Path, quiet: Progress, tmp_path: Path
) -> None:
    files = [f for run in (detector_run, adapted_run) for f in run.rglob("*") if f.is_file()]
    before = {file: file.read_bytes() for file in files}
    run_training(replace(judged.config, steps=1), tmp_path / "run", progress=quiet)
    assert before == {file: file.read_bytes() for file in files}


def test_a_translator_remembers_whom_both_its_detectors_have_seen(
    tiny_translator: MakeConfig, detector_run: Path, adapted_run: Path, quiet: Progress,
    tmp_path: Path,
) -> None:  # fmt: skip
    known = tmp_path / "adapted"
    shutil.copytree(adapted_run, known)
    newest = newest_checkpoint(known)
    assert newest is not None
    about = newest.about()
    about["seen_subjects"] = ["somebody else"]  # as earlier versions wrote it
    (newest.folder / "about.json").write_text(json.dumps(about))
    (newest.folder / "SHA256SUMS").unlink()  # which those had none of
    config = tiny_translator(detector=str(detector_run), thermal_detector=str(known), steps=1)
    run_training(config, tmp_path / "run", progress=quiet)
    assert subject_digest("somebody else") in end(tmp_path / "run")[2]["seen_digests"]


def test_the_labels_that_a_joint_judge_learns_are_those_of_the_faces_it_sees(
    tiny_translator: MakeConfig, detector_run: Path, faces: Path, quiet: Progress, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Mirrored faces have AU51 and AU52, head turns to the left and right, changed about."""
    seen: list[Labelled] = []

    def step(state: Any, rgb: Tensor, *given: Any, labelled: Labelled, **how: Any) -> Any:
        assert torch.equal(rgb, labelled.images)
        seen.append(labelled)
        return translator_step(state, rgb, *given, labelled=labelled, **how)

    monkeypatch.setattr(translator_training, "translator_step", step)
    config = tiny_translator(detector=str(detector_run), semantic_judge="joint", flip=True)
    run_training(config, tmp_path / "run", progress=quiet)
    index = read_index(faces).select(domain="rgb", split="train")
    labels, known = index.occurrences((1, 12, 51, 52))
    rgb = FaceImages([index], domain="rgb", size=SIDE)
    pictures = rgb.batch(torch.arange(len(rgb))) / 127.5 - 1
    flips = 0
    for batch in seen:
        for picture, told, annotated in zip(*batch[:3], strict=True):
            gaps = [
                (picture - shown).abs().flatten(1).amax()
                for shown in (*pictures, *pictures.flip(-1))
            ]
            row = int(torch.stack(gaps).argmin())
            assert float(gaps[row]) < 1e-5
            mirrored, face = divmod(row, len(rgb))
            places = [0, 1, 3, 2] if mirrored else [0, 1, 2, 3]
            assert annotated.tolist() == known[face, places].tolist()
            assert told[annotated].tolist() == labels[face, places][annotated].tolist()
            flips += mirrored
    assert 0 < flips < 16


# Mistakes.


def refused(
    error: type[CycadaError], words: tuple[str, ...], config: TranslatorConfig, out: Path
) -> None:
    with pytest.raises(CycadaError) as caught:
        run_training(config, out, progress=Progress(shown=False))
    told = str(caught.value)
    assert type(caught.value) is error, told
    assert all(word in told for word in words), told
    assert "\n" not in told
    assert told.endswith("."), told
    assert not out.exists()


def test_a_thermal_detector_needs_one_of_rgb_faces_beside_it(
    tiny_translator: MakeConfig, adapted_run: Path, tmp_path: Path
) -> None:
    config = tiny_translator(thermal_detector=str(adapted_run))
    refused(ConfigError, ("thermal_detector", "--detector RUN"), config, tmp_path / "run")


def test_a_thermal_detector_with_other_answers(
    tiny_translator: MakeConfig, tiny_detector: MakeDetector, detector_run: Path, quiet: Progress,
    tmp_path: Path,
) -> None:  # fmt: skip
    few = tmp_path / "few"
    train_detector(tiny_detector(steps=1, action_units=(1, 52)), few, progress=quiet)
    config = tiny_translator(detector=str(detector_run), thermal_detector=str(few))
    words = (f"{few} tells AU01, AU52,", f"{detector_run} AU01, AU12, AU51, AU52", "must agree")
    refused(ConfigError, words, config, tmp_path / "run")


def test_a_thermal_detector_of_another_window(
    tiny_translator: MakeConfig, detector_run: Path, adapted_run: Path, own_faces: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    file = own_faces / "index.toml"
    text = re.sub(r"\[20\.0, 40\.0\]", "[20.0, 39.0]", file.read_text())
    assert text != file.read_text()
    file.write_text(text)
    config = tiny_translator(
        data=(str(own_faces),), detector=str(detector_run), thermal_detector=str(adapted_run)
    )
    refused(ConfigError, (str(adapted_run), "temperature window"), config, tmp_path / "run")


@pytest.mark.parametrize("wrong", ["detector", "thermal_detector"])
def test_a_detector_of_another_size(
    wrong: str, tiny_translator: MakeConfig, tiny_detector: MakeDetector, detector_run: Path,
    quiet: Progress, tmp_path: Path,
) -> None:  # fmt: skip
    large = tmp_path / "large"
    train_detector(tiny_detector(steps=1, size=32), large, progress=quiet)
    given = {"detector": str(detector_run), "thermal_detector": str(detector_run)}
    config = tiny_translator(**{**given, wrong: str(large)})
    refused(ConfigError, (str(large), "32 px", "16 px"), config, tmp_path / "run")


def test_a_joint_judge_without_labels_on_rgb_faces(
    tiny_translator: MakeConfig, detector_run: Path, own_faces: Path, tmp_path: Path
) -> None:
    def without(face: Face) -> Face:
        keep = face.domain == "thermal" or face.split != "train"
        return face if keep else replace(face, action_units={})

    index = read_index(own_faces)
    write_index(replace(index, faces=tuple(map(without, index.faces))))
    config = tiny_translator(
        data=(str(own_faces),), detector=str(detector_run), semantic_judge="joint"
    )
    words = ("semantic_judge=joint", "AU01, AU12, AU51, AU52", str(own_faces))
    refused(DataError, words, config, tmp_path / "run")
    # Beside a detector of thermal faces, nobody learns labels.
    fine = replace(config, thermal_detector=str(detector_run), steps=1)
    run_training(fine, tmp_path / "run", progress=Progress(shown=False))


def test_a_thermal_detector_that_was_trained_further(
    tiny_translator: MakeConfig, tiny_detector: MakeDetector, detector_run: Path, quiet: Progress,
    tmp_path: Path,
) -> None:  # fmt: skip
    other, out = tmp_path / "other", tmp_path / "run"
    train_detector(tiny_detector(steps=1), other, progress=quiet)
    config = tiny_translator(detector=str(detector_run), thermal_detector=str(other), steps=1)
    run_training(config, out, progress=quiet)
    weights = safetensors.torch.load_file(other / "000001" / "detector.safetensors")
    train_detector(tiny_detector(steps=2), other, progress=quiet)
    later = safetensors.torch.load_file(other / "000002" / "detector.safetensors")
    assert any(not torch.equal(value, later[name]) for name, value in weights.items())
    with pytest.raises(CycadaError, match="has changed since this run learned from it"):
        run_training(replace(config, steps=2), out, progress=quiet)
