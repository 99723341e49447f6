"""The gallery of a translator: its faces there and back, beside true and nearest real ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
from cycada.report.full_size import PictureFile
from cycada.report.gallery import SetWriter
from cycada.report.gallery_items import FigureColumn, Item, UnitColumns, View
from cycada.report.page import Block, Gallery, Section, Text
from cycada.stages.report_choice import GalleryOptions, ReadableFaces, chosen, counted
from cycada.stages.report_columns import (
    au_figures,
    cycle_figures,
    judge_figure,
    nearest_figure,
    paired_figures,
)
from cycada.stages.report_datasets import picture_file
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
        translator: Both directions, or that from RGB to thermal.
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


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some faces and what was made of them."""

    numbers: list[int]
    pictures: dict[str, Tensor]  # by view: (B, C, S, S); NaN where a face has none
    values: dict[str, Tensor]  # by figure: (B,)

    @property
    def source(self) -> Tensor:
        return self.pictures["source"]

    @property
    def made(self) -> Tensor:
        return self.pictures["made"]


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
        faces = ReadableFaces.of([index], "rgb", self.size)
        truths = self._truths(index)
        places = FacePlaces([index], self.size)
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

        def look(batch: _Batch) -> Reading:
            if truths and (truth := self._truth_batch(truths, batch.numbers)) is not None:
                batch.pictures["truth"] = truth
                batch.values.update(self._against_truth(batch.made, truth))
            read = Reading(self.readers, batch.pictures)
            summary.add(
                batch.source, batch.made, batch.pictures.get("truth"),
                places.masks(batch.numbers), read,
            )  # fmt: skip
            if bank is not None:  # after it was read: the nearest is of somebody else
                batch.pictures["nearest"] = self._nearest(batch.values, batch.made, bank)
            return read

        title = "RGB faces as thermal ones"
        with self._writer("rgb", index, title, intro, views, figures) as writer:
            return self._filled(writer, faces, index, look)

    def from_thermal(self, index: Index, intro: str) -> Block:
        """Write the set of an index's thermal faces."""
        faces = ReadableFaces.of([index], "thermal", self.size)
        self._check_window(faces.images)
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

        def look(batch: _Batch) -> Reading:
            if self.window is not None:
                batch.values["cycle_celsius"] = batch.values["cycle"] * self._celsius()
            return Reading(self.readers, batch.pictures)

        title = "Thermal faces as RGB ones"
        with self._writer("thermal", index, title, intro, views, figures) as writer:
            return self._filled(writer, faces, index, look)

    def _filled(
        self, writer: SetWriter, faces: ReadableFaces, index: Index,
        look: Callable[[_Batch], Reading],
    ) -> Block:  # fmt: skip
        """Translate faces there and back into a set, and close it.

        Args:
            writer: Of the set.
            faces: Of one index and one domain.
            index: Theirs.
            look: Adds pictures and figures that faces of the domain alone have, and returns what
                was read.
        """
        domain = faces.images.domain
        kind, other = ("RGB", "thermal") if domain == "rgb" else ("thermal", "rgb")
        ways = (self.translator.to_thermal, self.translator.to_rgb)
        there, back = ways if domain == "rgb" else ways[::-1]
        known = KnownLabels([index], self.readers.task if self.readers else None)
        written: list[Face] = []
        for numbers, source in faces.batches(
            progress=self.options.progress, desc=f"{self.name}: {kind} faces"
        ):
            made = there(source)
            batch = _Batch(numbers, {"source": source, "made": made}, {})
            if self.translator.goes_back:
                again = batch.pictures["again"] = back(made)
                batch.values["cycle"] = metrics.absolute_error(source, again)
            self._add_judged(batch.values, other, made)
            read = look(batch)
            batch.values.update(read.change("source", "made"))
            written += self._write(writer, faces, batch, read, known)
        self._add_full_size(writer, index, written, domain)
        shown = Gallery(shown=writer.close())
        self._note(faces, kind)
        return shown

    def _writer(
        self, what: Domain, index: Index, title: str, intro: str, views: Sequence[View],
        figures: Sequence[FigureColumn],
    ) -> SetWriter:  # fmt: skip
        options = self.options
        key = [
            self.translator.fingerprint, [index.fingerprint()],
            [face.path for face in index.faces], intro, [str(index.root.resolve())],
        ]  # fmt: skip
        identity = options.identity(self.name, what, key)
        return SetWriter(
            options.folder / identity, identity=identity, title=title, intro=intro, views=views,
            figures=figures, units=self._units(what), include_subjects=options.subjects,
            window=None if self.window is None else (self.window.low, self.window.high),
        )  # fmt: skip

    def _write(
        self, writer: SetWriter, faces: ReadableFaces, batch: _Batch, read: Reading,
        known: KnownLabels,
    ) -> list[Face]:  # fmt: skip
        """Add the faces of a batch to a set; a picture of NaN is one that a face does not have."""
        written = []
        for place, number in enumerate(batch.numbers):
            face: Face = faces.images.faces[number]
            mine = {key: each[place] for key, each in batch.pictures.items()}
            writer.add(
                Item(
                    name=face.path,
                    split=face.split,
                    domain=face.domain,
                    subject=face.subject if self.options.subjects else "",
                    pictures={k: each for k, each in mine.items() if not each.isnan().any()},
                    figures={key: float(each[place]) for key, each in batch.values.items()},
                    true=known.of(number),
                    probability=read.probability(place),
                    activation=read.activation(place),
                )
            )
            written.append(face)
        return written

    def _add_full_size(
        self, writer: SetWriter, index: Index, written: Sequence[Face], domain: Domain
    ) -> None:
        """Add the files of the faces of a set, and their true images; translations have none."""

        def files(number: int) -> dict[str, PictureFile]:
            face = written[number]
            found = {"source": picture_file(index, index.file(face), domain)}
            if domain == "rgb" and face.pair and (index.root / face.pair).is_file():
                found["truth"] = picture_file(index, index.root / face.pair, "thermal")
            return found

        self.options.add_full_size(writer, files, side=self.size, name=self.name)

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

    def _truths(self, index: Index) -> dict[int, tuple[FaceImages, int]]:
        """Return where the true thermal image of each RGB face is, by the number of the face."""
        paired = [
            (number, replace(face, path=face.pair, domain="thermal", pair=face.path))
            for number, face in enumerate(index.faces)
            if face.pair and (index.root / face.pair).is_file()
        ]
        if not paired:
            return {}
        other = replace(index, faces=tuple(face for _, face in paired))
        truth = FaceImages([other], domain="thermal", size=self.size)
        if truth.window != self.window:
            return {}
        return {number: (truth, place) for place, (number, _) in enumerate(paired)}

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

    def _nearest(self, values: dict[str, Tensor], made: Tensor, bank: _Bank) -> Tensor:
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
