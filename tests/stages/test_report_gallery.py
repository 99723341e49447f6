"""What a report shows of single faces: which, with what figures, and what stands out."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cycada import image_reading, image_writing, images
from cycada.data.index import Index, read_index, write_index
from cycada.data.predictions import Predictions, read_predictions
from cycada.errors import DataError
from cycada.progress import Progress
from cycada.report.findings import findings
from cycada.report.gallery import path_digest
from cycada.report.page import Gallery, Table, Text
from cycada.stages import report_gallery
from cycada.stages.evaluate import EvaluateOptions, evaluate, predict_faces
from cycada.stages.report import report
from cycada.stages.report_choice import GalleryOptions, chosen
from cycada.stages.report_detections import log_losses
from cycada.stages.report_readers import choose_readers
from cycada.stages.report_reading import Reading
from cycada.stages.report_summary import Summary
from cycada.stages.report_translation import translations
from cycada.training.loading import load_detector, load_discriminators

_SPEC = importlib.util.spec_from_file_location(
    "drawn_faces", Path(__file__).with_name("drawn_faces.py")
)
drawn = importlib.util.module_from_spec(_SPEC)
sys.modules["drawn_faces"] = drawn
_SPEC.loader.exec_module(drawn)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with faces, the detectors that read them, and a translator."""
    root = tmp_path_factory.mktemp("drawn")
    data = drawn.drawn_faces(root / "data")
    drawn.reading_detector(root / "rgb", data, "rgb")
    drawn.reading_detector(root / "thermal", data, "thermal")
    drawn.translator_run(root / "translator", data, detector=str(root / "rgb"))
    return root


def options(folder: Path, count: int | None = None, *, subjects: bool = True) -> GalleryOptions:
    return GalleryOptions(
        folder=folder, count=count, subjects=subjects, device=CPU, progress=Progress(shown=False)
    )


def items_of(folder: Path) -> dict[str, Any]:
    """Return what the script of a set says."""
    text = (folder / "items.js").read_text(encoding="ascii")
    return json.loads(re.fullmatch(r'cycadaSet\("[^"]*",(.*)\);\n', text, re.DOTALL)[1])


def set_of(block: object) -> dict[str, Any]:
    assert isinstance(block, Gallery)
    return items_of(block.shown.folder)


def seen(place: Path, out: Path, how: str, *, detectors=("rgb", "thermal"), **changes):
    """Return what a page shows of a hand-made translator."""
    translator = drawn.by_hand(place / "translator", how)
    runs = [place / name for name in detectors]
    index = read_index(place / "data")
    return translations(translator, [index], runs, options(out, **changes), title="At a glance")


def words(section) -> str:
    return " ".join(block.text for block in section.blocks if isinstance(block, Text))


def test_the_hand_made_detectors_read_what_was_drawn(place: Path) -> None:
    for domain in ("rgb", "thermal"):
        detector = load_detector(place / domain, CPU)
        index = read_index(place / "data").select(domain=domain)
        said = predict_faces(detector, index, domain=domain, progress=Progress(shown=False))
        assert torch.equal(detector.decide(said).float(), index.labels(drawn.TASK)[0])


def test_an_honest_translator_stands_out_in_nothing(place: Path, tmp_path: Path) -> None:
    shown = seen(place, tmp_path, "honest")
    assert words(shown.glance).startswith("Nothing stands out")
    assert not any(block.warns for block in shown.glance.blocks if isinstance(block, Text))


def test_a_translator_that_swaps_two_aus_is_told_of_first(place: Path, tmp_path: Path) -> None:
    shown = seen(place, tmp_path, "swaps")
    first = shown.glance.blocks[0]
    assert isinstance(first, Text)
    assert first.warns
    assert first.text.startswith(
        "AU12 (lip corner puller) and AU15 (lip corner depressor) are swapped: on 50 % of the 16"
    )
    (table,) = (b for b in shown.glance.blocks if isinstance(b, Table) and "Kept" in b.header)
    cells = {row[0].text: dict(zip(table.header, row, strict=True)) for row in table.rows}
    # Of faces with AU12, half have AU15 too, of which a swap makes the same again.
    assert cells["AU12"]["AU15"].text == "50"
    assert cells["AU15"]["AU12"].text == "50"
    assert cells["AU12"]["AU15"].strong
    assert cells["AU12"]["Kept"].text == "50 %"
    assert cells["AU12"]["Kept, true"].text == "100 %"


def test_a_cycle_hides_the_swap_and_the_thermal_detector_sees_it(
    place: Path, tmp_path: Path
) -> None:
    found = set_of(seen(place, tmp_path, "swaps").blocks[0])
    flips, again = found["figures"]["flips"], found["figures"]["change_again"]
    labels = read_index(place / "data").select(domain="rgb").labels(drawn.TASK)[0]
    assert flips == (2 * (labels[:, 0] != labels[:, 1])).float().tolist()
    assert max(again) < 0.01


def test_a_translator_that_inverts_grey_is_told_of_first(place: Path, tmp_path: Path) -> None:
    shown = seen(place, tmp_path, "inverts")
    first = shown.glance.blocks[0]
    assert isinstance(first, Text)
    assert first.warns
    assert first.text.startswith("Made temperatures run against the true ones of the same faces")
    assert "little more than inverted grey photographs" in words(shown.glance)
    assert "Nothing stands out" not in words(shown.glance)


def test_inverted_grey_is_seen_without_pairs_and_without_detectors(
    place: Path, tmp_path: Path
) -> None:
    index = read_index(place / "data")
    alone = replace(index, faces=tuple(replace(face, pair="") for face in index.faces))
    translator = drawn.by_hand(place / "translator", "inverts")
    translator = replace(translator, config=replace(translator.config, detector=""))
    shown = translations(translator, [alone], [], options(tmp_path), title="At a glance")
    assert "inverted grey photographs" in words(shown.glance)
    assert "cannot be told without a detector" in words(shown.glance)


def test_the_figures_of_a_face_are_those_of_its_pictures(place: Path, tmp_path: Path) -> None:
    found = set_of(seen(place, tmp_path, "inverts").blocks[0])
    index = read_index(place / "data").select(domain="rgb")
    half = (drawn.WINDOW.high - drawn.WINDOW.low) / 2
    for number in (0, 13, 31):
        face = index.faces[number]
        row = found["names"].index(face.path)
        rgb = images.to_signed(image_reading.read_image(index.file(face)))
        truth = images.to_signed(
            image_reading.read_image(index.root / face.pair),
            unit="centikelvin",
            window=drawn.WINDOW,
        )
        made = -rgb.mean(0, keepdim=True)
        figures = {key: values[row] for key, values in found["figures"].items()}
        assert figures["cycle"] == pytest.approx(0, abs=1e-4)
        error = float((made - truth).abs().mean()) * half
        assert figures["paired_celsius"] == pytest.approx(error, rel=1e-3)
        pair = torch.stack((made.flatten(), truth.flatten()))
        assert figures["follows"] == pytest.approx(float(torch.corrcoef(pair)[0, 1]), abs=1e-3)
        assert found["true"][2 * row : 2 * row + 2] == "".join(
            str(int(face.action_units[unit])) for unit in (12, 15)
        )


def test_a_thermal_face_is_shown_there_and_back_in_degrees(place: Path, tmp_path: Path) -> None:
    found = set_of(seen(place, tmp_path, "honest").blocks[1])
    assert [view["key"] for view in found["views"]] == ["source", "made", "again"]
    assert [view["kind"] for view in found["views"]] == ["thermal", "rgb", "thermal"]
    assert found["window"] == [28.0, 37.0]
    assert found["count"] == 32
    cycle, celsius = (found["figures"][key] for key in ("cycle", "cycle_celsius"))
    assert celsius == pytest.approx([4.5 * value for value in cycle], rel=1e-4)


def test_the_discriminators_score_is_that_of_the_state(place: Path, tmp_path: Path) -> None:
    found = set_of(seen(place, tmp_path, "honest").blocks[0])
    judge = load_discriminators(place / "translator", CPU).thermal
    index = read_index(place / "data").select(domain="rgb")
    rgb = images.to_signed(image_reading.read_image(index.file(index.faces[5])))[None]
    made = drawn.HandMade("honest").to_thermal(rgb)
    row = found["names"].index(index.faces[5].path)
    assert found["figures"]["judge"][row] == pytest.approx(float(judge(made).mean()), rel=1e-3)


def test_a_run_without_its_state_has_no_discriminator_score_and_says_so(
    place: Path, tmp_path: Path
) -> None:
    shutil.copytree(place / "translator", tmp_path / "translator")
    (tmp_path / "translator" / "000001" / "state.pt").unlink()
    index = read_index(place / "data")
    translator = drawn.by_hand(tmp_path / "translator", "honest")
    shown = translations(translator, [index], [], options(tmp_path / "out", 8), title="")
    assert "judge" not in set_of(shown.blocks[0])["figures"]
    assert "no discriminator score" in shown.blocks[-1].text


def test_the_readers_are_those_that_know_each_domain(place: Path) -> None:
    translator = drawn.by_hand(place / "translator", "honest")
    readers = choose_readers(translator, [place / "thermal", place / "rgb"], CPU)
    assert (readers.rgb_name, readers.thermal_name) == ("rgb", "thermal")
    assert "labels of real thermal faces" in readers.thermal_is
    alone = choose_readers(translator, [], CPU)  # its own judge, which sees images
    assert alone.rgb is not None
    assert alone.thermal is None


def test_a_detector_that_learned_from_translations_reads_only_where_no_other_does(
    place: Path, tmp_path: Path
) -> None:
    index = read_index(place / "data").select(domain="thermal")
    info = replace(index.info, translator="t", translator_hash="0")
    made = tmp_path / "made"
    for face in index.faces:
        image_writing.write_image(made / face.path, image_reading.read_image(index.file(face)))
    write_index(replace(index, root=made, info=info))
    drawn.reading_detector(tmp_path / "pixel", made, "thermal")
    translator = drawn.by_hand(place / "translator", "honest")
    both = choose_readers(translator, [tmp_path / "pixel", place / "thermal"], CPU)
    assert both.thermal_name == "thermal"
    alone = choose_readers(translator, [tmp_path / "pixel"], CPU)
    assert alone.thermal_name == "Pixel"
    assert "may take a swap for right" in alone.thermal_is


@pytest.mark.parametrize("count", [1, 5, 12, 20, 31])
def test_a_choice_is_even_over_splits_and_subjects(place: Path, count: int) -> None:
    (some,) = chosen([read_index(place / "data")], "rgb", count)
    assert len(some.faces) == count
    assert len({face.path for face in some.faces}) == count
    sizes = {"test": 12, "val": 8, "train": 12}
    by_split = {split: sum(f.split == split for f in some.faces) for split in sizes}
    for one, number in by_split.items():  # no split has less than its share while another has more
        if number < sizes[one]:
            assert all(other <= number + 1 for other in by_split.values())
    assert by_split["test"] >= max(by_split.values())
    for split in sizes:
        counts = [sum(f.subject == s for f in some.faces)
                  for s in {f.subject for f in read_index(place / "data").faces
                            if f.split == split and f.domain == "rgb"}]  # fmt: skip
        assert max(counts) - min(counts) <= 1


def test_a_choice_of_all_is_all(place: Path) -> None:
    index = read_index(place / "data")
    for count in (None, 32, 1000):
        (some,) = chosen([index], "rgb", count)
        assert some.faces == index.select(domain="rgb").faces


def test_each_index_of_a_translator_has_a_set_of_its_own(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "data", tmp_path / "site" / "data")
    indexes = [read_index(place / "data"), read_index(tmp_path / "site" / "data")]
    translator = drawn.by_hand(place / "translator", "honest")
    shown = translations(translator, indexes, [], options(tmp_path / "out", 40), title="")
    sets = [block.shown for block in shown.blocks if isinstance(block, Gallery)]
    assert len({each.identity for each in sets}) == 4  # RGB and thermal faces of each
    for each in sets:
        names = items_of(each.folder)["names"]
        assert len(set(names)) == len(names) == each.count
        assert each.intro.startswith(f"Of data: {each.count} of 32 ")
    assert sum(each.count for each in sets) == 2 * 40
    assert shown.glance is not None
    assert "40 RGB faces" in shown.glance.intro


def test_images_that_cannot_be_read_are_left_out_and_counted(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "data", tmp_path / "data")
    index = read_index(tmp_path / "data")
    broken = index.select(domain="rgb").faces[3]
    index.file(broken).write_bytes(b"no image")
    translator = drawn.by_hand(place / "translator", "honest")
    shown = translations(translator, [index], [], options(tmp_path / "out"), title="")
    found = set_of(shown.blocks[0])
    assert found["count"] == 31
    assert broken.path not in found["names"]
    assert any("1 image cannot be read and is left out" in getattr(block, "text", "")
               for block in shown.blocks)  # fmt: skip


@pytest.fixture(scope="module")
def evaluated(place: Path) -> Path:
    evaluate(
        EvaluateOptions(run=place / "thermal", index=place / "data", out=place / "results",
                        device=CPU, resamples=20),
        progress=Progress(shown=False),
    )  # fmt: skip
    return place / "results"


def test_an_evaluation_shows_what_was_said_and_where_it_was_seen(
    place: Path, evaluated: Path, tmp_path: Path
) -> None:
    report([evaluated, place / "thermal"], tmp_path, include_subjects=True)
    (folder,) = (tmp_path / "report_files").glob("results-detections-*")
    found = items_of(folder)
    said = read_predictions(evaluated / "predictions.csv", ["AU12", "AU15"])
    assert found["names"] == list(said.paths)
    codes = np.frombuffer(base64.b64decode(found["probability"]["image"]), dtype="<u2")
    assert codes / 65534 == pytest.approx(said.probability.flatten(), abs=2e-5)
    assert found["figures"]["log_loss"] == pytest.approx(
        log_losses(said, exclusive=False).tolist(), rel=1e-4
    )
    text = (folder / "full" / "000003.js").read_text(encoding="ascii")
    full = json.loads(re.fullmatch(r'cycadaFull\("[^"]*",3,(.*)\);\n', text, re.DOTALL)[1])
    for unit, name in ((12, "AU12"), (15, "AU15")):
        shown = full["activation"]["image"][name]
        shares = np.frombuffer(base64.b64decode(shown["shares"]), dtype=np.uint8).reshape(16, 16)
        if said.detected[3][[12, 15].index(unit)]:
            row, column = np.unravel_index(shares.argmax(), shares.shape)
            assert abs(2 * row + 0.5 - drawn.PLACES[unit][0]) <= 2
            assert abs(2 * column + 0.5 - drawn.PLACES[unit][1]) <= 2


def test_half_of_a_part_of_an_evaluation_are_its_worst_faces(
    evaluated: Path, tmp_path: Path
) -> None:
    report([evaluated], tmp_path, include_subjects=True, count=6)
    (folder,) = (tmp_path / "report_files").glob("results-detections-*")
    said = read_predictions(evaluated / "predictions.csv", ["AU12", "AU15"])
    losses = dict(zip(said.paths, log_losses(said, exclusive=False), strict=True))
    third = sorted(losses.values())[-3]
    names = items_of(folder)["names"]
    assert len(names) == len(set(names)) == 6
    assert sum(losses[name] >= third for name in names) >= 3


def test_the_loss_of_a_face_is_that_of_the_formula() -> None:
    said = Predictions(
        paths=("a", "b"), subjects=("s", "s"), calibrated=None,
        probability=np.array([[0.9, 0.2], [0.5, 0.5]]),
        detected=np.array([[True, False], [True, True]]),
        present=np.array([[True, True], [False, False]]),
        known=np.array([[True, True], [False, False]]),
    )  # fmt: skip
    first, second = log_losses(said, exclusive=False)
    assert first == pytest.approx(-(np.log(0.9) + np.log(0.2)) / 2)
    assert np.isnan(second)


def test_an_evaluation_whose_faces_are_gone_says_so(evaluated: Path, tmp_path: Path) -> None:
    result = json.loads((evaluated / "scores.json").read_text())
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "scores.json").write_text(json.dumps({**result, "index": "elsewhere/faces"}))
    (folder / "predictions.csv").write_text((evaluated / "predictions.csv").read_text())
    plain = report([folder], tmp_path / "a.html").read_text(encoding="utf-8")
    assert "No gallery of results" in plain
    assert "elsewhere" not in re.sub(r"<pre.*?</pre>", "", plain, flags=re.DOTALL)


def test_a_run_that_was_trained_further_explains_no_earlier_answer(
    evaluated: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "scores.json").write_text((evaluated / "scores.json").read_text())
    table = (evaluated / "predictions.csv").read_text()
    (folder / "predictions.csv").write_text(re.sub(r"0\.98\d+", "0.400000", table))
    text = report([folder], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "the run has other weights by now" in text


def test_a_dataset_shows_each_domain_with_its_labels_and_pairs(place: Path, tmp_path: Path) -> None:
    report([place / "data"], tmp_path)
    (rgb,) = (tmp_path / "report_files").glob("data-rgb-*")
    (thermal,) = (tmp_path / "report_files").glob("data-thermal-*")
    found = items_of(rgb)
    assert [view["key"] for view in found["views"]] == ["image", "pair"]
    assert [view["key"] for view in items_of(thermal)["views"]] == ["image"]
    faces = read_index(place / "data").select(domain="rgb").faces
    assert found["names"] == [path_digest(face.path) for face in faces]
    assert found["words"]["subject"]["values"] == [""]
    wanted = "".join(str(int(face.action_units[n])) for face in faces for n in (12, 15))
    assert found["true"] == wanted


def test_a_translated_dataset_stands_beside_its_origin_and_the_truth(
    place: Path, tmp_path: Path
) -> None:
    index = read_index(place / "data").select(domain="rgb")
    made = tmp_path / "made"
    root = os.path.relpath(place / "data", made)
    faces = []
    for face in index.faces:
        picture = images.to_signed(image_reading.read_image(index.file(face)))
        drawn.write(made / face.path, "thermal", -picture.mean(0, keepdim=True))
        faces.append(replace(face, domain="thermal", origin=f"{root}/{face.path}",
                             pair=f"{root}/{face.pair}"))  # fmt: skip
    info = replace(index.info, translator="t", translator_hash="0")
    write_index(Index(made, info, tuple(faces)))
    report([made], tmp_path / "page", include_subjects=True)
    (folder,) = (tmp_path / "page" / "report_files").glob("made-thermal-*")
    found = items_of(folder)
    assert [view["key"] for view in found["views"]] == ["source", "image", "truth"]
    assert found["figures"]["luminance"] == pytest.approx([-1.0] * 32, abs=0.01)
    assert max(found["figures"]["follows"]) < 0


class KilledError(Exception):
    """What stands for the end of a process."""


class KillsAfter(Progress):
    """Breaks off in the middle of its second loop."""

    def __init__(self) -> None:
        super().__init__(shown=False)
        self.loops = 0

    def __call__(self, items, **_: object):
        self.loops += 1
        for number, item in enumerate(items):
            if self.loops == 2 and number == 1:
                raise KilledError
            yield item


def test_an_interrupted_report_leaves_the_earlier_page_whole(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    report([place / "data"], out, count=20)
    before = {
        file.relative_to(tmp_path): file.read_bytes()
        for file in tmp_path.rglob("*")
        if file.is_file()
    }
    with pytest.raises(KilledError):
        report([place / "data"], out, count=24, progress=KillsAfter())
    for name, content in before.items():
        assert (tmp_path / name).read_bytes() == content
    report([place / "data"], out, count=24)
    sets = [folder.name for folder in (tmp_path / "page_files").iterdir()]
    assert len(sets) == 2  # and nothing of what was interrupted
    assert all(name in out.read_text(encoding="utf-8") for name in sets)


def test_sources_and_true_images_of_translations_are_there_in_full_size(
    place: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(place / "data", tmp_path / "data")
    index = read_index(data)
    for path in {path for face in index.faces for path in (face.path, face.pair) if path}:
        image = image_reading.read_image(data / path)
        image_writing.write_image(data / path, torch.cat([image, image], dim=2))  # twice as wide
    translator = drawn.by_hand(place / "translator", "honest")
    shown = translations(translator, [index], [], options(tmp_path / "out", 4), title="").blocks
    for block, keys in zip(shown, ({"source", "truth"}, {"source"}), strict=False):
        assert set_of(block)["whole"] == "1111"
        scripts = sorted((block.shown.folder / "whole").iterdir())
        assert len(scripts) == 4
        for script in scripts:
            _, _, values = script.read_text().partition("{")
            views = json.loads("{" + values.removesuffix(");\n"))["views"]
            assert set(views) == keys
            for view in views.values():
                assert view["size"] == view["of"] == [drawn.SIDE, 2 * drawn.SIDE]


def test_faces_that_are_shown_whole_are_not_written_twice(place: Path, tmp_path: Path) -> None:
    report([place / "data"], tmp_path, count=4)
    for folder in (tmp_path / "report_files").iterdir():
        assert items_of(folder)["whole"] == "0000"
        assert not (folder / "whole").exists()


def test_a_page_does_not_write_through_a_link(place: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "page_files").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="page_files"):
        report([place / "data"], tmp_path / "page.html")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_report_of_a_translator_tells_what_stands_out_before_its_faces(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        report_gallery, "load_translator", lambda run, _device: drawn.by_hand(run, "swaps")
    )
    runs = [place / name for name in ("translator", "rgb", "thermal")]
    text = report(runs, tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.index("Translations at a glance") < text.index("are swapped: on")
    assert text.index("are swapped: on") < text.index("translator-rgb-")


def test_findings_need_more_than_a_few_faces(place: Path) -> None:
    readers = choose_readers(
        drawn.by_hand(place / "translator", "swaps"), [place / "rgb", place / "thermal"], CPU
    )
    summary = Summary(drawn.SIDE, readers)
    index = read_index(place / "data").select(domain="rgb")
    rgb = torch.stack(
        [images.to_signed(image_reading.read_image(index.file(f))) for f in index.faces[:4]]
    )
    made = drawn.HandMade("swaps").to_thermal(rgb)
    summary.add(rgb, made, None, None, Reading(readers, {"source": rgb, "made": made}))
    found = summary.result(None, window=drawn.WINDOW)
    assert not any("swapped" in each.text for each in findings(found))
