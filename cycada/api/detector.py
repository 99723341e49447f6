"""Action Units in images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from numbers import Real
from pathlib import Path
from typing import get_args

from cycada.api.pictures import Picture, check_choice, listed, name_of, path_of, pixels_of
from cycada.api.shared import Shared
from cycada.api.table import Detections
from cycada.data.detections import Detected
from cycada.data.index import CSV_NAME
from cycada.errors import DataError, UsageError
from cycada.footage import Domain, Footage, ReadOptions, Rotation, holds_several
from cycada.footage.frames import Reading, Shot
from cycada.footage.interpreting import interpret
from cycada.image_reading import IMAGE_SUFFIXES
from cycada.progress import Progress
from cycada.stages.detect import answers, detector_notes, detector_window
from cycada.stages.finding import WHOLE, face_source
from cycada.stages.sharing import located, opened
from cycada.stages.sources import Source, open_sources, opened_or_fault, source_of_images
from cycada.thermal import Unit, Window
from cycada.training.loading import LoadedDetector, device_named, load_detector


@dataclass(frozen=True, slots=True)
class ActionUnitDetector(Shared):
    """A trained detector of Action Units, or of classes.

    >>> import cycada
    >>> detector = cycada.ActionUnitDetector.from_pretrained("runs/both")
    >>> detector.names[:3]
    ('AU01', 'AU02', 'AU04')
    >>> found = detector.detect(["faces/thermal.png", "faces/other.png"], faces="whole")
    >>> len(found), [row.success for row in found]
    (2, [True, True])
    >>> all(0 <= p <= 1 for p in found["AU12"])
    True
    >>> text = found.to_csv("found.csv")

    Images in memory are read as their files would be:

    >>> import numpy
    >>> from PIL import Image
    >>> picture = numpy.array(Image.open("faces/thermal.png"))
    >>> detector.detect(picture, faces="whole")["AU12"][0] == found["AU12"][0]
    True
    """

    root: Path
    step: int
    loaded: LoadedDetector = field(repr=False)

    @classmethod
    def from_pretrained(
        cls, path_or_hub_id: str | Path, *, device: str = "auto", revision: str | None = None
    ) -> ActionUnitDetector:
        """Load a detector from a folder, or from the Hugging Face Hub.

        Args:
            path_or_hub_id: A run of ``cycada train-detector``, what :meth:`save_pretrained` has
                written, or ``OWNER/NAME`` on the Hub, which is downloaded. A folder comes first.
            device: ``cpu``, ``cuda``, or ``auto`` for the accelerator if there is one.
            revision: Branch, tag or commit on the Hub; ``None`` for its main branch.

        Raises:
            RunError: It holds no detector that can be used, or cannot be fetched.
            UsageError: There is no such device.
        """
        place = located(path_or_hub_id, "detector", revision=revision)
        loaded = opened(load_detector, place, device_named(device))
        return cls(place.root, place.step, loaded)

    @property
    def names(self) -> tuple[str, ...]:
        """What it answers: columns of AUs such as ``AU01``, or classes."""
        return self.loaded.task.names

    def detect(
        self, pictures: Picture | Iterable[Picture], *, domain: Domain = "thermal",
        faces: str = "auto", unit: Unit | None = None, rotate: Rotation = 0,
        window: tuple[float, float] | None = None,
    ) -> Detections:  # fmt: skip
        """Return what the detector says of each image, and of each frame of recordings.

        What is given is read as ``cycada detect`` reads it, with the options of the same names,
        and gives the same answers. All rows are in memory; they are small, images are not kept.

        Args:
            pictures: One or several: paths of images, recordings, folders or indexes; arrays
                ``(H, W)`` or ``(H, W, 3)`` of uint8, uint16 or float32; pictures of Pillow.
            domain: What they show.
            faces: How faces are found (``docs/faces.md``): ``auto``, ``heads``, ``dlib``,
                ``yunet``, a file; ``whole``: each image is a face that was cut out, as those of an
                index are.
            unit: What thermal pixels count, such as ``centikelvin``; ``None``: as the format says,
                else guessed and noted, or refused where in doubt.
            rotate: Degrees clockwise that turn frames upright.
            window: Deg C of black and white, where pictures or the detector know no temperatures.

        Returns:
            A row for each frame in order. An image among others that cannot be read has a row
            with the reason.

        Raises:
            DataError: A file is missing, the only one or a recording cannot be read, or the images
                do not suit the detector.
            UsageError: An option is impossible, or an optional package is missing.
        """
        check_choice("domain", domain, get_args(Domain))
        check_choice("unit", unit, (None, *get_args(Unit)))
        spanned = None if window is None else _window(window)
        read = ReadOptions(domain=domain, unit=unit, rotate=rotate, window=spanned)
        rows: list[Detected] = []
        notes: list[str] = []
        quiet = Progress(shown=False)
        for source in _sources(listed(pictures), read, cut_out=faces == WHOLE):
            seen = detector_window(source, self.loaded, read.window)
            finder = None if source.cut_out else face_source(faces, domain)
            found = answers(source, self.loaded, finder, window=seen, progress=quiet)
            rows += (row for some in found for row in some)
            notes += (*source.notes, *detector_notes(self.loaded, source))
        return Detections(
            self.loaded.task, tuple(rows), graded=self.loaded.intensity is not None,
            notes=tuple(dict.fromkeys(notes)),
        )  # fmt: skip


def _window(given: object) -> Window:
    numbers = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else ()
    if len(numbers) != 2 or not all(isinstance(each, Real) for each in numbers):
        raise UsageError(f"window: expected two temperatures in deg C, found {given!r}.")
    return Window(float(numbers[0]), float(numbers[1]))


def _sources(given: Sequence[Picture], read: ReadOptions, *, cut_out: bool) -> Iterator[Source]:
    """Yield what was given in order, single images that follow each other as one source."""
    for picture in given:
        path = path_of(picture)
        if path is not None and not path.exists():
            raise DataError(f"{path}: there is no such file or folder.")
    numbered = list(enumerate(given))
    for alone, group in groupby(numbered, key=lambda pair: _is_single(pair[1], read.domain)):
        members = list(group)
        if alone:
            yield _of_images(members, read, cut_out=cut_out)
            continue
        sources, faults = open_sources(
            [path for _, picture in members if (path := path_of(picture))], read, cut_out=cut_out
        )
        if faults:
            raise DataError(f"{faults[0][0]}: {faults[0][1]}.")
        yield from sources


def _is_single(picture: Picture, domain: Domain) -> bool:
    """Tell whether this is one image, and no recording, folder or index."""
    path = path_of(picture)
    if path is None:
        return True
    image = path.suffix.lower() in IMAGE_SUFFIXES and path.name != CSV_NAME
    return image and not path.is_dir() and not holds_several(path, domain=domain)


def _of_images(
    members: Sequence[tuple[int, Picture]], read: ReadOptions, *, cut_out: bool
) -> Source:
    understood = [_opened(picture, number, read) for number, picture in members]
    faults = [each for each in understood if isinstance(each, DataError)]
    if len(faults) == len(understood):
        raise faults[0]
    files = [name_of(picture, number) for number, picture in members]
    source = source_of_images(
        files[0].parent, files, understood, domain=read.domain, cut_out=cut_out
    )
    return replace(source, name="images")


def _opened(picture: Picture, number: int, read: ReadOptions) -> Footage | DataError:
    """Open an image as its file is opened, or return what is wrong with it."""
    path = path_of(picture)
    if path is not None:
        return opened_or_fault(path, read)
    name = name_of(picture, number)
    try:
        shot = Shot(pixels_of(picture, number).numpy(), None, name.name)
        reading = Reading(path=name, shots=lambda: iter((shot,)), sample=(shot,), count=1)
        return interpret(reading, read)
    except DataError as error:
        return error
