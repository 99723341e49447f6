"""The whole way with classes instead of Action Units, on faces whose class is easy to see."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from cycada import image_writing, images
from cycada.config import AugmentConfig, DetectorConfig, TranslatorConfig
from cycada.data.dataset import FaceImages, signed
from cycada.data.index import (
    DOMAINS,
    SPLITS,
    Domain,
    Face,
    Index,
    IndexInfo,
    Split,
    read_index,
    write_index,
)
from cycada.errors import ConfigError, CycadaError, DataError
from cycada.footage import ReadOptions
from cycada.metrics.detection import average_precision, best_thresholds
from cycada.metrics.scores import DetectionScores
from cycada.progress import Progress
from cycada.report.methods import Scored, detection_section
from cycada.report.page import Beside, Table
from cycada.stages.detect import DetectOptions, detect
from cycada.stages.evaluate import evaluate, predict_faces, summary_lines
from cycada.stages.index import summary
from cycada.stages.report import report
from cycada.stages.scoring import EvaluateOptions
from cycada.stages.train_detector import run_training as train_detector
from cycada.stages.train_translator import run_training as train_translator
from cycada.task import Task
from cycada.training.examples import Examples
from cycada.training.launch import make_accelerator
from cycada.training.loading import LoadedDetector, load_detector
from cycada.training.run_reading import finished_checkpoint, read_log
from cycada.training.selection import validate

SIDE = 16
NAMES = ("bottom", "middle", "top")  # in the order of the alphabet, as a detector has them
BRIGHT = {"top": slice(0, 5), "middle": slice(6, 11), "bottom": slice(12, 16)}  # rows of the image
SPLIT_OF = (SPLITS[0], SPLITS[0], SPLITS[0], SPLITS[1], SPLITS[2])  # of each domain's subjects
MakeDetector = Callable[..., DetectorConfig]
MakeTranslator = Callable[..., TranslatorConfig]


@pytest.fixture(scope="module")
def classed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an index of 5 subjects per domain with 6 faces each; do not change it.

    The class is the third of the image that is bright. One face to learn from has no label.
    """
    root = tmp_path_factory.mktemp("classed")
    draw = torch.Generator().manual_seed(0)
    rows = []
    for domain in DOMAINS:
        for number, split in enumerate(SPLIT_OF):
            for frame in range(6):
                label = NAMES[frame % 3]
                picture = torch.rand(3 if domain == "rgb" else 1, SIDE, SIDE, generator=draw) - 0.8
                picture[:, BRIGHT[label]] += 0.8
                path = f"{domain}/{number}/{frame}.png"
                image_writing.write_image(
                    root / path, images.from_signed(picture, dtype=torch.uint8)
                )
                unlabelled = (number, frame) == (0, 0)
                rows.append(
                    Face(
                        path=path, domain=domain, subject=f"{domain}{number}", split=split,
                        frame=frame, label="" if unlabelled else label,
                    )
                )  # fmt: skip
    write_index(Index(root, IndexInfo(kind="class"), tuple(rows)))
    return root


def changed(
    root: Path, out: Path, change: Callable[[Face], Face | None], *, kind: Any = None
) -> Path:
    """Write an index of the same images with other rows; ``None`` drops one."""
    index = read_index(root)
    out.mkdir()
    for domain in DOMAINS:
        (out / domain).symlink_to(root / domain)
    rows = tuple(row for face in index.faces if (row := change(face)) is not None)
    info = index.info if kind is None else replace(index.info, kind=kind)
    write_index(Index(out, info, rows))
    return out


@pytest.fixture(scope="module")
def learner(classed: Path, tiny_detector: MakeDetector) -> MakeDetector:
    """Return a maker of settings that tell the classes of these faces in two seconds."""

    def make(**changes: Any) -> DetectorConfig:
        given = {"source": (str(classed),), "augment": AugmentConfig(rotate=0, shift=0, scale=0)}
        return tiny_detector(**{**given, **changes})

    return make


@pytest.fixture(scope="module")
def class_run(
    learner: MakeDetector, quiet: Progress, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the run of a detector that has learned to tell the classes of RGB faces."""
    out = tmp_path_factory.mktemp("class_run") / "run"
    train_detector(
        learner(steps=60, validate_every=20, save_every=60, batch_size=6), out, progress=quiet
    )
    return out


@pytest.fixture(scope="module")
def hazy_run(
    learner: MakeDetector, quiet: Progress, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the run of a detector that is sure of nothing yet."""
    out = tmp_path_factory.mktemp("hazy_run") / "run"
    train_detector(learner(steps=1), out, progress=quiet)
    return out


def seen(loaded: LoadedDetector, root: Path, domain: Domain, split: Split) -> tuple[Tensor, Index]:
    """Return what a detector says of some faces, and those faces."""
    index = read_index(root).select(domain=domain, split=split)
    pictures = FaceImages([index], domain=domain, size=SIDE)
    return loaded.predict(signed(pictures.batch(torch.arange(len(pictures))))), index


def told(said: Tensor) -> list[str]:
    """Return the most probable class of each face."""
    return [NAMES[max(range(3), key=row.__getitem__)] for row in said.tolist()]


def learned(run: Path) -> dict[str, Tensor]:
    """Return the weights at the end of a training, whichever were kept for use."""
    average: dict[str, Tensor] = finished_checkpoint(run).state()["average"]
    return average


def score(run: Path, index: Path, out: Path, quiet: Progress, **changes: Any) -> dict[str, Any]:
    options = EvaluateOptions(run=run, index=index, out=out, resamples=20)
    return evaluate(replace(options, **changes), progress=quiet)


def test_an_index_with_labels_alone_teaches_its_classes(class_run: Path, classed: Path) -> None:
    loaded = load_detector(class_run, torch.device("cpu"))
    assert loaded.task == Task(classes=NAMES)
    assert loaded.module.head.out_features == 3
    assert loaded.thresholds.tolist() == [0.5] * 3
    said, faces = seen(loaded, classed, "rgb", "test")
    torch.testing.assert_close(said.sum(1), torch.ones(len(said)))
    assert told(said) == [face.label for face in faces.faces]  # of a subject never seen
    assert loaded.decide(said).tolist() == [
        [face.label == name for name in NAMES] for face in faces.faces
    ]


def test_the_loss_falls_and_the_validation_is_the_accuracy_of_the_kept_weights(
    class_run: Path, classed: Path
) -> None:
    lines = read_log(class_run)
    losses = [line["classes"] for line in lines if "classes" in line]
    assert len(losses) == 60
    assert "action_units" not in {name for line in lines for name in line}
    assert sum(losses[-5:]) < sum(losses[:5]) / 2
    looks = {line["step"]: line["validation"] for line in lines if "validation" in line}
    assert set(looks) == {20, 40, 60}
    said, faces = seen(load_detector(class_run, torch.device("cpu")), classed, "rgb", "val")
    right = [one == face.label for one, face in zip(told(said), faces.faces, strict=True)]
    chosen = finished_checkpoint(class_run).about()["chosen_step"]
    assert looks[chosen] == max(looks.values()) == pytest.approx(sum(right) / len(right))


def test_validation_tells_the_accuracy_and_tunes_no_thresholds(
    hazy_run: Path, classed: Path
) -> None:
    loaded = load_detector(hazy_run, torch.device("cpu"))
    said, index = seen(loaded, classed, "rgb", "train")
    labels, known = index.labels(loaded.task)
    parts = [FaceImages([index], domain="rgb", size=SIDE)]
    examples = Examples(parts, labels=labels, known=known, task=loaded.task, channels=3)
    share, thresholds, calibration, intensity = validate(
        loaded.module, examples, make_accelerator("no", double=False)
    )
    right = [g == f.label for g, f in zip(told(said), index.faces, strict=True) if f.label]
    assert len(right) == 17
    assert share == pytest.approx(sum(right) / len(right), abs=1e-12)
    assert thresholds.tolist() == [0.5] * 3
    assert np.allclose(calibration(said), said, atol=1e-9)
    assert intensity is None
    # Guards: what Action Units are judged by says something else.
    assert abs(np.nanmean(average_precision(said, labels, known)) - share) > 0.01
    assert (np.abs(best_thresholds(said, labels, known) - 0.5) > 0.01).all()


def test_an_evaluation_counts_what_its_table_tells(
    hazy_run: Path, classed: Path, quiet: Progress, tmp_path: Path
) -> None:
    def some(face: Face) -> Face:
        if face.path == "thermal/4/0.png":
            return replace(face, label="")
        return replace(face, label="aside") if face.path == "thermal/4/1.png" else face

    root = changed(classed, tmp_path / "index", some)
    result = score(hazy_run, root, tmp_path / "out", quiet)
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == result
    with (tmp_path / "out" / "predictions.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    columns = [f"{n}_{kind}" for n in NAMES for kind in ("probability", "decision", "label")]
    assert list(table[0]) == ["path", "subject", *columns]

    said, faces = seen(load_detector(hazy_run, torch.device("cpu")), root, "thermal", "test")
    assert said.max() < 0.5  # a class is told even so
    assert [row["path"] for row in table] == [face.path for face in faces.faces]
    counts = {true: dict.fromkeys(NAMES, 0) for true in NAMES}
    for row, face, chances, guess in zip(
        table, faces.faces, said.tolist(), told(said), strict=True
    ):
        assert [float(row[f"{name}_probability"]) for name in NAMES] == pytest.approx(
            chances, abs=1e-6
        )
        assert [row[f"{name}_decision"] for name in NAMES] == [str(int(n == guess)) for n in NAMES]
        known = face.label in NAMES
        expected = [str(int(name == face.label)) if known else "" for name in NAMES]
        assert [row[f"{name}_label"] for name in NAMES] == expected
        if known:
            counts[face.label][guess] += 1
    scores = result["scores"]
    assert scores["kind"] == "classes"
    assert scores["confusion"] == [[counts[t][g] for g in NAMES] for t in NAMES]
    assert scores["accuracy"] == pytest.approx(sum(counts[name][name] for name in NAMES) / 4)
    assert [unit["name"] for unit in scores["units"]] == list(NAMES)
    assert scores["frames"] == 4
    assert "2 frames without any label were not scored." in result["notes"]
    assert "annotated but not detected: aside." in result["notes"]
    assert "<svg" in (tmp_path / "out" / "scores.svg").read_text()
    lines = summary_lines(result, tmp_path)
    assert lines[0].startswith(f"accuracy {scores['accuracy']:.4f}")
    assert "3 classes, 4 frames of 1 subjects" in lines


def test_of_every_frame_the_class_is_told(
    class_run: Path, classed: Path, quiet: Progress, tmp_path: Path
) -> None:
    options = DetectOptions(
        run=class_run, sources=(classed,), out=tmp_path, read=ReadOptions(domain="rgb"),
        device=torch.device("cpu"), overlay=True,
    )  # fmt: skip
    (found,) = detect(options, progress=quiet)
    with found.table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    index = read_index(classed).select(domain="rgb")
    detector = load_detector(class_run, torch.device("cpu"))
    raw = predict_faces(detector, index, domain="rgb", progress=quiet)
    assert len(rows) == len(index.faces)
    for row, said in zip(rows, raw.tolist(), strict=True):
        assert [float(row[name]) for name in NAMES] == pytest.approx(said, abs=1e-3)
        assert row["label"] == NAMES[int(np.argmax(said))]
        assert not [name for name in row if name.endswith(("_c", "_r"))]


@pytest.fixture(scope="module")
def translator_of_classes(
    tiny_translator: MakeTranslator,
    classed: Path,
    class_run: Path,
    quiet: Progress,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Literal["soft", "hard"]], Path]:
    """Return a maker of runs of a translator that the detector judged for two steps."""
    root = tmp_path_factory.mktemp("translators")

    def run(keep: Literal["soft", "hard"]) -> Path:
        out = root / keep
        config = tiny_translator(
            data=(str(classed),), detector=str(class_run), pseudo_labels=keep, steps=2
        )
        if not out.exists():
            train_translator(config, out, progress=quiet)
        return out

    return run


def test_a_detector_of_classes_judges_a_translator(
    translator_of_classes: Callable[[Literal["soft", "hard"]], Path],
) -> None:
    terms = {}
    for keep in ("soft", "hard"):
        first = read_log(translator_of_classes(keep))[0]
        terms[keep] = (first["semantic"], first["follower"])
        assert all(value > 0 for value in terms[keep])
    # The same networks on the same faces; hard labels add what the soft ones leave open.
    assert terms["hard"] != terms["soft"]


def test_a_translator_is_evaluated_by_what_becomes_of_the_classes(
    translator_of_classes: Callable[[Literal["soft", "hard"]], Path],
    class_run: Path,
    classed: Path,
    quiet: Progress,
    tmp_path: Path,
) -> None:
    result = score(translator_of_classes("soft"), classed, tmp_path / "out", quiet)
    units = result["scores"]["units"]
    assert [unit["name"] for unit in units] == list(NAMES)
    said, faces = seen(load_detector(class_run, torch.device("cpu")), classed, "rgb", "test")
    guesses, labels = told(said), [face.label for face in faces.faces]
    for unit in units:
        hits = sum(g == true == unit["name"] for g, true in zip(guesses, labels, strict=True))
        total = guesses.count(unit["name"]) + labels.count(unit["name"])
        assert unit["f1_before"] == pytest.approx(2 * hits / total)
        assert 0 <= unit["flip_rate"] <= 1
    assert "answers" not in result["scores"]["not_available"]
    text = report([tmp_path / "out"], tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(name in text for name in NAMES)


ADAPTATIONS: dict[str, dict[str, Any]] = {
    "dann": {"method": "dann"},
    "adda": {"method": "adda"},
    "teachers": {"method": "none"},
    "teachers and dann": {"method": "dann"},
}


@pytest.mark.parametrize("way", ADAPTATIONS)
def test_adaptation_learns_nothing_from_the_classes_of_the_target(
    way: str,
    learner: MakeDetector,
    class_run: Path,
    classed: Path,
    quiet: Progress,
    tmp_path: Path,
) -> None:
    following = dict(zip(NAMES, (*NAMES[1:], NAMES[0]), strict=True))

    def wrong(face: Face) -> Face | None:
        return None if face.domain == "rgb" else replace(face, label=following.get(face.label, ""))

    def removed(face: Face) -> Face | None:
        return None if face.domain == "rgb" else replace(face, label="")

    targets = {
        "as it is": classed,
        "wrong": changed(classed, tmp_path / "wrong", wrong),
        "removed": changed(classed, tmp_path / "removed", removed, kind="none"),
    }
    found = []
    for name, target in targets.items():
        run = tmp_path / f"run {name}"
        config = learner(target=(str(target),), steps=3, validate_every=3)
        config = replace(
            config,
            alignment=replace(config.alignment, **ADAPTATIONS[way]),
            teachers=(str(class_run),) if "teachers" in way else (),
            initial=str(class_run) if way == "adda" else "",
        )
        train_detector(config, run, progress=quiet)
        assert load_detector(run).task == Task(classes=NAMES)
        lines = [line for line in read_log(run) if "validation" not in line]
        named = {"classes"} if way != "adda" else set()
        named |= {"domain", "domain_accuracy"} if way not in ("teachers", "adda") else set()
        named |= {"teachers"} if "teachers" in way else set()
        assert all(named <= line.keys() for line in lines)
        found.append(learned(run))
    before = learned(class_run)
    for other in found[1:]:
        assert all(torch.equal(value, other[name]) for name, value in found[0].items())
    assert any(not torch.equal(value, before[name]) for name, value in found[0].items())


def test_a_page_shows_the_accuracy_and_what_is_taken_for_what(
    class_run: Path, hazy_run: Path, classed: Path, quiet: Progress, tmp_path: Path
) -> None:
    scored: dict[str, tuple[Path, Domain]] = {
        "source_only": (class_run, "thermal"),
        "both": (hazy_run, "thermal"),
        "on_rgb": (class_run, "rgb"),
    }
    for name, (run, domain) in scored.items():
        score(run, classed, tmp_path / "scores" / name, quiet, domain=domain)
    page = report([tmp_path / "scores", class_run, classed], tmp_path / "page.html")
    text = page.read_text(encoding="utf-8")
    for words in ("Accuracy", "True class", "Class loss, nats", f"Classes: {', '.join(NAMES)}."):
        assert words in text, words
    assert "100.00" in text  # the accuracy on RGB
    assert len(re.findall("faces of each true class", text)) >= 3  # a table for every method

    head = json.loads((tmp_path / "scores" / "both" / "scores.json").read_text())
    scores = DetectionScores.from_json(head["scores"])
    section = detection_section([Scored(name="both", scores=scores, head=head)])
    confusion = section.blocks[-1]
    assert isinstance(confusion, Table)
    assert confusion.header == ("True class", "Faces", *NAMES)
    assert [row[0].text for row in confusion.rows] == list(NAMES)
    for row, counts in zip(confusion.rows, scores.confusion, strict=True):
        assert int(row[1].text) == sum(counts)
        assert [int(cell.text or 0) for cell in row[2:]] == list(counts)
    beside = section.blocks[1]
    assert isinstance(beside, Beside)
    assert isinstance(beside.left, Table)
    first = beside.left.rows[0]
    assert first[0].text == "Accuracy"
    assert abs(scores.accuracy - scores.macro_f1) > 0.01  # so that they are told apart
    assert float(first[2].text.split()[0]) == pytest.approx(100 * scores.accuracy, abs=0.005)


def test_the_summary_of_an_index_counts_the_faces_of_each_class(classed: Path) -> None:
    lines = [line.split() for line in summary(read_index(classed)).splitlines()]
    at = lines.index(["class", "images"])
    # 5 subjects with 2 faces of each class in both domains, but for 2 without a label.
    assert lines[at + 1 :] == [["bottom", "18"], ["middle", "20"], ["top", "20"]]


def with_action_units(face: Face) -> Face:
    """Annotate AU01 in every second face, beside its class."""
    assert face.frame is not None
    return replace(face, action_units={1: float(face.frame // 2 % 2), 12: float(face.frame < 3)})


def test_of_an_index_with_both_action_units_are_learned_unless_classes_are_chosen(
    learner: MakeDetector, classed: Path, quiet: Progress, tmp_path: Path
) -> None:
    root = changed(classed, tmp_path / "both", with_action_units, kind="occurrence")
    tasks: dict[str, tuple[dict[str, Any], Task]] = {
        "auto": ({}, Task((1, 12))),
        "chosen": ({"task": "action_units", "action_units": (12,)}, Task((12,))),
        "classes": ({"task": "classes"}, Task(classes=NAMES)),
    }
    for name, (changes, expected) in tasks.items():
        run = tmp_path / name
        train_detector(learner(source=(str(root),), steps=1, **changes), run, progress=quiet)
        assert load_detector(run).task == expected
        assert read_log(run)[0].keys() >= {expected.kind}
        result = score(run, root, tmp_path / f"{name} scores", quiet)
        assert result["scores"]["kind"] == expected.kind
        assert [unit["name"] for unit in result["scores"]["units"]] == list(expected.names)


def test_a_source_without_validation_faces_joins_one_that_has_some(
    learner: MakeDetector, classed: Path, quiet: Progress, tmp_path: Path
) -> None:
    def more(face: Face) -> Face | None:
        return None if face.domain == "thermal" or face.split != "train" else face

    root = changed(classed, tmp_path / "more", more)
    config = learner(source=(str(classed), str(root)), steps=1)
    train_detector(config, tmp_path / "run", progress=quiet)
    assert finished_checkpoint(tmp_path / "run").about()["faces"]["source"] == 36


def refused(
    error: type[CycadaError], words: tuple[str, ...], train: Callable[[], None], out: Path
) -> None:
    with pytest.raises(CycadaError) as caught:
        train()
    message = str(caught.value)
    assert type(caught.value) is error, message
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert message.endswith(".")
    assert not out.exists()


def only(*names: str) -> Callable[[Face], Face]:
    return lambda face: replace(face, label=face.label if face.label in names else "")


def top_in(*splits: str) -> Callable[[Face], Face]:
    """Take the label from the faces of the class "top" in all other splits."""
    return lambda face: (
        replace(face, label="") if face.label == "top" and face.split not in splits else face
    )


def no_labels_in(split: str) -> Callable[[Face], Face]:
    return lambda face: replace(face, label="") if face.split == split else face


IMPOSSIBLE: dict[str, tuple[Callable[[Face], Face], dict[str, Any], type[CycadaError], str]] = {
    "no labels": (only(), {"task": "classes"}, DataError, "no class labels on rgb faces in"),
    "one class": (only("top"), {"task": "classes"}, DataError, "two different ones are needed"),
    "one class, auto": (only("top"), {}, DataError, "two different ones are needed"),
    "AUs of classes": (only(*NAMES), {"task": "action_units"}, DataError, "no AU labels on rgb"),
    "chosen AUs": (
        only(*NAMES), {"task": "classes", "action_units": (1,)}, ConfigError,
        "action_units are chosen, but the task is to tell classes",
    ),
    "chosen AUs, auto": (
        only(*NAMES), {"action_units": (1,)}, ConfigError,
        "action_units are chosen, but the task is to tell classes",
    ),
    "to validate alone": (
        top_in("val"), {}, DataError, "no face in the split 'train' of the source shows class 'top'"
    ),
    "nothing to validate": (
        no_labels_in("val"), {}, DataError,
        "no face in the split 'val' of the source has a class label",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_classes_that_cannot_be_learned(
    case: str, learner: MakeDetector, classed: Path, quiet: Progress, tmp_path: Path
) -> None:
    change, settings, error, words = IMPOSSIBLE[case]
    root = changed(classed, tmp_path / "index", change)
    out = tmp_path / "run"
    config = learner(source=(str(root),), **settings)
    refused(error, (words,), lambda: train_detector(config, out, progress=quiet), out)


def test_a_class_that_no_validation_face_shows_is_learned_all_the_same(
    learner: MakeDetector, classed: Path, quiet: Progress, tmp_path: Path
) -> None:
    root = changed(classed, tmp_path / "index", top_in("train", "test"))
    train_detector(learner(source=(str(root),), steps=1), tmp_path / "run", progress=quiet)
    assert load_detector(tmp_path / "run").task == Task(classes=NAMES)


@pytest.mark.parametrize("place", ["initial", "teachers"])
def test_a_detector_of_action_units_cannot_begin_or_teach_one_of_classes(
    place: str,
    learner: MakeDetector,
    detector_run: Path,
    classed: Path,
    quiet: Progress,
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    if place == "initial":
        config = learner(initial=str(detector_run))
        words = ("initial:", "answers AU01, AU12, AU51, AU52", "bottom, middle, top")
    else:
        config = learner(teachers=(str(detector_run),), target=(str(classed),))
        words = ("teachers:", "does not know bottom")
    refused(ConfigError, words, lambda: train_detector(config, out, progress=quiet), out)


def test_classes_are_not_scored_against_action_units(
    class_run: Path, faces: Path, detector_run: Path, classed: Path, quiet: Progress, tmp_path: Path
) -> None:
    others = changed(
        classed, tmp_path / "others", lambda face: replace(face, subject=f"another {face.subject}")
    )
    with pytest.raises(DataError, match=r"knows bottom, middle, top, .* annotated for AU01, AU12"):
        score(class_run, faces, tmp_path / "out", quiet, domain="rgb")
    with pytest.raises(DataError, match=r"AU52, .* annotated for the classes bottom, middle, top"):
        score(detector_run, others, tmp_path / "out", quiet, domain="rgb")
    assert not (tmp_path / "out").exists()
