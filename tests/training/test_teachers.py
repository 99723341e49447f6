"""What teachers answer for unlabelled faces, and what the detector makes of their answers."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from cycada.config import DetectorConfig
from cycada.data.dataset import FaceImages
from cycada.data.index import read_index, write_index
from cycada.losses.labels import label_loss
from cycada.metrics.centring import centred
from cycada.models.detector import AdaptiveDetector, Detection, Detector
from cycada.progress import Progress
from cycada.stages.train_detector import run_training
from cycada.task import Task, TaskKind
from cycada.training.detector import make_state
from cycada.training.detector_step import DetectorState, detector_step, make_learn
from cycada.training.examples import Examples, Frequencies, Labelled
from cycada.training.launch import make_accelerator
from cycada.training.loading import LoadedDetector
from cycada.training.run_reading import finished_checkpoint, read_log
from cycada.training.self_training import Unlabelled
from cycada.training.teachers import joint_answers

SIDE = 16
QUIET = Progress(shown=False)
NUMBERS = (1, 12, 51, 52)  # of the tiny faces
SWAPPED = {51: 52, 52: 51}  # head turn left and right


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_loop(log_odds: Tensor, subjects: Sequence[str], share: float) -> Tensor:
    rows = log_odds.tolist()
    out = []
    for face, row in enumerate(rows):
        others = [k for k, name in enumerate(subjects) if name == subjects[face] and k != face]
        new = []
        for unit, value in enumerate(row):
            usual = math.fsum(other[unit] for other in rows) / len(rows)
            if others:
                alike = math.fsum(rows[k][unit] for k in others) / len(others)
                new.append(value - share * (alike - usual))
            else:
                new.append(value)
        out.append(new)
    return torch.tensor(out, dtype=torch.float64)


@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
def test_subjects_are_centred_as_a_loop_over_their_other_faces_does(share: float) -> None:
    subjects = list("acbbacaaedb")  # not in runs, and two with a single face
    log_odds = random(len(subjects), 3) * 3
    found = centred(log_odds, subjects, share=share)
    torch.testing.assert_close(found, by_loop(log_odds, subjects, share), rtol=0, atol=1e-12)
    single = [subjects.index("d"), subjects.index("e")]
    assert torch.equal(found[single], log_odds[single])
    rest = [k for k, name in enumerate(subjects) if name not in "de"]
    assert (found[rest] != log_odds[rest]).all()


def test_two_subjects_by_hand() -> None:
    log_odds = torch.tensor([[1.0], [3.0], [-2.0], [0.0], [-1.0]], dtype=torch.float64)
    subjects = ("a", "a", "b", "b", "b")
    # The mean of all is 0.2; the other faces of each have 3, 1, -0.5, -1.5 and -1 alike.
    whole = torch.tensor([[-1.8], [2.2], [-1.3], [1.7], [0.2]], dtype=torch.float64)
    torch.testing.assert_close(centred(log_odds, subjects, share=1), whole)
    half = (log_odds + whole) / 2
    torch.testing.assert_close(centred(log_odds, subjects, share=0.5), half)


def test_nothing_changes_without_a_share_or_where_every_subject_has_one_face() -> None:
    log_odds = random(4, 2)
    assert torch.equal(centred(log_odds, list("aabb"), share=0), log_odds)
    assert torch.equal(centred(log_odds, list("abcd"), share=1), log_odds)


def test_faces_of_a_single_subject_are_centred_among_themselves() -> None:
    log_odds = torch.tensor([[2.0], [4.0], [9.0]], dtype=torch.float64)
    expected = torch.tensor([[2 - 6.5 + 5], [4 - 5.5 + 5], [9 - 3.0 + 5]], dtype=torch.float64)
    torch.testing.assert_close(centred(log_odds, ["a"] * 3, share=1), expected)


def thermal_examples(root: Path, numbers: Sequence[int] = NUMBERS) -> Examples:
    index = read_index(root).select(domain="thermal", split="train")
    labels, known = index.occurrences(tuple(numbers))
    part = FaceImages([index], domain="thermal", size=SIDE)
    return Examples([part], labels=labels, known=known, task=Task(tuple(numbers)), channels=1)


def loaded(module: nn.Module, numbers: Sequence[int], config: DetectorConfig) -> LoadedDetector:
    return LoadedDetector(
        root=Path("none"), module=cast("Detector", module), config=config,
        task=Task(tuple(numbers)), thresholds=torch.full((len(numbers),), 0.5), calibration=None,
        intensity=None, source_domains=("rgb",), seen=frozenset(), window=None,
        device=torch.device("cpu"),
    )  # fmt: skip


def random_teacher(
    numbers: Sequence[int], config: DetectorConfig, *, channels: int, seed: int
) -> LoadedDetector:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = Detector(
            "small", channels=channels, outputs=len(numbers), width=4, pretrained="none"
        )
        with torch.no_grad():
            module.head.weight.mul_(4)
    return loaded(module.eval(), numbers, config)


@torch.no_grad()
def by_hand(
    teachers: Sequence[LoadedDetector], examples: Examples, numbers: Sequence[int], *, mirror: bool
) -> Tensor:
    """Return the mean log-odds, one face, one AU and one teacher after the other."""
    out = torch.zeros(len(examples), len(numbers), dtype=torch.float64)
    for face in range(len(examples)):
        picture = examples.batch(torch.tensor([face])).images
        for teacher in teachers:
            shown = picture.expand(1, teacher.module.channels, SIDE, SIDE)
            here = teacher.module(shown).logits[0].tolist()
            there = teacher.module(shown.flip(-1)).logits[0].tolist()
            for column, number in enumerate(numbers):
                told = [here[teacher.task.action_units.index(number)]]
                other = SWAPPED.get(number, number)
                if mirror and other in numbers:
                    told.append(there[teacher.task.action_units.index(other)])
                out[face, column] += sum(told) / len(told) / len(teachers)
    return out


# In order; some; AUs whose mirrored partner nobody asked for; left and right turned about.
@pytest.mark.parametrize("numbers", [(1, 12, 51, 52), (12,), (1, 51), (52, 12, 51)])
@pytest.mark.parametrize("centring", [0.0, 0.5])
@pytest.mark.parametrize("mirrored", [True, False])
def test_teachers_answer_with_the_mean_of_their_log_odds_on_faces_and_mirror_images(
    numbers: tuple[int, ...],
    centring: float,
    mirrored: bool,
    faces: Path,
    tiny_detector: Callable[..., DetectorConfig],
) -> None:
    examples = thermal_examples(faces, numbers)
    teachers = [
        random_teacher(NUMBERS, tiny_detector(), channels=3, seed=1),
        random_teacher((52, 4, 12, 1, 51), tiny_detector(), channels=1, seed=2),
    ]
    found = joint_answers(
        teachers, examples, centring=centring, mirrored=mirrored,
        accelerator=make_accelerator("no", double=False), progress=QUIET,
    )  # fmt: skip
    subjects = [face.subject for face in examples.parts[0].faces]
    assert len(set(subjects)) == 3
    log_odds = by_hand(teachers, examples, numbers, mirror=mirrored)
    expected = torch.sigmoid(by_loop(log_odds, subjects, centring))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    # Guards: one teacher alone, or faces without (with) their mirror images, say something else.
    for other in (
        by_hand(teachers[:1], examples, numbers, mirror=mirrored),
        by_hand(teachers[1:], examples, numbers, mirror=mirrored),
        by_hand(teachers, examples, numbers, mirror=not mirrored),
    ):
        assert (torch.sigmoid(by_loop(other, subjects, centring)) - found).abs().max() > 1e-3


@pytest.mark.parametrize("centring", [0.0, 0.5])
@pytest.mark.parametrize("mirrored", [True, False])
def test_teachers_of_classes_answer_with_the_mean_of_their_log_probabilities(
    centring: float,
    mirrored: bool,
    faces: Path,
    tiny_detector: Callable[..., DetectorConfig],
) -> None:
    task = Task(classes=("sad", "happy", "calm"))
    orders = (("sad", "happy", "calm"), ("calm", "sad", "happy"))
    part = thermal_examples(faces).parts[0]
    nothing = torch.zeros(len(part), 3)
    examples = Examples([part], labels=nothing, known=nothing.bool(), task=task, channels=1)
    teachers = []
    for seed, names in enumerate(orders):
        like_units = random_teacher((1, 2, 4), tiny_detector(), channels=1, seed=seed)
        like_units.module.kind = "classes"
        teachers.append(replace(like_units, task=Task(classes=names)))
    found = joint_answers(
        teachers, examples, centring=centring, mirrored=mirrored,
        accelerator=make_accelerator("no", double=False), progress=QUIET,
    )  # fmt: skip

    def expected(chosen: Sequence[int]) -> Tensor:
        mean = []
        for face in range(len(examples)):
            picture = examples.batch(torch.tensor([face])).images
            views = (picture, picture.flip(-1)) if mirrored else (picture,)
            row = dict.fromkeys(task.classes, 0.0)
            for number in chosen:
                for view in views:
                    logits = teachers[number].module(view).logits[0].tolist()
                    total = math.log(math.fsum(map(math.exp, logits)))
                    for name, value in zip(orders[number], logits, strict=True):
                        row[name] += (value - total) / len(views) / len(chosen)
            mean.append([row[name] for name in task.classes])
        subjects = [face.subject for face in part.faces]
        centred_rows = by_loop(torch.tensor(mean, dtype=torch.float64), subjects, centring)
        return centred_rows.exp() / centred_rows.exp().sum(1, keepdim=True)

    torch.testing.assert_close(found, expected((0, 1)), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.sum(1), torch.ones(len(found), dtype=torch.float64))
    for alone in (0, 1):
        assert (found - expected((alone,))).abs().max() > 1e-3


class Sides(nn.Module):
    """Calls a head turned left by the brightness on its left, turned right by that on its right."""

    channels, kind = 1, "action_units"

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(3.0))

    def forward(self, image: Tensor) -> Detection:
        half = image.shape[-1] // 2
        left, right = (part.mean((1, 2, 3)) for part in (image[..., :half], image[..., half:]))
        return Detection(image, self.factor * torch.stack((left, right), 1))


def test_left_and_right_change_places_in_the_mirror(
    faces: Path, tiny_detector: Callable[..., DetectorConfig]
) -> None:
    examples = thermal_examples(faces, (51, 52))
    accelerator = make_accelerator("no", double=False)
    teacher = loaded(Sides(), (51, 52), tiny_detector())
    found = joint_answers(
        [teacher], examples, centring=0, mirrored=True, accelerator=accelerator, progress=QUIET
    )
    pictures = examples.batch(torch.arange(len(examples))).images
    plain = torch.sigmoid(teacher.module(pictures).logits.detach()).double()
    assert (plain[:, 0] - plain[:, 1]).abs().max() > 0.05
    # Seen in a mirror, left is right and right is left: it says the same of each head.
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-6)


class Sure(nn.Module):
    channels, kind = 1, "action_units"

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(logit))

    def forward(self, image: Tensor) -> Detection:
        return Detection(image, self.logit.expand(len(image), 1))


def test_teachers_that_are_sure_of_the_opposite_leave_it_open(
    faces: Path, tiny_detector: Callable[..., DetectorConfig]
) -> None:
    examples = thermal_examples(faces, (1,))
    accelerator = make_accelerator("no", double=False)
    sure = [loaded(Sure(logit), (1,), tiny_detector()) for logit in (200.0, -200.0)]

    def answers(teachers: list[LoadedDetector]) -> Tensor:
        return joint_answers(
            teachers, examples, centring=0.5, mirrored=True, accelerator=accelerator,
            progress=QUIET,
        )  # fmt: skip

    half = torch.full((len(examples), 1), 0.5, dtype=torch.float64)
    torch.testing.assert_close(answers(sure), half, rtol=0, atol=1e-6)
    torch.testing.assert_close(answers(sure[:1]), half + 0.5, rtol=0, atol=2e-6)


def test_answers_do_not_depend_on_labels(
    faces: Path, tiny_detector: Callable[..., DetectorConfig]
) -> None:
    examples = thermal_examples(faces)
    accelerator = make_accelerator("no", double=False)
    teachers = [random_teacher(NUMBERS, tiny_detector(), channels=3, seed=1)]
    before = joint_answers(
        teachers, examples, centring=0.5, mirrored=True, accelerator=accelerator, progress=QUIET
    )
    examples.labels, examples.known = 1 - examples.labels, ~examples.known
    after = joint_answers(
        teachers, examples, centring=0.5, mirrored=True, accelerator=accelerator, progress=QUIET
    )
    assert torch.equal(before, after)


@pytest.mark.parametrize("backbone", ["small", "without statistics"])
def test_a_target_without_a_domain_classifier_gets_scores_and_no_domain(backbone: str) -> None:
    torch.manual_seed(0)
    detector = Detector("small", channels=1, outputs=3, width=4, pretrained="none")
    if backbone != "small":
        detector.backbone.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.AdaptiveMaxPool2d(4), nn.Flatten()
        )
    model = AdaptiveDetector(detector, None)
    assert model.separate == (backbone == "small")
    before, alone = copy.deepcopy(detector), copy.deepcopy(detector)
    draw = torch.Generator().manual_seed(1)
    source, target = (torch.rand(count, 1, SIDE, SIDE, generator=draw) for count in (3, 5))
    out = model(source, target * 0.2, 1.0)
    torch.testing.assert_close(out.logits, alone(source).logits)
    torch.testing.assert_close(out.target_logits, alone(target * 0.2).logits)
    assert out.source_domain is None
    assert out.target_domain is None
    only = copy.deepcopy(before)
    only(target * 0.2)  # whose statistics are used after training
    for (name, found), wanted in zip(model.detector.named_buffers(), only.buffers(), strict=True):
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(found, wanted)
    assert model(source, None, 1.0).target_logits is None


def batch(seed: int, *, soft: bool) -> Labelled:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.rand(4, 4, generator=draw, dtype=torch.float64)
    return Labelled(
        torch.rand(4, 3, SIDE, SIDE, generator=draw, dtype=torch.float64) * 2 - 1,
        labels if soft else (labels < 0.5).double(),
        torch.rand(4, 4, generator=draw) < 0.7,
    )


SOURCE, TARGET = batch(1, soft=False), batch(2, soft=True)
SIGNS = ("target_entropy", "target_shift")  # of a collapse, logged beside the terms
POSITIVE = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)


def one_step(
    config: DetectorConfig,
    source: Labelled = SOURCE,
    target: Labelled = TARGET,
    kind: TaskKind = "action_units",
) -> tuple[DetectorState, Detector, dict[str, Tensor]]:
    """Return the state after a step, the detector as it was before and the figures."""
    accelerator = make_accelerator("no", double=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        detector = Detector("small", channels=3, outputs=4, width=4, pretrained="none", kind=kind)
    before = copy.deepcopy(detector).double()
    state = make_state(config, detector, accelerator)
    figures = detector_step(
        state, source, Unlabelled(target.images, answers=target if config.teachers else None),
        step=1, config=config, accelerator=accelerator, learn=make_learn(
            state, Frequencies(POSITIVE, torch.full_like(POSITIVE, 0.25)), config, accelerator,
            print,
        ),
    )  # fmt: skip
    return state, before, figures


def taught(make: Callable[..., DetectorConfig], **changes: Any) -> DetectorConfig:
    return make(**{"target": ("t",), "teachers": ("r",), "double": True, "clip_norm": 0, **changes})


def test_the_figure_is_the_cross_entropy_with_the_answers(
    tiny_detector: Callable[..., DetectorConfig],
) -> None:
    _, before, figures = one_step(taught(tiny_detector, teacher_weight=3.0))
    with torch.no_grad():
        said = torch.sigmoid(before(TARGET.images).logits)
    terms = [
        -p * math.log(q) - (1 - p) * math.log(1 - q)
        for p, q, known in zip(
            TARGET.labels.flatten().tolist(), said.flatten().tolist(),
            TARGET.known.flatten().tolist(), strict=True,
        )
        if known
    ]  # fmt: skip
    assert 0 < len(terms) < TARGET.known.numel()
    assert figures.keys() == {"action_units", "teachers", *SIGNS}
    assert float(figures["teachers"]) == pytest.approx(math.fsum(terms) / len(terms), rel=1e-12)


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_the_gradient_is_that_of_the_labels_and_of_the_weighted_answers(
    weight: float, tiny_detector: Callable[..., DetectorConfig]
) -> None:
    state, before, _ = one_step(taught(tiny_detector, teacher_weight=weight))
    kind = before.kind
    labelled = label_loss(
        before(SOURCE.images).logits, SOURCE.labels, SOURCE.known, kind=kind, weight=POSITIVE
    )
    answered = label_loss(before(TARGET.images).logits, TARGET.labels, TARGET.known, kind=kind)
    own = torch.autograd.grad(labelled, list(before.parameters()))
    theirs = torch.autograd.grad(answered, list(before.parameters()))
    assert max(float(gradient.abs().max()) for gradient in theirs) > 1e-3
    for parameter, one, other in zip(state.model.parameters(), own, theirs, strict=True):
        expected = one + weight * other
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-9, atol=1e-12)


def of_classes(faces: Labelled, *, soft: bool) -> Labelled:
    """Return the same faces with one class each, or probabilities; nothing of the second."""
    labels = torch.softmax(faces.labels * 4, 1)
    if not soft:
        labels = nn.functional.one_hot(labels.argmax(1), 4).double()
    known = torch.tensor([True, False, True, True])
    return Labelled(faces.images, labels, known[:, None].expand(-1, 4))


def cross_entropy_by_hand(
    logits: Tensor, faces: Labelled, weight: Sequence[float] = (1.0, 1.0, 1.0, 1.0)
) -> float:
    """Return the mean over the labelled faces of the weighted cross-entropy."""
    terms = []
    rows = zip(logits.tolist(), faces.labels.tolist(), faces.known[:, 0].tolist(), strict=True)
    for row, wanted, known in rows:
        total = math.fsum(math.exp(value) for value in row)
        if known:
            each = zip(wanted, row, weight, strict=True)
            terms.append(-math.fsum(w * p * math.log(math.exp(z) / total) for p, z, w in each))
    return math.fsum(terms) / len(terms)


def test_the_figures_of_classes_are_the_cross_entropies_with_labels_and_answers(
    tiny_detector: Callable[..., DetectorConfig],
) -> None:
    source, target = of_classes(SOURCE, soft=False), of_classes(TARGET, soft=True)
    state, before, figures = one_step(
        taught(tiny_detector, teacher_weight=3.0), source, target, "classes"
    )
    assert figures.keys() == {"classes", "teachers", *SIGNS}
    with torch.no_grad():
        said, answered = before(source.images).logits, before(target.images).logits
    labelled = cross_entropy_by_hand(said, source, POSITIVE.tolist())
    assert float(figures["classes"]) == pytest.approx(labelled, rel=1e-12)
    taught_by = cross_entropy_by_hand(answered, target)
    assert float(figures["teachers"]) == pytest.approx(taught_by, rel=1e-12)
    # d/dz of a weighted cross-entropy, summed over the faces, is that of the bias of the head.
    slopes = []
    for logits, faces, weight, share in (
        (said, source, POSITIVE, 1.0), (answered, target, torch.ones_like(POSITIVE), 3.0),
    ):  # fmt: skip
        wanted = faces.labels * weight
        each = torch.softmax(logits, 1) * wanted.sum(1, keepdim=True) - wanted
        known = faces.known[:, 0]
        slopes.append(share * each[known].sum(0) / known.sum())
    gradient = dict(state.model.named_parameters())["detector.head.bias"].grad
    torch.testing.assert_close(gradient, slopes[0] + slopes[1], rtol=1e-9, atol=1e-12)


def test_teachers_of_no_weight_change_nothing(tiny_detector: Callable[..., DetectorConfig]) -> None:
    without, _, figures = one_step(taught(tiny_detector, teachers=()))
    assert figures.keys() == {"action_units", *SIGNS}
    for weight in (0.0, 1.0):
        state, _, _ = one_step(taught(tiny_detector, teacher_weight=weight))
        pairs = zip(state.model.parameters(), without.model.parameters(), strict=True)
        same = all(torch.equal(one, other) for one, other in pairs)
        assert same == (weight == 0)


def test_teachers_teach_beside_an_alignment(tiny_detector: Callable[..., DetectorConfig]) -> None:
    config = taught(tiny_detector)
    alignment = replace(config.alignment, method="dann")
    _, _, alone = one_step(config)
    _, _, both = one_step(replace(config, alignment=alignment))
    assert both.keys() == {"action_units", "teachers", "domain", "domain_accuracy", *SIGNS}
    assert float(both["teachers"]) == pytest.approx(float(alone["teachers"]), rel=1e-12)


def test_labels_of_the_target_do_not_matter(
    faces: Path,
    tiny_detector: Callable[..., DetectorConfig],
    detector_run: Path,
    quiet: Progress,
    tmp_path: Path,
) -> None:
    """The source is the RGB faces; whatever the thermal ones are labelled, the end is the same."""

    def weights(name: str, change: Callable[[dict[int, float]], dict[int, float]]) -> Any:
        index = read_index(faces)
        thermal = index.select(domain="thermal").faces
        root, run = tmp_path / name, tmp_path / f"{name}_run"
        (tmp_path / name).mkdir()
        (root / "thermal").symlink_to(faces / "thermal")
        changed = tuple(replace(f, action_units=change(dict(f.action_units))) for f in thermal)
        write_index(replace(index, root=root, faces=changed))
        config = tiny_detector(target=(str(root),), teachers=(str(detector_run),))
        run_training(config, run, progress=quiet)
        assert all("teachers" in line for line in read_log(run) if "validation" not in line)
        checkpoint = finished_checkpoint(run)
        return safetensors.torch.load_file(checkpoint.folder / "detector.safetensors")

    left = weights("as they are", lambda units: units)
    for name, change in (
        ("turned", lambda units: {n: 1 - value for n, value in units.items()}),
        ("removed", lambda _: {}),
    ):
        right = weights(name, cast("Any", change))
        assert left.keys() == right.keys()
        assert all(torch.equal(value, right[name]) for name, value in left.items())
