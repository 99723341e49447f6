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
from torch import Tensor

from cycada import images, thermal
from cycada.data.auditing.finding import Check
from cycada.data.index import Face, read_index, write_index
from cycada.progress import Progress
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
    return images.read_image(root / face.path)


def repoint(root: Path, face: Face, path: str) -> None:
    """Let a row name another file."""
    index = read_index(root)
    write_index(
        replace(index, faces=tuple(replace(f, path=path) if f == face else f for f in index.faces))
    )


def duplicate(sets: Sets) -> None:
    learned, tested = (rows(sets.stills, "rgb", split)[0] for split in ("train", "test"))
    images.write_image(sets.stills / "copy.tiff", read(sets.stills, learned))
    repoint(sets.stills, tested, "copy.tiff")


def near_duplicate(sets: Sets) -> None:
    learned, seen = (rows(sets.stills, "rgb", split)[1] for split in ("train", "val"))
    images.write_image(sets.stills / "near.jpg", read(sets.stills, learned).flip(-1))
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
    images.write_image(sets.stills / face.path, torch.full((3, SIZE, SIZE), 9, dtype=torch.uint8))


def palette(sets: Sets) -> None:
    face = rows(sets.stills, "thermal", "train")[0]
    celsius = thermal.celsius_from_counts(read(sets.stills, face), "centikelvin")
    share = thermal.to_signed(celsius, thermal.Window(28, 37)) / 2 + 0.5
    coloured = torch.cat([share.sqrt(), share**3, torch.sin(6.28 * share).clamp(0)])  # as iron
    images.write_image(sets.stills / face.path, (coloured * 255).to(torch.uint8))


def bytes_in_sixteen_bits(sets: Sets) -> None:
    face = rows(sets.stills, "thermal", "train")[1]
    celsius = thermal.celsius_from_counts(read(sets.stills, face), "centikelvin")
    grey = images.from_signed(thermal.to_signed(celsius, thermal.Window()), dtype=torch.uint8)
    images.write_image(sets.stills / face.path, grey.to(torch.int32).to(torch.uint16))


def window_beside_the_faces(sets: Sets) -> None:
    file = sets.stills / "index.toml"
    file.write_text(file.read_text().replace("[28.0, 37.0]", "[36.5, 40.0]"))


def stretched_frames(sets: Sets) -> None:
    for face in rows(sets.video, "thermal", "train"):
        counts = read(sets.video, face).float()
        share = (counts - counts.min()) / (counts.max() - counts.min())
        frame = thermal.counts_from_celsius(28 + 9 * share, "centikelvin")
        images.write_image(sets.video / face.path, frame)


def inverted_grey(sets: Sets) -> None:
    draw = torch.Generator().manual_seed(0)
    for face in read_index(sets.stills).faces:
        if not face.pair:
            continue
        rgb, warm = (face.path, face.pair) if face.domain == "rgb" else (face.pair, face.path)
        grey = images.with_channels(images.read_image(sets.stills / rgb).float(), 1)
        celsius = 36 - grey / 255 * 8 + 0.05 * torch.randn(grey.shape, generator=draw)
        counts = thermal.counts_from_celsius(celsius, "centikelvin")
        images.write_image(sets.stills / warm, counts)


def mixed_cameras(sets: Sets) -> None:
    """Give half of the people a camera with four times the noise."""
    draw = torch.Generator().manual_seed(0)
    for face in read_index(sets.stills).faces:
        if face.domain == "thermal" and int(face.subject[-1]) % 2:
            counts = read(sets.stills, face).float()
            noisy = counts + 20 * torch.randn(counts.shape, generator=draw)
            images.write_image(sets.stills / face.path, noisy.int().to(torch.uint16))


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
