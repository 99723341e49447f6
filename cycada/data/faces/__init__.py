"""Faces in frames: where they are, by whatever source, and the crops made of them."""

from __future__ import annotations

from cycada.data.faces.choose import Choice, Rule, Several, choose_faces
from cycada.data.faces.crops import CROPS_NAME, CropRow, read_crops, row_of_choice, write_crops
from cycada.data.faces.detectors import Detector, open_detector
from cycada.data.faces.geometry import (
    MARGIN,
    FacePlace,
    Finder,
    Found,
    Square,
    crop_face,
    place_of_box,
    place_of_landmarks,
    square_of,
)
from cycada.data.faces.places import PlaceTable, read_places

__all__ = [
    "CROPS_NAME",
    "MARGIN",
    "Choice",
    "CropRow",
    "Detector",
    "FacePlace",
    "Finder",
    "Found",
    "PlaceTable",
    "Rule",
    "Several",
    "Square",
    "choose_faces",
    "crop_face",
    "open_detector",
    "place_of_box",
    "place_of_landmarks",
    "read_crops",
    "read_places",
    "row_of_choice",
    "square_of",
    "write_crops",
]
