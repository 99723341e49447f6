from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import pytest

from cycada.errors import DataError
from cycada.vitals.alarms import Event
from cycada.vitals.record import (
    EVENT_COLUMNS,
    Vitals,
    as_lines,
    event_row,
    read_events,
    read_vitals,
    vitals_columns,
    vitals_row,
)

KNOWN = Vitals(
    seconds=61, frames=9, face=0.5, rate=16.25, quality=0.875, part="nostrils", apnea=False,
    units={1: 0.25, 12: 0.0}, expressivity_rate=2.0, expressivity_entropy=0.5,
    expressivity_lost=True, score=0.5, missing="nasal flaring (AU38 is not assessed)",
    reasons='a smile (AU12 0.90); "talk"',
)  # fmt: skip
UNKNOWN = Vitals(seconds=1, reason="not seen", units={1: math.nan, 12: math.nan})


def written(folder: Path, rows: list[Vitals]) -> Path:
    file = folder / "vitals.csv"
    table = [vitals_columns((1, 12)), *(vitals_row(row, (1, 12)) for row in rows)]
    file.write_text(as_lines(table), encoding="utf-8")
    return file


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    one, other = read_vitals(written(tmp_path, [UNKNOWN, KNOWN]))
    assert other == KNOWN
    assert other.units == KNOWN.units
    assert (one.seconds, one.reason, one.apnea) == (1, "not seen", None)
    assert all(map(math.isnan, (one.rate, one.score, *one.units.values())))


def test_nothing_that_is_unknown_is_written_as_a_number(tmp_path: Path) -> None:
    with written(tmp_path, [UNKNOWN]).open(encoding="utf-8", newline="") as stream:
        cells = next(csv.DictReader(stream))
    told = {name: cell for name, cell in cells.items() if cell}
    assert told == {
        "seconds": "1", "frames": "0", "face": "0.00", "respiration_quality": "0.000",
        "respiration_reason": "not seen",
    }  # fmt: skip


def test_alarms_are_read_again_those_that_last_without_an_end(tmp_path: Path) -> None:
    events = [
        Event(kind="dyspnea", start=3, raised=7, end=40, peak=0.75, reason="fear, and 32 a minute"),
        Event(kind="apnea", start=50, raised=60, end=math.nan, peak=1, reason=""),
    ]
    text = as_lines([list(EVENT_COLUMNS), *map(event_row, events)])
    (tmp_path / "events.csv").write_text(text, encoding="utf-8")
    one, other = read_events(tmp_path / "events.csv")
    assert one == events[0]
    assert other.lasts


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("dyspnea_score", "score"), "has no column 'dyspnea_score', so `cycada monitor` did not"),
        (("AU12", "AU99"), "row 1: unknown Action Unit 'AU99'"),
        (("16.25", "fast"), "row 3, column respiration_rate: expected a number of at least 0"),
        (("0.2500", "1.5"), "row 3, column AU01: expected a number from 0 to 1, found '1.5'"),
        (("61,9,", "61,"), "row 3: has 15 cells, but the header has 16"),
    ],
)
def test_a_table_that_is_none_is_one_sentence(
    change: tuple[str, str], words: str, tmp_path: Path
) -> None:
    file = written(tmp_path, [UNKNOWN, KNOWN])
    text = file.read_text(encoding="utf-8")
    assert change[0] in text
    file.write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(DataError) as found:
        list(read_vitals(file))
    assert words in str(found.value)


def test_lines_are_those_of_a_csv_writer() -> None:
    wanted = io.StringIO()
    csv.writer(wanted, lineterminator="\n").writerow(vitals_row(KNOWN, (1, 12)))
    assert as_lines([vitals_row(KNOWN, (1, 12))]) == wanted.getvalue()
