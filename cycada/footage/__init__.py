"""Camera files as streams of frames: images, stacks, thermal recordings, video."""

from __future__ import annotations

from cycada.footage.flir import is_radiometric
from cycada.footage.frames import (
    Domain,
    Footage,
    Frame,
    Polarity,
    ReadOptions,
    Rotation,
)
from cycada.footage.opening import SUFFIXES, Sources, find_sources, holds_several, open_footage
from cycada.footage.writing import FileKind, write_frame

__all__ = [
    "SUFFIXES",
    "Domain",
    "FileKind",
    "Footage",
    "Frame",
    "Polarity",
    "ReadOptions",
    "Rotation",
    "Sources",
    "find_sources",
    "holds_several",
    "is_radiometric",
    "open_footage",
    "write_frame",
]
