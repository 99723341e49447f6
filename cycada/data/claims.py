"""What label files say of each image, and which row said it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cycada.data.folders import Found
from cycada.data.index import Domain
from cycada.data.label_table import LabelRow, LabelTable, place_of
from cycada.errors import DataError


class Draft:
    """What has been read of one image so far."""

    def __init__(self) -> None:
        self.subject = ""
        self.label = ""
        self.action_units: Mapping[int, float] = {}

    def add(self, row: LabelRow, place: str, *, subject: str) -> None:
        """Add what ``row`` knows.

        Raises:
            DataError: it contradicts what is known already.
        """
        said = (("subject", self.subject, subject), ("label", self.label, row.label))
        for name, old, new in said:
            if old and new and old != new:
                raise DataError(
                    f"{place}: the {name} is {new!r}, but another label file says {old!r}."
                )
        for number in self.action_units.keys() & row.action_units.keys():
            old_value, value = self.action_units[number], row.action_units[number]
            if old_value != value:
                raise DataError(
                    f"{place}: AU{number:02d} is {value:g}, but another label file says "
                    f"{old_value:g}."
                )
        if self.action_units:
            self.action_units = {**self.action_units, **row.action_units}
        else:
            self.action_units = row.action_units  # shared with other images, never changed
        self.subject = self.subject or subject
        self.label = self.label or row.label


class Claims:
    """Which images the rows of one table have been found to name."""

    def __init__(self, table: LabelTable, images: Sequence[Found], drafts: Sequence[Draft]) -> None:
        self.table = table
        self.images = images
        self.drafts = drafts
        self.by_image: dict[int, LabelRow] = {}
        self.rows: set[int] = set()  # ids of the rows that name an image

    def claim(self, row: LabelRow, numbers: Sequence[int], *, subject: str = "") -> None:
        """Give what ``row`` knows to the images ``numbers``, at most one of each domain.

        Raises:
            DataError: there are two of a domain; another row has claimed one; they disagree.
        """
        place = place_of(self.table, row)
        by_domain: dict[Domain, Found] = {}
        for number in numbers:
            found = self.images[number]
            other = by_domain.setdefault(found.domain, found)
            if other is not found:
                raise DataError(f"{place}: {_twice(self.table, row, other, found)}")
            first = self.by_image.setdefault(number, row)
            if first is not row:
                raise DataError(
                    f"{place}: names the same image as {place_of(self.table, first)}, {found.file}."
                )
            self.drafts[number].add(row, place, subject=subject)
            self.rows.add(id(row))


def _twice(table: LabelTable, row: LabelRow, one: Found, other: Found) -> str:
    if row.path:
        return (
            f"{row.path!r} is in several of the searched folders; write paths relative to the "
            f"label file."
        )
    both = f"both {one.file} and {other.file} are"
    if row.frame is None:
        return f"{both} called {row.stem or row.tail!r}; nothing tells which is meant."
    if row.recording:
        return f"{both} frame {row.frame} of {row.recording!r}."
    advice = "index such folders apart"  # of the cameras of DISFA, for one
    if table.layout == "csv":
        advice = "add a column 'sequence', or name paths"
    return f"{both} frame {row.frame} of {row.subject!r}; {advice}."
