"""The Action Units of the Facial Action Coding System (FACS; Ekman, Friesen & Hager, 2002)."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from cycada.errors import DataError

Region = Literal["brow", "eye", "cheek", "nose", "mouth", "chin", "jaw", "head", "gaze"]

INTENSITY_MAX = 5.0
"""FACS grades visible action from A (trace) to E (maximum); here 1 to 5, with 0 for none."""

OCCURRENCE_THRESHOLD = 2.0
"""Intensity from which an AU counts as present: the usual convention on DISFA (grade B)."""

PROBABILITY_THRESHOLD = 0.5
"""Probability from which an AU counts as present, in labels that a program made."""


@dataclass(frozen=True, slots=True)
class ActionUnit:
    """One facial movement: its FACS number, its name, and the part of the face that moves."""

    number: int
    name: str
    region: Region

    @property
    def column(self) -> str:
        """Name of the AU's column in tables, such as ``AU01``."""
        return column(self.number)


ACTION_UNITS: tuple[ActionUnit, ...] = (
    ActionUnit(1, "inner brow raiser", "brow"),
    ActionUnit(2, "outer brow raiser", "brow"),
    ActionUnit(4, "brow lowerer", "brow"),
    ActionUnit(5, "upper lid raiser", "eye"),
    ActionUnit(6, "cheek raiser", "cheek"),
    ActionUnit(7, "lid tightener", "eye"),
    ActionUnit(8, "lips toward each other", "mouth"),
    ActionUnit(9, "nose wrinkler", "nose"),
    ActionUnit(10, "upper lip raiser", "mouth"),
    ActionUnit(11, "nasolabial deepener", "nose"),
    ActionUnit(12, "lip corner puller", "mouth"),
    ActionUnit(13, "sharp lip puller", "mouth"),
    ActionUnit(14, "dimpler", "mouth"),
    ActionUnit(15, "lip corner depressor", "mouth"),
    ActionUnit(16, "lower lip depressor", "mouth"),
    ActionUnit(17, "chin raiser", "chin"),
    ActionUnit(18, "lip pucker", "mouth"),
    ActionUnit(19, "tongue show", "mouth"),
    ActionUnit(20, "lip stretcher", "mouth"),
    ActionUnit(22, "lip funneler", "mouth"),
    ActionUnit(23, "lip tightener", "mouth"),
    ActionUnit(24, "lip pressor", "mouth"),
    ActionUnit(25, "lips part", "mouth"),
    ActionUnit(26, "jaw drop", "jaw"),
    ActionUnit(27, "mouth stretch", "jaw"),
    ActionUnit(28, "lip suck", "mouth"),
    ActionUnit(29, "jaw thrust", "jaw"),
    ActionUnit(30, "jaw sideways", "jaw"),
    ActionUnit(32, "lip bite", "mouth"),
    ActionUnit(33, "cheek blow", "cheek"),
    ActionUnit(34, "cheek puff", "cheek"),
    ActionUnit(35, "cheek suck", "cheek"),
    ActionUnit(36, "tongue bulge", "cheek"),
    ActionUnit(37, "lip wipe", "mouth"),
    ActionUnit(38, "nostril dilator", "nose"),
    ActionUnit(39, "nostril compressor", "nose"),
    ActionUnit(41, "lid droop", "eye"),
    ActionUnit(42, "slit", "eye"),
    ActionUnit(43, "eyes closed", "eye"),
    ActionUnit(44, "squint", "eye"),
    ActionUnit(45, "blink", "eye"),
    ActionUnit(46, "wink", "eye"),
    ActionUnit(51, "head turn left", "head"),
    ActionUnit(52, "head turn right", "head"),
    ActionUnit(53, "head up", "head"),
    ActionUnit(54, "head down", "head"),
    ActionUnit(55, "head tilt left", "head"),
    ActionUnit(56, "head tilt right", "head"),
    ActionUnit(57, "head forward", "head"),
    ActionUnit(58, "head back", "head"),
    ActionUnit(61, "eyes turn left", "gaze"),
    ActionUnit(62, "eyes turn right", "gaze"),
    ActionUnit(63, "eyes up", "gaze"),
    ActionUnit(64, "eyes down", "gaze"),
)
"""Every AU that an index may name, in ascending order of its FACS number."""

BY_NUMBER = MappingProxyType({unit.number: unit for unit in ACTION_UNITS})

_MIRRORED = MappingProxyType({51: 52, 52: 51, 55: 56, 56: 55, 61: 62, 62: 61})
_COLUMN = re.compile(r"AU(\d{1,2})")


def column(number: int) -> str:
    """Return the table column of an AU: ``column(1) == "AU01"``."""
    return f"AU{number:02d}"


def meaning(name: str) -> str:
    """Return what the AU of a column does, such as ``inner brow raiser``; "" for other names."""
    match = _COLUMN.fullmatch(name)
    unit = BY_NUMBER.get(int(match[1])) if match else None
    return unit.name if unit else ""


def mirrored(number: int) -> int:
    """Return the AU that AU ``number`` becomes when the face is flipped left to right."""
    return _MIRRORED.get(number, number)


def number_of(name: str) -> int:
    """Return the FACS number of the column ``name`` (``"AU01"`` and ``"AU1"`` both give 1).

    Raises:
        DataError: ``name`` is no AU column, or FACS has no such Action Unit.
    """
    match = _COLUMN.fullmatch(name)
    if match and int(match[1]) in BY_NUMBER:
        return int(match[1])
    known = [unit.column for unit in ACTION_UNITS]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else " FACS numbers run from AU01 to AU64."
    raise DataError(f"unknown Action Unit {name!r}.{hint}")
