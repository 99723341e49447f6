"""All faces of datasets and translators, however many: pictures are made when they are asked for.

``cycada report`` makes every picture and figure of a set before anybody looks at it, so it shows
some hundred of each. Here the list of the faces alone is made beforehand: what is slow, reading and
translating, is done for those that are on the screen. So there are no figures to sort by.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from cycada.config import TranslatorConfig
from cycada.data.index import DOMAINS, Domain, Index, read_index
from cycada.data.index_checks import check_links
from cycada.errors import CycadaError, DataError
from cycada.report.gallery import GallerySet, SetWriter, path_digest
from cycada.report.gallery_items import Item, View
from cycada.report.page import Block, Gallery, Page, Section, Text, render_page
from cycada.stages.report import find_datasets
from cycada.stages.report_choice import ReadableFaces, near
from cycada.stages.report_datasets import (
    labels_of,
    picture_file,
    shown_size,
    unit_columns,
    window_of,
)
from cycada.stages.report_reading import KnownLabels
from cycada.training.checkpoint import newest_checkpoint
from cycada.training.loading import LoadedTranslator, load_translator
from cycada.training.run_reading import run_config, run_kind

PLACE = "faces_files"
"""Folder of the sets, as their page names it."""

_KEPT = 200  # items whose pictures stay in memory: some screens of small ones


@dataclass(slots=True)
class DrawnSet:
    """A set whose pictures are made when they are asked for, one item at a time."""

    writer: SetWriter
    shown: GallerySet
    script: bytes  # of all but the pictures
    index: Index
    faces: ReadableFaces
    translator: LoadedTranslator | None
    _items: OrderedDict[int, Item] = field(default_factory=OrderedDict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def thumbs(self, number: int) -> bytes:
        """Return the small pictures of an item, a WebP.

        Raises:
            DataError: Its image cannot be read.
        """
        with self._turn:
            return self.writer.thumbs(self._item(number))

    def full(self, number: int) -> str:
        """Return the script of the exact pictures of an item.

        Raises:
            DataError: Its image cannot be read.
        """
        with self._turn:
            return self.writer.full(number, self._item(number))

    def whole(self, number: int) -> str:
        """Return the script of the image of an item in full size.

        Raises:
            DataError: It cannot be read.
        """
        with self._turn:
            face = self.faces.images.faces[number]
            key = "image" if self.translator is None else "source"
            file = picture_file(self.index, self.index.file(face), self.faces.images.domain)
            return self.writer.whole(number, {key: file})

    def _item(self, number: int) -> Item:
        item = self._items.get(number)
        if item is None:
            picture = self.faces.read(number)
            if picture is None:
                raise DataError(f"face {number + 1}: its image cannot be read.")
            item = Item(name="", pictures=self._pictures(picture))
            self._items[number] = item
            while len(self._items) > _KEPT:
                self._items.popitem(last=False)
        self._items.move_to_end(number)
        return item

    def _pictures(self, picture: Tensor) -> dict[str, Tensor]:
        if self.translator is None:
            return {"image": picture}
        ways = (self.translator.to_thermal, self.translator.to_rgb)
        there, back = ways if self.faces.images.domain == "rgb" else ways[::-1]
        made = there(picture[None])
        pictures = {"source": picture, "made": made[0]}
        return pictures | ({"again": back(made)[0]} if self.translator.goes_back else {})


@dataclass(slots=True)
class WholeSets:
    """The page of all faces, made when it is first asked for and when a translator has gone on."""

    paths: Sequence[Path]
    folder: Path  # for the lists; holds no picture
    device: torch.device
    subjects: bool  # names of subjects and files
    outside: bool  # believe paths of an index from elsewhere that leave its folder
    sets: dict[str, DrawnSet] = field(default_factory=dict)
    _text: str = ""
    _mark: tuple[object, ...] = ()
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def page(self, runs: Sequence[Path]) -> str:
        """Return the page as HTML, whose files are those of :attr:`sets`.

        Args:
            runs: Those that are shown; the translators among them show all of their faces.
        """
        with self._turn:
            translators = [run for run in runs if run_kind(run) == "translator"]
            mark = tuple((run, _newest(run)) for run in translators)
            if not self._text or mark != self._mark:
                sets: dict[str, DrawnSet] = {}
                sections = [self._of_translator(run, sets) for run in translators]
                sections += [self._of_dataset(path, sets) for path in find_datasets(self.paths)]
                text = render_page(Page(
                    title="All faces",
                    subtitle="In the order of their index; each is read, and translated by the "
                    "newest checkpoint, when it comes into sight.",
                    sections=tuple(sections),
                ))  # fmt: skip
                # Together, so that whatever fails before leaves the page as it was.
                self.sets, self._text, self._mark = sets, text, mark
            return self._text

    def _of_translator(self, run: Path, sets: dict[str, DrawnSet]) -> Section:
        blocks: list[Block] = []
        try:
            translator = load_translator(run, self.device)
            config = run_config(run, "translator", TranslatorConfig)
            indexes = [self._index(near(text, run)) for text in config.data]
            for domain in DOMAINS:
                for index in indexes if domain == "rgb" or translator.goes_back else ():
                    blocks += self._set(index, domain, sets, translator=translator)
        except CycadaError as error:
            blocks.append(self._told(error))
        return Section(title=f"Through {run.name}", blocks=tuple(blocks))

    def _of_dataset(self, path: Path, sets: dict[str, DrawnSet]) -> Section:
        blocks: list[Block] = []
        name = path.parent.name if path.is_file() else path.name
        try:
            index = self._index(path)
            for domain in DOMAINS:
                blocks += self._set(index, domain, sets)
        except CycadaError as error:
            blocks.append(self._told(error))
        return Section(title=f"As in {name}", blocks=tuple(blocks))

    def _index(self, path: Path) -> Index:
        index = read_index(path, allow_outside=self.outside)
        check_links(index)
        return index

    def _told(self, error: CycadaError) -> Text:
        why = str(error) if self.subjects else "--include-subjects tells why."
        return Text(text=f"Its faces cannot be shown: {why}", warns=True)

    def _set(
        self, index: Index, domain: Domain, sets: dict[str, DrawnSet], *,
        translator: LoadedTranslator | None = None,
    ) -> list[Block]:  # fmt: skip
        """Make a set of the faces of a domain, if there are any, and add it to ``sets``."""
        some = [index.select(domain=domain)]
        if not some[0].faces:
            return []
        # Not by number: the browser keeps marks by this name while runs come and go.
        made = "" if translator is None else str(translator.root.resolve())
        identity = f"{domain}-{path_digest(f'{index.root.resolve()} {made}')}"
        size = translator.size if translator else shown_size(some[0])
        window = window_of(some[0])
        if translator is not None:
            if domain == "thermal" and window != translator.window:
                raise DataError(
                    f"{index.root}: its thermal images do not span the temperatures that the "
                    f"translator {translator.root} knows."
                )
            window = translator.window
        task = labels_of(some[0])
        faces = ReadableFaces.of(some, domain, size)
        known = KnownLabels(some, task)
        views = _views(domain, translator)
        there = {view.key: torch.empty(0) for view in views}
        with SetWriter(
            self.folder / PLACE / identity, identity=identity,
            title=f"{'RGB' if domain == 'rgb' else 'Thermal'} faces",
            intro=f"All {len(faces.images):,} of \u201c{index.root.name}\u201d.",
            views=views, figures=(),
            units=unit_columns(task), include_subjects=self.subjects,
            window=None if window is None else (window.low, window.high),
        ) as writer:  # fmt: skip
            for number, face in enumerate(faces.images.faces):
                writer.add(
                    Item(
                        name=face.path, split=face.split, domain=face.domain,
                        subject=face.subject if self.subjects else "", pictures=there,
                        true=known.of(number),
                    ),
                    drawn=False,
                )  # fmt: skip
            shown = writer.close()
        script = (shown.folder / "items.js").read_bytes()
        sets[identity] = DrawnSet(writer, shown, script, index, faces, translator)
        return [Gallery(shown=shown)]


def _views(domain: Domain, translator: LoadedTranslator | None) -> list[View]:
    label, other = ("RGB", "thermal") if domain == "rgb" else ("Thermal", "rgb")
    if translator is None:
        return [View(key="image", label=label, kind=domain)]
    views = [
        View(key="source", label=label, kind=domain),
        View(
            key="made", label=f"As {other.replace('rgb', 'RGB')}",
            kind="thermal" if domain == "rgb" else "rgb",
        ),
        View(
            key="again", label=f"Back in {'RGB' if domain == 'rgb' else 'thermal'}", kind=domain,
            of="source",
        ),
    ]  # fmt: skip
    return views if translator.goes_back else views[:-1]


def _newest(run: Path) -> int:
    newest = newest_checkpoint(run, with_state=False, told=False)
    return -1 if newest is None else newest.step
