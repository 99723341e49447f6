"""A page tells of trainings what their logs tell, and where results come from."""

from __future__ import annotations

import getpass
import json
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from cycada import image_writing
from cycada.config import DetectorConfig, TranslatorConfig
from cycada.data.index import read_index, write_index
from cycada.errors import DataError
from cycada.progress import Progress
from cycada.rejecting import Rejection, write_rejected
from cycada.report.page import Plots, Scrubber, Text
from cycada.stages import train_detector, train_translator
from cycada.stages.audit import audit, write_audit
from cycada.stages.report import report
from cycada.stages.report_faces import samples_strip
from cycada.stages.report_health import health_section
from cycada.training import run as runs
from cycada.training.health import Health
from cycada.training.run import open_run
from cycada.training.run_reading import read_log


def logged(
    root: Path, config: Any, lines: Sequence[dict[str, float]]
) -> tuple[Path, dict[str, Any]]:
    """Return a run with a log, and its ``config.json``."""
    kind = "translator" if isinstance(config, TranslatorConfig) else "detector"
    run = open_run(root, kind, config, writes=True)
    for number, line in enumerate(lines, start=1):
        run.log(10 * number, line)
    return root, json.loads((root / "config.json").read_text())


def words(section: Any) -> list[str]:
    return [block.text for block in section.blocks if isinstance(block, Text)]


def judges(thermal: float, rgb: float) -> list[dict[str, float]]:
    """Return a log whose first part is of sound discriminators, the last fifth of these."""
    sound = {"judge_thermal": 0.2, "judge_rgb": 0.2}
    return [sound] * 16 + [{"judge_thermal": thermal, "judge_rgb": rgb}] * 4


@pytest.mark.parametrize(
    ("kind", "scale"), [("least_squares", 0.25), ("hinge", 1.0)]
)  # loss of scores that are the same for all images
def test_discriminators_that_win_guess_or_are_sound_are_told_apart(
    tmp_path: Path, kind: Any, scale: float
) -> None:
    config = TranslatorConfig(adversarial=kind, steps=200)
    for name, share, told, warns in (
        ("sound", 0.5, "That is sound", False),
        ("wins", 0.05, "it wins", True),
        ("guesses", 0.97, "can hardly tell", True),
    ):
        given = logged(tmp_path / name, config, judges(share * scale, 0.5 * scale))
        section = health_section([given])
        assert section is not None
        thermal, rgb = [block for block in section.blocks if isinstance(block, Text)]
        assert told in thermal.text
        assert f"{100 * share:.0f} % of that of guessing" in thermal.text
        assert thermal.warns == warns
        assert "That is sound" in rgb.text
        plots = section.blocks[0]
        assert isinstance(plots, Plots)
        assert all("guessing" in svg for svg in plots.svgs)


def test_a_discriminator_that_guesses_has_the_loss_that_is_drawn_for_it() -> None:
    from cycada.losses.adversarial import discriminator_loss
    from cycada.stages.report_health import _GUESSES

    for kind, loss in _GUESSES.items():
        least = min(
            float(discriminator_loss(torch.full((9,), s), torch.full((9,), s), kind))  # type: ignore[arg-type]
            for s in torch.linspace(-2, 2, 401).tolist()
        )
        assert least == pytest.approx(loss, abs=1e-6)


def test_a_trial_of_few_steps_is_not_judged(tmp_path: Path) -> None:
    given = logged(tmp_path / "run", TranslatorConfig(steps=200), judges(0.001, 0.001)[-5:])
    section = health_section([given])
    assert section is not None
    assert all("after 50 steps that says nothing yet" in text for text in words(section))


@pytest.mark.parametrize("accuracy", [1.0, 0.5, 0.7])
def test_what_was_said_during_a_training_is_said_again(tmp_path: Path, accuracy: float) -> None:
    lines = [{"domain_accuracy": accuracy}] * 40
    given = logged(tmp_path / "run", DetectorConfig(steps=400), lines)
    health = Health(400)
    said = [text for number in range(1, 41) for text in health.look(10 * number, lines[0])]
    assert bool(said) == (accuracy != 0.7)
    section = health_section([given])
    assert section is not None
    told = words(section)
    assert f"{100 * accuracy:.1f} %" in told[0]
    assert ("That is sound" in told[0]) == (accuracy == 0.7)
    assert [text.rstrip(".").lower() for text in told[1:]] == [
        text.rstrip(".").lower() for text in said
    ]


def test_a_collapse_is_told_from_the_log_as_it_was_while_training(
    tiny_detector: Callable[..., DetectorConfig], quiet: Progress, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    train_detector.run_training(tiny_detector(steps=2), out, progress=quiet)
    about = json.loads((out / "000002" / "about.json").read_text())
    labels, known = read_index(Path(tiny_detector().source[0])).select(
        domain="rgb", split="train"
    ).occurrences([1, 12, 51, 52])  # fmt: skip
    expected = (labels * known).sum(0) / known.sum(0)
    assert about["expected"] == pytest.approx(expected.tolist())
    config = out / "config.json"
    head = json.loads(config.read_text())
    head["settings"]["steps"] = 200
    line = {"target_entropy": 0.01, "target_shift": 5.0}
    for number in range(1, 21):
        with (out / "metrics.jsonl").open("a") as stream:
            stream.write(json.dumps({"step": 10 * number, **line}) + "\n")
    section = health_section([(out, head)])
    assert section is not None
    (text,) = words(section)
    assert "they collapse to one answer" in text
    one_answer = -torch.maximum(expected, 1 - expected).double().log().mean()
    assert f"one answer for all faces makes {one_answer:.3f}" in text


def test_steps_back_and_images_left_out_are_told(tmp_path: Path) -> None:
    root, head = logged(tmp_path / "run", DetectorConfig(steps=400), [{"action_units": 0.5}])
    assert health_section([(root, head)]) is None
    run = open_run(root, "detector", DetectorConfig(steps=400), writes=True)
    run.note_step_back("domain is nan before step 17")
    run.note_step_back("the loss is inf")
    write_rejected(root / "rejected.csv", [Rejection((n,), f"{n}.png", "broken") for n in range(3)])
    section = health_section([(root, head)])
    assert section is not None
    back, left = words(section)
    assert "2 times" in back
    assert "with 1/4 of the learning rates: domain is nan before step 17; the loss is inf" in back
    assert left.startswith("3 images could not be read")
    assert "0.png" not in left
    (root / "steps-back.jsonl").write_text('{"seconds": 1}\n')
    with pytest.raises(DataError, match=r"steps-back\.jsonl: cannot be read"):
        health_section([(root, head)])


def test_a_run_notes_the_machine_and_neither_its_name_nor_its_users(
    translator_run: Path, detector_run: Path
) -> None:
    for run in (translator_run, detector_run):
        (machine,) = json.loads((run / "config.json").read_text())["machines"]
        assert machine["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
        assert (machine["processes"], machine["mixed_precision"]) == (1, "no")
        assert machine["threads"] == torch.get_num_threads()
        told = json.dumps(machine)
        assert platform.node() not in told
        assert f'"{getpass.getuser()}"' not in told
        assert str(Path.home()) not in told


def test_a_run_that_goes_on_elsewhere_names_both_machines_and_here_stays_byte_for_byte(
    tiny_translator: Callable[..., TranslatorConfig], translator_run: Path, quiet: Progress,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = shutil.copytree(translator_run, tmp_path / "run")
    before = (out / "config.json").read_bytes()
    train_translator.run_training(tiny_translator(steps=2), out, progress=quiet)
    assert (out / "config.json").read_bytes() == before
    here = runs.machine_of

    other = {"processor": "Another 3000", "processes": 16, "hosts": 2, "accumulate": 4}

    def elsewhere(accelerator: Any) -> dict[str, Any]:
        return {**here(accelerator), **other}

    monkeypatch.setattr(runs, "machine_of", elsewhere)
    train_translator.run_training(tiny_translator(steps=3), out, progress=quiet)
    monkeypatch.setattr(runs, "machine_of", here)
    train_translator.run_training(tiny_translator(steps=4), out, progress=quiet)
    first, second = json.loads((out / "config.json").read_text())["machines"]
    assert [first] == json.loads(before)["machines"]
    assert second == {**first, **other}
    text = report([out], tmp_path / "a.html", samples=False).read_text(encoding="utf-8")
    assert "Another 3000" in text
    assert "16 processes, 2 hosts, batches in 4 portions" in text
    assert first["processor"] in text.replace("&#34;", '"')


def test_a_page_tells_versions_seeds_and_fingerprints_without_folders(
    detector_run: Path, faces: Path, tmp_path: Path
) -> None:
    text = report([detector_run], tmp_path / "a.html").read_text(encoding="utf-8")
    head = json.loads((detector_run / "config.json").read_text())
    for words_ in (f"PyTorch {head['torch']}", f"Python {head['python']}"):
        assert words_ in text
    assert read_index(faces).fingerprint()[:16] in text
    assert str(faces.parent) not in text
    named = report([detector_run], tmp_path / "b.html", include_subjects=True)
    assert str(faces) in named.read_text(encoding="utf-8")


def test_inputs_of_one_name_keep_their_fingerprints(detector_run: Path, tmp_path: Path) -> None:
    for site in ("a", "b"):
        out = shutil.copytree(detector_run, tmp_path / f"{site}" / "run")
        head = json.loads((out / "config.json").read_text())
        head["inputs"] = {f"/{each}/rgb": f"{each}{site}" * 20 for each in "12"}
        (out / "config.json").write_text(json.dumps(head))
    text = report([tmp_path / "a" / "run", tmp_path / "b" / "run"], tmp_path / "page.html",
                  samples=False).read_text(encoding="utf-8")  # fmt: skip
    for fingerprint in ("1a", "2a", "1b", "2b"):
        assert (fingerprint * 20)[:16] in text


def test_a_run_of_an_earlier_version_is_shown_without_machine(
    detector_run: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(detector_run, tmp_path / "run")
    head = json.loads((out / "config.json").read_text())
    del head["machines"], head["inputs"]
    (out / "config.json").write_text(json.dumps(head))
    assert "not recorded" in report([out], tmp_path / "a.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("place", ["audit", "faces", "faces/audit"])
def test_a_page_says_what_the_audit_said_and_names_nobody(
    own_faces: Path, tmp_path: Path, place: str
) -> None:
    index = read_index(own_faces)
    rows = tuple(replace(face, subject=f"Jane Doe {face.subject}") for face in index.faces)
    write_index(replace(index, faces=rows))
    (own_faces / index.faces[0].path).write_bytes(b"broken")
    found = audit([own_faces], progress=Progress(shown=False))
    assert found.errors
    out = tmp_path / place.replace("faces", own_faces.name)
    write_audit(found, out)
    paths = [own_faces, out] if place == "audit" else [own_faces]
    text = report(paths, tmp_path / "a.html", samples=False).read_text(encoding="utf-8")
    assert f"{found.errors} error" in text
    assert "files that break off" in text
    assert "in 40 images of own_faces" in text
    assert "Jane Doe" not in text
    assert index.faces[0].path not in text
    named = report(paths, tmp_path / "b.html", samples=False, include_subjects=True)
    assert index.faces[0].path in named.read_text(encoding="utf-8")


def test_without_an_audit_a_page_says_how_to_have_one(own_faces: Path, tmp_path: Path) -> None:
    text = report([own_faces], tmp_path / "a.html", samples=False).read_text(encoding="utf-8")
    assert "No audit of the data was given" in text


def test_an_audit_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "audit.json").write_text('{"findings": [1]}')
    with pytest.raises(DataError, match="was not written by `cycada audit`"):
        report([tmp_path / "audit"], tmp_path / "a.html")


@pytest.mark.parametrize("count", [1, 2, 60, 150])
def test_samples_become_at_most_sixty_frames_from_the_first_to_the_last(
    tmp_path: Path, count: int
) -> None:
    for number in range(1, count + 1):
        grid = torch.full((3, 6 * 8, 4 * 8), number % 256, dtype=torch.uint8)
        image_writing.write_image(tmp_path / "samples" / f"{100 * number:06d}.png", grid)
    scrubbers = [block for block in samples_strip(tmp_path) if isinstance(block, Scrubber)]
    assert len(scrubbers) == (count > 1)
    if scrubbers:
        labels = [label for label, _ in scrubbers[0].frames]
        assert len(labels) == min(count, 60)
        assert (labels[0], labels[-1]) == ("Step 100", f"Step {100 * count:,}")
        steps = [int(label.removeprefix("Step ").replace(",", "")) for label in labels]
        gaps = {b - a for a, b in pairwise(steps)}
        assert max(gaps) - min(gaps) <= 100
        assert all(uri.startswith("data:image/webp") for _, uri in scrubbers[0].frames)


def test_no_sample_is_shown_where_no_face_may_be(translator_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(translator_run, tmp_path / "run")
    for step in (1, 2):
        grid = torch.zeros(3, 6 * 16, 4 * 16, dtype=torch.uint8)
        image_writing.write_image(run / "samples" / f"{step:06d}.png", grid)
    shown = report([run], tmp_path / "a.html").read_text(encoding="utf-8")
    assert 'class="scrubber"' in shown
    assert read_log(run)
    bare = report([run], tmp_path / "b.html", samples=False).read_text(encoding="utf-8")
    assert 'class="scrubber"' not in bare
    assert "data:image" not in bare
