"""Detectors of faces behind one function type, each from a library made for it.

* ``heads``: our own method for thermal frames (:mod:`cycada.data.faces.heads`), without weights.
* ``dlib``: HOG and a linear classifier; the frontal detector that comes with the library, for RGB
  faces, or one from a file (``.svm``), such as SF-TL54's for thermal faces.
* ``yunet``: YuNet through OpenCV, from a file (``.onnx``), given or downloaded before; finds the
  eyes, too, so that tilted faces are turned upright.
* ``tflite``: a detector of thermal faces from a file (``.tflite``), as the project thermal-face
  publishes: uint8 RGB in; boxes (top, left, bottom, right, 0 to 1), classes and scores out.
"""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cycada import images, thermal
from cycada.data.faces.geometry import (
    FacePlace,
    Finder,
    Found,
    place_of_box,
    place_of_landmarks,
)
from cycada.data.faces.heads import find_heads
from cycada.errors import DataError, UsageError
from cycada.thermal import Window
from cycada.weights import downloaded, fetch

Detector = Literal["heads", "dlib", "yunet", "tflite"]

Picture = NDArray[np.uint8]  # (H, W, 3) RGB

_SEEN = Window(20, 40)  # deg C that detectors of pictures see as black and white
_YUNET_AT = (
    "https://huggingface.co/opencv/face_detection_yunet/resolve/main/"
    "face_detection_yunet_2023mar.onnx"
)
_YUNET_POINTS = ("eye_right", "eye_left", "nose_tip", "mouth_corner_right", "mouth_corner_left")
_YUNET_SIDE = 640  # px: larger pictures are shrunk, faces up to 300 px being what it has learned
_YUNET_LEAST = 0.3  # scores
_TFLITE_LEAST = 0.3
_DLIB_SIDES = (480, 960)  # px of the longer side at which dlib looks, one after the other
_EXTRAS = MappingProxyType(
    {"dlib": "faces", "cv2": "yunet", "ai_edge_litert.interpreter": "tflite"}
)


class _Box(NamedTuple):
    """How a detector's boxes relate to faces, in heights of the box."""

    height: float  # of the face
    down: float  # from the middle of the box to that of the face


# Measured on aligned portraits, whose faces have the place of our convention (docs/faces.md).
_DLIB_FRONTAL = _Box(1.07, -0.025)
_DLIB_FILE = _Box(1.18, 0.0)  # SF-TL54's, whose boxes begin at the brows
_FROM_FOREHEAD_TO_CHIN = _Box(1.0, 0.0)


def open_detector(kind: Detector, *, weights: Path | None = None) -> Finder:
    """Return the function that finds faces.

    Args:
        kind: Which detector.
        weights: File with its weights: needed by ``tflite``; ``dlib`` and ``yunet`` have others
            of their own; ``heads`` has none.

    Raises:
        UsageError: A package is missing, or weights are needed or of no use.
        DataError: The weights are missing or cannot be loaded.
    """
    if kind not in get_args(Detector):
        raise UsageError(f"no detector {kind!r}; there are {', '.join(get_args(Detector))}.")
    if weights is not None and not weights.is_file():
        raise DataError(f"{weights}: there is no such file of weights.")
    if kind == "heads":
        if weights is not None:
            raise UsageError("the detector heads has no weights.")
        return _heads
    if kind == "dlib":
        return _dlib(weights)
    if kind == "yunet":
        return _yunet(weights)
    if weights is None:
        raise UsageError("the detector tflite needs a file of weights.")
    return _tflite(weights)


def fetch_weights(how: str) -> None:
    """Download the weights of a detector that has published ones, unless they are there.

    Raises:
        UsageError: It has none.
        CycadaError: They cannot be downloaded.
    """
    if how != "yunet":
        raise UsageError(f"--download: there is nothing to fetch for {how}, only for yunet.")
    fetch(_YUNET_AT)


def _heads(image: Tensor) -> Found:
    if image.shape[0] != 1:
        return Found((), "a colour image, in which heads are not found by warmth")
    radiometric = image.dtype == torch.float32
    return find_heads(image[0].numpy().astype(np.float32), radiometric=radiometric)


def _dlib(weights: Path | None) -> Finder:
    dlib = _package("dlib")
    try:
        net = dlib.fhog_object_detector(str(weights)) if weights else None
    except RuntimeError as error:
        raise DataError(f"{weights}: is no detector of dlib ({error}).") from error
    relation = _DLIB_FILE if net else _DLIB_FRONTAL
    net = net or dlib.get_frontal_face_detector()

    def find(image: Tensor) -> Found:
        picture = _picture(image)
        places: list[FacePlace] = []
        for side in _DLIB_SIDES:
            scale = side / max(picture.shape[:2])
            seen = _resized(picture, scale)
            boxes, scores, _ = net.run(seen, 0, 0.0)
            for box, score in zip(boxes, scores, strict=True):
                # Its scores are distances from the decision, of about 0 to 3.
                confidence = 1 / (1 + math.exp(-2 * score))
                places.append(
                    _placed(
                        (box.left(), box.top(), box.width(), box.height()),
                        scale,
                        relation,
                        confidence,
                    )
                )
            if places:
                break
        return _found(places)

    return find


def _yunet(weights: Path | None) -> Finder:
    cv2 = _package("cv2")
    file = weights or downloaded(
        _YUNET_AT, what="the weights of YuNet", otherwise="give its path as weights"
    )
    try:
        net = cv2.FaceDetectorYN.create(str(file), "", (320, 320), _YUNET_LEAST)
    except cv2.error as error:
        raise DataError(f"{file}: is no YuNet that OpenCV {cv2.__version__} loads.") from error

    def find(image: Tensor) -> Found:
        picture = _picture(image)
        scale = min(1.0, _YUNET_SIDE / max(picture.shape[:2]))
        seen = np.ascontiguousarray(_resized(picture, scale)[..., ::-1])  # BGR
        net.setInputSize((seen.shape[1], seen.shape[0]))
        _, rows = net.detect(seen)
        places = []
        for row in [] if rows is None else rows:
            points = (row[4:14].reshape(5, 2).astype(float) + 0.5) / scale - 0.5
            landmarks = {
                name: (float(x), float(y))
                for name, (x, y) in zip(_YUNET_POINTS, points, strict=True)
            }
            confidence = float(np.clip(row[14], 0, 1))
            place = place_of_landmarks(landmarks, confidence=confidence)
            places.append(
                place or _placed(tuple(row[:4]), scale, _FROM_FOREHEAD_TO_CHIN, confidence)
            )
        return _found(places)

    return find


def _tflite(weights: Path) -> Finder:
    litert = _package("ai_edge_litert.interpreter")
    try:
        net: Any = litert.Interpreter(model_path=str(weights), num_threads=1)
        net.allocate_tensors()
        entry = net.get_input_details()[0]
        boxes_at, _, scores_at = (output["index"] for output in net.get_output_details()[:3])
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{weights}: is no TFLite detector ({error}).") from error
    _, tall, wide, channels = map(int, entry["shape"])
    if entry["dtype"] is not np.uint8 or channels != 3:
        raise DataError(f"{weights}: should take uint8 RGB images, and does not.")

    def find(image: Tensor) -> Found:
        height, width = image.shape[-2:]
        # The frame is stretched to the square: with bars at its sides fewer faces are found.
        seen = Image.fromarray(_picture(image)).resize((wide, tall), Image.Resampling.BILINEAR)
        net.set_tensor(entry["index"], np.asarray(seen)[None])
        net.invoke()
        boxes, scores = net.get_tensor(boxes_at)[0], net.get_tensor(scores_at)[0]
        places = []
        for (top, left, bottom, right), score in zip(boxes, scores, strict=True):
            if score >= _TFLITE_LEAST and bottom > top and right > left:
                places.append(
                    place_of_box(
                        float(left * width - 0.5),
                        float(top * height - 0.5),
                        float((right - left) * width),
                        float((bottom - top) * height),
                        confidence=float(score),
                    )
                )
        return _found(places)

    return find


def _found(places: list[FacePlace]) -> Found:
    ordered = sorted(places, key=lambda place: -place.confidence)
    return Found(tuple(ordered), "" if ordered else "no face found")


def _placed(box: tuple[float, ...], scale: float, relation: _Box, confidence: float) -> FacePlace:
    """Return the face of a detector's box (left, top, width, height) in a scaled picture."""
    left, top, width, height = map(float, box)
    middle = top + height / 2 + relation.down * height
    tall = relation.height * height
    return place_of_box(
        (left + 0.5) / scale - 0.5,
        (middle - tall / 2 + 0.5) / scale - 0.5,
        width / scale,
        tall / scale,
        confidence=confidence,
    )


def _picture(image: Tensor) -> Picture:
    """Return an image or temperature map as detectors of pictures want it: ``(H, W, 3)``."""
    if image.dtype == torch.float32:
        signed = thermal.to_signed(image, _SEEN)
        image = images.from_signed(signed, dtype=torch.uint8)
    return np.ascontiguousarray(image.expand(3, -1, -1).permute(1, 2, 0).numpy())


def _resized(picture: Picture, scale: float) -> Picture:
    size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
    if size == list(picture.shape[1::-1]):
        return picture
    resized = Image.fromarray(picture).resize((size[0], size[1]), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        extra = _EXTRAS[name]
        raise UsageError(
            f"the package {name.partition('.')[0]} is missing: pip install 'cycada[{extra}]'."
        ) from None
