"""An audit finds every planted fault and nothing in clean phantom faces; trainings heed it."""

from __future__ import annotations

import html
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from cycada import image_reading, image_writing, images, thermal
from cycada.cli import main
from cycada.config import AlignmentConfig, DetectorConfig, TranslatorConfig
from cycada.data.auditing import labels
from cycada.data.auditing.finding import Check
from cycada.data.index import Face, read_index, write_index
from cycada.errors import DataError
from cycada.progress import Progress
from cycada.stages import train_detector, train_translator
from cycada.stages.audit import Audit, audit, summary, write_audit
from cycada.stages.phantom import PhantomOptions, make_phantom

SIZE = 48  # px; the smallest faces of which near duplicates are found


class Sets(NamedTuple):
    """Two indexes of phantom faces: single ones in both domains, and thermal videos."""

    stills: Path
    video: Path


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory, quiet: Progress) -> Sets:
    root = tmp_path_factory.mktemp("audited")
    sets = Sets(root / "stills", root / "video")
    options = PhantomOptions(
        out=sets.stills, rgb_subjects=10, thermal_subjects=10, frames=8, size=SIZE,
        paired=("test",),
    )  # fmt: skip
    make_phantom(options, progress=quiet)
    options = replace(
        options, out=sets.video, rgb_subjects=0, thermal_subjects=3, frames=12, video=True,
        paired=(), seed=1,
    )  # fmt: skip
    index = make_phantom(options, progress=quiet)
    # Other people than those of the first index, whose names these would be.
    write_index(
        replace(index, faces=tuple(replace(f, subject=f"video {f.subject}") for f in index.faces))
    )
    audit(sets, progress=quiet)  # so that copies need not be looked at anew
    return sets


@pytest.fixture
def sets(clean: Sets, tmp_path: Path) -> Sets:
    """Return a copy that the test may spoil."""
    return Sets(*(shutil.copytree(place, tmp_path / place.name) for place in clean))


def rows(root: Path, domain: str, split: str) -> list[Face]:
    return [f for f in read_index(root).faces if (f.domain, f.split) == (domain, split)]


def read(root: Path, face: Face) -> Tensor:
    return image_reading.read_image(root / face.path)


def repoint(root: Path, face: Face, path: str) -> None:
    """Let a row name another file."""
    index = read_index(root)
    write_index(
        replace(index, faces=tuple(replace(f, path=path) if f == face else f for f in index.faces))
    )


def duplicate(sets: Sets) -> None:
    learned, tested = (rows(sets.stills, "rgb", split)[0] for split in ("train", "test"))
    image_writing.write_image(sets.stills / "copy.tiff", read(sets.stills, learned))
    repoint(sets.stills, tested, "copy.tiff")


def near_duplicate(sets: Sets) -> None:
    learned, seen = (rows(sets.stills, "rgb", split)[1] for split in ("train", "val"))
    image_writing.write_image(sets.stills / "near.jpg", read(sets.stills, learned).flip(-1))
    repoint(sets.stills, seen, "near.jpg")


def subject_in_two_splits(sets: Sets) -> None:
    file = sets.stills / "index.csv"
    lines = file.read_text().splitlines()
    torn = rows(sets.stills, "rgb", "train")[-1].path
    file.write_text(
        "\n".join(line.replace(",train,", ",val,") if line.startswith(f"{torn},") else line
                  for line in lines) + "\n"
    )  # fmt: skip


def two_names(sets: Sets) -> None:
    faces = rows(sets.stills, "rgb", "train")
    other = next(face for face in faces if face.subject != faces[0].subject)
    shutil.copy(sets.stills / faces[2].path, sets.stills / other.path)


def unit_that_never_occurs(sets: Sets) -> None:
    index = read_index(sets.stills)
    write_index(
        replace(
            index,
            faces=tuple(
                replace(f, action_units={**f.action_units, 12: 0.0})
                if (f.domain, f.split) == ("rgb", "train")
                else f
                for f in index.faces
            ),
        )
    )


def truncated_file(sets: Sets) -> None:
    file = sets.stills / rows(sets.stills, "rgb", "train")[4].path
    file.write_bytes(file.read_bytes()[:900])


def blank_file(sets: Sets) -> None:
    face = rows(sets.stills, "rgb", "train")[5]
    image_writing.write_image(
        sets.stills / face.path, torch.full((3, SIZE, SIZE), 9, dtype=torch.uint8)
    )


def palette(sets: Sets) -> None:
    face = rows(sets.stills, "thermal", "train")[0]
    celsius = thermal.celsius_from_counts(read(sets.stills, face), "centikelvin")
    share = thermal.to_signed(celsius, thermal.Window(28, 37)) / 2 + 0.5
    coloured = torch.cat([share.sqrt(), share**3, torch.sin(6.28 * share).clamp(0)])  # as iron
    image_writing.write_image(sets.stills / face.path, (coloured * 255).to(torch.uint8))


def bytes_in_sixteen_bits(sets: Sets) -> None:
    face = rows(sets.stills, "thermal", "train")[1]
    celsius = thermal.celsius_from_counts(read(sets.stills, face), "centikelvin")
    grey = images.from_signed(thermal.to_signed(celsius, thermal.Window()), dtype=torch.uint8)
    image_writing.write_image(sets.stills / face.path, grey.to(torch.int32).to(torch.uint16))


def window_beside_the_faces(sets: Sets) -> None:
    file = sets.stills / "index.toml"
    file.write_text(file.read_text().replace("[28.0, 37.0]", "[36.5, 40.0]"))


def stretched_frames(sets: Sets) -> None:
    for face in rows(sets.video, "thermal", "train"):
        counts = read(sets.video, face).float()
        share = (counts - counts.min()) / (counts.max() - counts.min())
        frame = thermal.counts_from_celsius(28 + 9 * share, "centikelvin")
        image_writing.write_image(sets.video / face.path, frame)


def inverted_grey(sets: Sets) -> None:
    draw = torch.Generator().manual_seed(0)
    for face in read_index(sets.stills).faces:
        if not face.pair:
            continue
        rgb, warm = (face.path, face.pair) if face.domain == "rgb" else (face.pair, face.path)
        grey = images.with_channels(image_reading.read_image(sets.stills / rgb).float(), 1)
        celsius = 36 - grey / 255 * 8 + 0.05 * torch.randn(grey.shape, generator=draw)
        counts = thermal.counts_from_celsius(celsius, "centikelvin")
        image_writing.write_image(sets.stills / warm, counts)


def mixed_cameras(sets: Sets) -> None:
    """Give half of the people a camera with four times the noise."""
    draw = torch.Generator().manual_seed(0)
    for face in read_index(sets.stills).faces:
        if face.domain == "thermal" and int(face.subject[-1]) % 2:
            counts = read(sets.stills, face).float()
            noisy = counts + 20 * torch.randn(counts.shape, generator=draw)
            image_writing.write_image(sets.stills / face.path, noisy.int().to(torch.uint16))


FAULTS: dict[Check, Callable[[Sets], None]] = {
    "duplicates": duplicate,
    "near duplicates": near_duplicate,
    "names": two_names,
    "prevalence": unit_that_never_occurs,
    "corrupt": truncated_file,
    "blank": blank_file,
    "cameras": mixed_cameras,
    "palette": palette,
    "depth": bytes_in_sixteen_bits,
    "stretch": stretched_frames,
    "luminance": inverted_grey,
    "subjects": subject_in_two_splits,  # last: such an index cannot be written
}
SEVERE = {"duplicates", "subjects", "names", "corrupt", "palette", "depth", "stretch", "luminance"}


def checks(found: Audit) -> list[Check]:
    return sorted(finding.check for finding in found.findings)


def test_nothing_is_found_in_clean_phantom_faces(clean: Sets, quiet: Progress) -> None:
    found = audit(clean, progress=quiet)
    assert found.findings == ()
    assert len(found.seen) == 160 + 36
    assert summary(found) == f"Nothing found in 196 images of {clean.stills}, {clean.video}."


@pytest.mark.parametrize("check", FAULTS)
def test_a_planted_fault_is_found_by_its_check_alone(
    check: Check, sets: Sets, quiet: Progress
) -> None:
    FAULTS[check](sets)
    found = audit(sets, progress=quiet)
    assert checks(found) == [check], [finding.text for finding in found.findings]
    assert bool(found.errors) == (check in SEVERE)
    assert found.findings[0].text.endswith(".")


def test_twelve_faults_at_once_are_all_found_and_nothing_else(
    sets: Sets, quiet: Progress, tmp_path: Path
) -> None:
    for plant in FAULTS.values():
        plant(sets)
    found = audit(sets, progress=quiet)
    assert checks(found) == sorted(FAULTS), [finding.text for finding in found.findings]
    page = write_audit(found, tmp_path / "out").read_text()
    told = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert [finding["check"] for finding in told["findings"]] == [f.check for f in found.findings]
    assert told["images"] == 196
    for finding in found.findings:
        assert finding.text.partition("'")[0] in html.unescape(page)
        shown = f"{finding.severity.capitalize()}: {finding.check}" in page
        assert shown == bool(finding.examples)
    pictures = [e for f in found.findings if f.check != "corrupt" for e in f.examples]
    assert page.count("<img") == sum(len(example.files) for example in pictures)


def test_an_index_that_cannot_be_read_is_a_finding_and_the_others_are_looked_at(
    clean: Sets, quiet: Progress, tmp_path: Path
) -> None:
    found = audit([tmp_path / "none", clean.video], progress=quiet)
    assert checks(found) == ["index"]
    assert "there is no index" in found.findings[0].text
    assert len(found.seen) == 36


def test_values_out_of_the_window_are_found_as_networks_see_them(
    sets: Sets, quiet: Progress
) -> None:
    file = sets.stills / "index.toml"
    file.write_text(file.read_text().replace("[28.0, 37.0]", "[37.0, 40.0]"))
    found = audit(sets, progress=quiet)
    assert checks(found) == ["range"]
    assert found.errors == 1


def test_the_command_lists_what_it_finds_and_ends_with_1_on_errors(
    sets: Sets, tmp_path: Path
) -> None:
    words = ["audit", str(sets.stills), str(sets.video)]
    result = CliRunner().invoke(main, words)
    assert (result.exit_code, result.stdout.count("\n")) == (0, 1)
    near_duplicate(sets)
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0  # of warnings alone
    assert result.stdout.startswith("warning  near duplicates  1 rgb picture is nearly the same")
    duplicate(sets)
    result = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert result.stdout.startswith("error    duplicates       1 rgb picture is in two splits")
    assert "1 error, 1 warning in 196 images of" in result.stdout
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "audit.html", "audit.json",
    ]  # fmt: skip
    assert CliRunner().invoke(main, ["audit", str(tmp_path / "none")]).exit_code == 1


# What trainings make of it.


class Heard(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(shown=False)
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


Train = Callable[..., Heard]


@pytest.fixture(params=["translator", "detector"])
def train(
    request: pytest.FixtureRequest,
    tiny_translator: Callable[..., TranslatorConfig],
    tiny_detector: Callable[..., DetectorConfig],
    own_faces: Path,
    tmp_path: Path,
) -> Train:
    """Return what trains either network for a step on faces that may be spoiled."""
    number = 0

    def run() -> Heard:
        nonlocal number
        number += 1
        heard, out = Heard(), tmp_path / f"run {number}"
        if request.param == "translator":
            config = tiny_translator(data=(str(own_faces),), steps=1)
            train_translator.run_training(config, out, progress=heard)
        else:
            alignment = AlignmentConfig(method="dann", hidden=8)
            detector = tiny_detector(
                source=(str(own_faces),), target=(str(own_faces),), steps=1, alignment=alignment
            )
            train_detector.run_training(detector, out, progress=heard)
        return heard

    return run


def copied(root: Path, domain: str, one: str, other: str) -> None:
    """Give the first face of a split the picture of the first face of another."""
    first, second = rows(root, domain, one)[0], rows(root, domain, other)[0]
    shutil.copy(root / first.path, root / second.path)


def test_a_training_is_refused_with_the_first_error_and_how_to_see_the_others(
    train: Train, own_faces: Path
) -> None:
    assert not any(text.startswith("Warning") for text in train().said)
    copied(own_faces, "rgb", "train", "test")
    with pytest.raises(DataError, match="1 rgb picture is in two splits") as caught:
        train()
    shown = f"; `cycada audit {own_faces}` shows all."
    assert str(caught.value).endswith(f"keep each in one split{shown}")
    copied(own_faces, "thermal", "train", "val")
    with pytest.raises(DataError, match="1 rgb picture is in two splits") as caught:
        train()
    assert str(caught.value).endswith(f"; one more error{shown}")
    assert "\n" not in str(caught.value)


def test_faults_of_test_faces_alone_are_said_once_and_do_not_stop_a_training(
    train: Train, own_faces: Path
) -> None:
    (own_faces / rows(own_faces, "thermal", "test")[0].path).write_bytes(b"no image")
    warnings = [text for text in train().said if text.startswith("Warning")]
    assert len(warnings) == 1
    assert "thermal images" in warnings[0]
    assert "1 of 20 cannot be read" in warnings[0]


def test_blank_images_are_said_once(train: Train, own_faces: Path) -> None:
    face = rows(own_faces, "rgb", "train")[0]
    image_writing.write_image(own_faces / face.path, torch.full((3, 20, 16), 90, dtype=torch.uint8))
    warnings = [text for text in train().said if text.startswith("Warning")]
    assert len(warnings) == 1
    assert f"1 of 20 show nothing ({own_faces / face.path})" in warnings[0]


def test_labels_of_the_target_are_not_looked_at(
    tiny_detector: Callable[..., DetectorConfig],
    own_faces: Path,
    faces: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(labels, "LEAST", 4)
    index = read_index(own_faces)
    never = tuple(
        replace(face, action_units=dict.fromkeys(face.action_units, 0.0)) for face in index.faces
    )
    write_index(replace(index, faces=never))
    assert labels.audit_labels(read_index(own_faces)) != []
    heard = Heard()
    config = tiny_detector(
        source=(str(faces),), target=(str(own_faces),), steps=1,
        alignment=AlignmentConfig(method="dann", hidden=8),
    )  # fmt: skip
    train_detector.run_training(config, tmp_path / "run", progress=heard)
    assert not any("annotated faces" in text for text in heard.said)
    swapped = replace(config, source=(str(own_faces),), target=(str(faces),))
    with pytest.raises(DataError, match="AU01, AU12, AU51, AU52 on none of the annotated faces"):
        train_detector.run_training(swapped, tmp_path / "swapped", progress=heard)
