from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cycada.data import phantom
from cycada.data.faces.detectors import Detector, fetch_weights, open_detector
from cycada.data.faces.geometry import Found
from cycada.errors import CycadaError, DataError, UsageError


def people(count: int, *, size: int = 200) -> tuple[Tensor, Tensor]:
    """Return RGB phantoms ``(N, 3, H, W)`` and their landmarks ``(N, K, 2)``."""
    draw = torch.Generator().manual_seed(2)
    identity = phantom.sample_identities(count, generator=draw)
    scene = phantom.sample_scenes(count, generator=draw)
    still = torch.zeros(count, 18)
    return (
        phantom.render_rgb(identity, still, scene, size=size),
        phantom.landmarks(identity, still, scene, size=size),
    )


def test_dlib_finds_most_phantoms_with_the_weights_that_it_brings() -> None:
    find = open_detector("dlib")
    pictures, places = people(24)
    met = 0
    for picture, points in zip(pictures, places, strict=True):
        for place in find(picture).places:
            x = (points[:, 0] - place.left) / place.width
            y = (points[:, 1] - place.top) / place.height
            met += bool(
                (x > -0.2).all() and (x < 1.2).all() and (y > -0.1).all() and (y < 1.2).all()
            )
    assert met >= 18


def test_dlib_finds_nobody_on_an_even_picture() -> None:
    grey = torch.full((1, 120, 160), 90, dtype=torch.uint8)
    assert open_detector("dlib")(grey) == Found((), "no face found")


def yunet_of_one_bright_cell(file: Path) -> Path:
    """Write a network with YuNet's outputs that finds a face at each bright cell of 32 px.

    The box is 64 px wide and high around the cell's corner; eyes and mouth lie 16 px around it.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights, outputs = [], [], []

    def constant(name: str, values: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(values, name))
        return name

    shape = {n: constant(f"shape{n}", np.array([1, -1, n], np.int64)) for n in (1, 4, 10)}
    for stride in (8, 16, 32):
        for head, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            name = f"{head}_{stride}"
            kernel = np.zeros((channels, 3, stride, stride), np.float32)
            bias = np.zeros(channels, np.float32)
            if head in ("cls", "obj"):  # the mean brightness of the last stride, as a share
                kernel[:] = 1 / (3 * stride * stride * 255) if stride == 32 else 0
            elif head == "bbox":
                bias[2:] = np.log(2)  # of two strides
            else:
                bias[:] = np.array([-0.5, -0.5, 0.5, -0.5, 0, 0, -0.5, 0.5, 0.5, 0.5])
            inputs = ["input", constant(f"k_{name}", kernel), constant(f"b_{name}", bias)]
            nodes += [
                helper.make_node("Conv", inputs, [f"c_{name}"], strides=[stride, stride],
                                 kernel_shape=[stride, stride]),
                helper.make_node("Transpose", [f"c_{name}"], [f"t_{name}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"t_{name}", shape[channels]], [name]),
            ]  # fmt: skip
            outputs.append(
                helper.make_tensor_value_info(
                    name, TensorProto.FLOAT, [1, (320 // stride) ** 2, channels]
                )
            )
    entry = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 320, 320])
    graph = helper.make_graph(nodes, "cells", [entry], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, file)
    return file


def test_yunet_is_loaded_from_a_file_and_its_eyes_make_the_face(tmp_path: Path) -> None:
    find = open_detector("yunet", weights=yunet_of_one_bright_cell(tmp_path / "cells.onnx"))
    picture = torch.zeros(3, 256, 320, dtype=torch.uint8)
    picture[:, 96:128, 160:192] = 255  # the cell of row 3 and column 5
    (place,) = find(picture).places
    # Offsets of a cell are counted from its corner, in strides.
    assert place.landmarks["eye_right"] == pytest.approx((160 - 16, 96 - 16), abs=0.6)
    assert place.landmarks["mouth_corner_left"] == pytest.approx((160 + 16, 96 + 16), abs=0.6)
    assert (place.angle, place.confidence) == (pytest.approx(0, abs=1), pytest.approx(1, abs=0.02))
    assert place.height == pytest.approx(32 / 0.4, abs=2)
    large = torch.zeros(3, 512, 1280, dtype=torch.uint8)  # is shrunk by 2 for the network
    large[:, 192:256, 320:384] = 255
    (again,) = find(large).places
    twice = [2 * (value + 0.5) - 0.5 for value in place.landmarks["eye_right"]]
    assert again.landmarks["eye_right"] == pytest.approx(twice, abs=0.1)
    assert find(torch.zeros_like(picture)) == Found((), "no face found")


def test_weights_of_another_kind_are_told(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(b"these are no weights")
    kinds: tuple[Detector, ...] = ("dlib", "yunet", "tflite")
    for kind in kinds:
        with pytest.raises(DataError, match=r"weights\.bin: is no"):
            open_detector(kind, weights=file)


@pytest.mark.parametrize(
    ("kind", "package", "extra"),
    [
        ("dlib", "dlib", "faces"),
        ("yunet", "cv2", "yunet"),
        ("tflite", "ai_edge_litert.interpreter", "tflite"),
    ],
)
def test_a_missing_package_is_told_with_the_command_that_brings_it(
    kind: Detector, package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "weights").touch()
    with pytest.raises(UsageError, match=rf"pip install 'cycada\[{extra}\]'"):
        open_detector(kind, weights=tmp_path / "weights")


def test_wrong_choices_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are heads, dlib, yunet, tflite"):
        open_detector("eyes")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="tflite needs a file"):
        open_detector("tflite")
    with pytest.raises(DataError, match="no such file of weights"):
        open_detector("dlib", weights=tmp_path / "none.svm")
    (tmp_path / "some").touch()
    with pytest.raises(UsageError, match="heads has no weights"):
        open_detector("heads", weights=tmp_path / "some")


def test_yunet_is_downloaded_only_when_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(DataError, match=r"unasked: --download .*give its path as weights"):
        open_detector("yunet")
    with pytest.raises(CycadaError, match=r"cannot be downloaded .no route.* put it at"):
        fetch_weights("yunet")
    with pytest.raises(UsageError, match="nothing to fetch for dlib"):
        fetch_weights("dlib")


def test_weights_that_were_downloaded_once_are_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    cached = tmp_path / "checkpoints" / "face_detection_yunet_2023mar.onnx"
    cached.parent.mkdir()
    yunet_of_one_bright_cell(cached)
    monkeypatch.delattr(torch.hub, "download_url_to_file")
    assert open_detector("yunet")(torch.zeros(3, 64, 64, dtype=torch.uint8)).places == ()


def test_heads_are_found_in_maps_and_grey_images_but_not_in_colour() -> None:
    draw = torch.Generator().manual_seed(3)
    identity = phantom.sample_identities(1, generator=draw)
    scene = phantom.sample_scenes(1, generator=draw)
    heat = phantom.render_celsius(identity, torch.zeros(1, 18), scene, size=128)
    find = open_detector("heads")
    assert find(heat).places[0].confidence > 0.5
    grey = ((heat - 20) * 15).clamp(0, 255).to(torch.uint8)
    assert find(grey).places[0].confidence > 0.5
    assert "colour" in find(torch.zeros(3, 9, 9, dtype=torch.uint8)).reason
