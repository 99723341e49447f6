"""The gallery of a translator: its faces there and back, beside true and nearest real ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from cycada.action_units import meaning
from cycada.data.dataset import FaceImages
from cycada.data.index import Domain, Face, Index
from cycada.errors import DataError, RunError
from cycada.metrics import translation as metrics
from cycada.metrics.nearest import coarse, nearest
from cycada.models.cycle import Discriminators
from cycada.report.at_a_glance import glance_section
from cycada.report.gallery import FigureColumn, Item, SetWriter, UnitColumns, View
from cycada.report.page import Block, Gallery, Section, Text
from cycada.stages.report_choice import GalleryOptions, ReadableFaces, chosen, counted
from cycada.stages.report_columns import (
    au_figures,
    cycle_figures,
    judge_figure,
    nearest_figure,
    paired_figures,
)
from cycada.stages.report_readers import Readers, choose_readers
from cycada.stages.report_reading import FacePlaces, KnownLabels, Reading
from cycada.stages.report_summary import Seen, Summary
from cycada.training.loading import LoadedTranslator, load_discriminators

_BANK = 500  # real thermal faces among which the nearest is looked for


@dataclass(frozen=True, slots=True)
class Translations:
    """What a page shows of a translator's images."""

    glance: Section | None  # None: there are no RGB faces, or none that can be read
    blocks: tuple[Block, ...]


def translations(
    translator: LoadedTranslator,
    indexes: Sequence[Index],
    detectors: Sequence[Path],
    options: GalleryOptions,
    *,
    title: str,
) -> Translations:
    """Write the sets of a translator and say what they show.

    Args:
        translator: Both directions.
        indexes: Of its RGB and thermal faces.
        detectors: Runs on the page, some of which may judge it.
        options: Of the page.
        title: Of the section that sums the images up.

    Raises:
        CycadaError: A set cannot be written.
    """
    readers = choose_readers(translator, detectors, options.device)
    notes: list[str] = []
    try:
        judges = load_discriminators(translator.root, options.device)
    except RunError:
        judges = None
        notes.append(
            "There is no discriminator score: the newest checkpoint has no training state that "
            "can be read."
        )
    maker = _Maker(translator, readers, judges, options, notes)
    blocks, glance = [], None
    bank = maker.bank(indexes)
    summary = Summary(maker.size, readers)
    # A set for each index: marks name images by their paths, which are unique within one.
    for index in chosen(indexes, "rgb", options.count):
        blocks.append(maker.from_rgb(index, bank, summary, _intro(indexes, index, "rgb", readers)))
    if summary.faces:
        real = None if bank is None else bank.seen
        found = summary.result(real, window=translator.window)
        glance = glance_section(found, title=title)
    if not translator.goes_back:
        notes.append("The translator knows the way from RGB to thermal alone.")
    for index in chosen(indexes, "thermal", options.count) if translator.goes_back else ():
        blocks.append(maker.from_thermal(index, _intro(indexes, index, "thermal", readers)))
    return Translations(glance, (*blocks, *(Text(text=note) for note in notes)))


def _intro(indexes: Sequence[Index], shown: Index, domain: Domain, readers: Readers | None) -> str:
    whole = [index for index in indexes if index.root == shown.root]
    told = counted(whole, domain, len(shown.faces))
    if len({index.root for index in indexes if index.select(domain=domain).faces}) > 1:
        told = f"Of {shown.root.name}: {told[0].lower()}{told[1:]}"
    if readers is None:
        return f"{told} No detector on the page tells what becomes of their Action Units."
    shift = (
        " Probabilities are shifted so that 0.5 is the threshold of each Action Unit."
        if readers.task.kind == "action_units"
        else ""
    )
    return f"{told} {readers.told()}{shift}"


@dataclass(frozen=True, slots=True)
class _Bank:
    """Real thermal faces to look for the nearest among."""

    faces: ReadableFaces
    numbers: tuple[int, ...]  # of those that can be read
    coarse: Tensor  # (N, cells)
    seen: Seen


class _Maker:
    """What the sets of one translator share."""

    def __init__(
        self,
        translator: LoadedTranslator,
        readers: Readers | None,
        judges: Discriminators | None,
        options: GalleryOptions,
        notes: list[str],
    ) -> None:
        self.translator, self.readers, self.judges = translator, readers, judges
        self.options, self.notes = options, notes
        self.name = translator.root.name
        self.size, self.window = translator.size, translator.window

    def bank(self, indexes: Sequence[Index]) -> _Bank | None:
        """Return real thermal faces of the translator's window; None where there are none."""
        some = chosen(indexes, "thermal", _BANK)
        if not some:
            return None
        faces = ReadableFaces.of(some, "thermal", self.size)
        self._check_window(faces.images)
        places, seen = FacePlaces(some, self.size), Seen(1, self.size)
        numbers: list[int] = []
        found = []
        for batch, pictures in faces.batches(
            progress=self.options.progress, desc=f"{self.name}: real thermal faces"
        ):
            numbers += batch
            found.append(coarse(pictures))
            seen.add(pictures, places.masks(batch))
        return _Bank(faces, tuple(numbers), torch.cat(found), seen) if numbers else None

    def from_rgb(self, index: Index, bank: _Bank | None, summary: Summary, intro: str) -> Block:
        """Write the set of an index's RGB faces, and add them to what is summed up."""
        some = [index]
        faces = ReadableFaces.of(some, "rgb", self.size)
        truths = self._truths(some)
        places = FacePlaces(some, self.size)
        known = KnownLabels(some, self.readers.task if self.readers else None)
        views = [
            View(key="source", label="RGB", kind="rgb"),
            View(key="made", label="As thermal", kind="thermal", of="truth" if truths else ""),
        ]
        if self.translator.goes_back:
            views.append(View(key="again", label="Back in RGB", kind="rgb", of="source"))
        if truths:
            views.append(View(key="truth", label="True thermal", kind="thermal"))
        if bank is not None:
            views.append(View(key="nearest", label="Nearest real thermal", kind="thermal"))
        figures = [
            *au_figures(self.readers, "rgb"),
            *(cycle_figures("RGB", None) if self.translator.goes_back else ()),
            *(paired_figures(self.window) if truths else ()),
            *(judge_figure(self.translator.config, "thermal") if self.judges else ()),
            *(nearest_figure(self.window) if bank else ()),
        ]
        with self._writer("rgb", some, "RGB faces as thermal ones", intro, views, figures,
                          self._units("rgb")) as writer:  # fmt: skip
            for numbers, source in faces.batches(
                progress=self.options.progress, desc=f"{self.name}: RGB faces"
            ):
                made = self.translator.to_thermal(source)
                pictures, values = {"source": source, "made": made}, {}
                if self.translator.goes_back:
                    again = pictures["again"] = self.translator.to_rgb(made)
                    values["cycle"] = metrics.absolute_error(source, again)
                truth = self._truth_batch(truths, numbers)
                if truth is not None:
                    values |= self._against_truth(made, truth)
                self._add_judged(values, "thermal", made)
                close = self._nearest(values, made, bank)
                read = Reading(self.readers, pictures | ({} if truth is None else {"truth": truth}))
                values |= read.change("source", "made")
                summary.add(source, made, truth, places.masks(numbers), read)
                self._write(
                    writer, faces, numbers, pictures, values, read, known,
                    apart={"truth": truth, "nearest": close},
                )  # fmt: skip
            shown = Gallery(shown=writer.close())
        self._note(faces, "RGB")
        return shown

    def from_thermal(self, index: Index, intro: str) -> Block:
        """Write the set of an index's thermal faces."""
        some = [index]
        faces = ReadableFaces.of(some, "thermal", self.size)
        self._check_window(faces.images)
        known = KnownLabels(some, self.readers.task if self.readers else None)
        views = [
            View(key="source", label="Thermal", kind="thermal"),
            View(key="made", label="As RGB", kind="rgb"),
            View(key="again", label="Back in thermal", kind="thermal", of="source"),
        ]
        figures = [
            *au_figures(self.readers, "thermal"),
            *cycle_figures("thermal", self.window),
            *(judge_figure(self.translator.config, "rgb") if self.judges else ()),
        ]
        with self._writer("thermal", some, "Thermal faces as RGB ones", intro, views, figures,
                          self._units("thermal")) as writer:  # fmt: skip
            for numbers, source in faces.batches(
                progress=self.options.progress, desc=f"{self.name}: thermal faces"
            ):
                made = self.translator.to_rgb(source)
                again = self.translator.to_thermal(made)
                pictures = {"source": source, "made": made, "again": again}
                values = {"cycle": metrics.absolute_error(source, again)}
                if self.window is not None:
                    values["cycle_celsius"] = values["cycle"] * self._celsius()
                self._add_judged(values, "rgb", made)
                read = Reading(self.readers, pictures)
                values |= read.change("source", "made")
                self._write(writer, faces, numbers, pictures, values, read, known)
            shown = Gallery(shown=writer.close())
        self._note(faces, "thermal")
        return shown

    def _writer(
        self, what: str, some: Sequence[Index], title: str, intro: str, views: Sequence[View],
        figures: Sequence[FigureColumn], units: UnitColumns | None,
    ) -> SetWriter:  # fmt: skip
        options = self.options
        key = [
            self.translator.fingerprint, [index.fingerprint() for index in some],
            [face.path for index in some for face in index.faces], intro,
            [str(index.root.resolve()) for index in some],
        ]  # fmt: skip
        identity = options.identity(self.name, what, key)
        return SetWriter(
            options.folder / identity, identity=identity, title=title, intro=intro, views=views,
            figures=figures, units=units, include_subjects=options.subjects,
            window=None if self.window is None else (self.window.low, self.window.high),
        )  # fmt: skip

    def _write(
        self, writer: SetWriter, faces: ReadableFaces, numbers: Sequence[int],
        pictures: dict[str, Tensor], values: dict[str, Tensor], read: Reading, known: KnownLabels,
        apart: dict[str, Tensor | None] | None = None,
    ) -> None:  # fmt: skip
        """Add the faces of a batch to a set; a picture of NaN is one that a face does not have."""
        shown = pictures | {key: each for key, each in (apart or {}).items() if each is not None}
        for place, number in enumerate(numbers):
            face: Face = faces.images.faces[number]
            mine = {key: batch[place] for key, batch in shown.items()}
            writer.add(
                Item(
                    name=face.path,
                    split=face.split,
                    domain=face.domain,
                    subject=face.subject if self.options.subjects else "",
                    pictures={k: each for k, each in mine.items() if not each.isnan().any()},
                    figures={key: float(each[place]) for key, each in values.items()},
                    true=known.of(number),
                    probability=read.probability(place),
                    activation=read.activation(place),
                )
            )

    def _units(self, source: Domain) -> UnitColumns | None:
        if self.readers is None:
            return None
        task, sides = self.readers.task, self.readers.sides(source)
        return UnitColumns(
            names=task.names,
            meanings=tuple(map(meaning, task.names)),
            thresholds=(0.5,) * len(task),
            sides=sides,
            exclusive=task.kind == "classes",
        )

    def _truths(self, some: Sequence[Index]) -> dict[int, tuple[FaceImages, int]]:
        """Return where the true thermal image of each RGB face is, by the number of the face."""
        found: dict[int, tuple[FaceImages, int]] = {}
        first = 0
        for index in some:
            paired = [
                (number, replace(face, path=face.pair, domain="thermal", pair=face.path))
                for number, face in enumerate(index.faces, start=first)
                if face.pair and (index.root / face.pair).is_file()
            ]
            first += len(index.faces)
            if not paired:
                continue
            other = replace(index, faces=tuple(face for _, face in paired))
            truth = FaceImages([other], domain="thermal", size=self.size)
            if truth.window == self.window:
                found |= {number: (truth, place) for place, (number, _) in enumerate(paired)}
        return found

    def _truth_batch(
        self, truths: dict[int, tuple[FaceImages, int]], numbers: Sequence[int]
    ) -> Tensor | None:
        """Return ``(B, 1, S, S)``, NaN where a face has none; None where no face has any."""
        batch = torch.full((len(numbers), 1, self.size, self.size), math.nan)
        for place, number in enumerate(numbers):
            if number in truths:
                source, row = truths[number]
                picture = ReadableFaces([], source).read(row)
                if picture is not None:
                    batch[place] = picture
        return None if batch.isnan().all() else batch

    def _against_truth(self, made: Tensor, truth: Tensor) -> dict[str, Tensor]:
        error = metrics.absolute_error(made, truth)
        follows = metrics.correlation(made, truth).where(~error.isnan(), error)
        scaled = error if self.window is None else error * self._celsius()
        return {paired_figures(self.window)[0].key: scaled, "follows": follows}

    def _add_judged(self, values: dict[str, Tensor], domain: str, made: Tensor) -> None:
        if self.judges is None:
            return
        judge = self.judges.thermal if domain == "thermal" else self.judges.rgb
        dtype = next(judge.parameters()).dtype
        with torch.no_grad():
            scores: Tensor = judge(made.to(self.options.device, dtype))
        values["judge"] = scores.flatten(1).mean(1).float().cpu()

    def _nearest(
        self, values: dict[str, Tensor], made: Tensor, bank: _Bank | None
    ) -> Tensor | None:
        if bank is None:
            return None
        distance, rows = nearest(coarse(made), bank.coarse)
        values["nearest"] = distance
        if self.window is not None:
            values["nearest"] = distance * self._celsius()
        found = [bank.faces.read(bank.numbers[int(row)]) for row in rows]
        empty = torch.full_like(made[0], math.nan)
        return torch.stack([empty if each is None else each for each in found])

    def _celsius(self) -> float:
        """Return the deg C of a difference of 1 in the units of [-1, 1]."""
        return math.nan if self.window is None else (self.window.high - self.window.low) / 2

    def _check_window(self, faces: FaceImages) -> None:
        if faces.window != self.window:
            raise DataError(
                f"{faces.roots[0]}: its thermal images span other temperatures than the "
                "translator was trained on; index them with the same unit and window."
            )

    def _note(self, faces: ReadableFaces, kind: str) -> None:
        if rest := faces.rest():
            self.notes.append(f"Of the {kind} faces, {rest[0].lower()}{rest[1:]}")
