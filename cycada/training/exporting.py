"""Trained networks as files that need neither their run nor this package to be computed.

``onnx``: for ONNX Runtime and others; ``torchscript``: for PyTorch without Python;
``torch-export``: PyTorch's own successor of that. All take any number of images, and a translator
any sides that are multiples of 4.
"""

from __future__ import annotations

import copy
import io
import json
import logging
import math
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from cycada.errors import RunError, reason
from cycada.footage.packages import optional
from cycada.models.detector import Detector
from cycada.models.tiling import MULTIPLE, SMALLEST
from cycada.task import TaskKind, probabilities_of
from cycada.training.exported import INPUT, JSON_NAME, KEY, OUTPUT, seal

Format = Literal["onnx", "torchscript", "torch-export"]

FORMATS: tuple[Format, ...] = get_args(Format)

SUFFIXES: Mapping[Format, str] = MappingProxyType(
    {"onnx": ".onnx", "torchscript": ".pt", "torch-export": ".pt2"}
)

OPSET = 20
"""Of ONNX; ONNX Runtime reads it from 1.17 on."""


class DetectorForExport(nn.Module):
    """A detector that gives probabilities, in operations that every format knows."""

    def __init__(self, detector: Detector, kind: TaskKind) -> None:
        super().__init__()
        self.detector, self.kind = with_fixed_pooling(detector), kind

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(B, channels, S, S)`` in [-1, 1] to ``(B, A)`` probabilities."""
        return probabilities_of(self.detector(image).logits, self.kind)


class FixedMaxPool(nn.Module):
    """Adaptive maximum pooling to a square grid, for images of one size.

    ONNX has no operation for it; its windows are known where the size is. The same bits.
    """

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C, grid, grid)``."""
        rows = torch.stack([x[:, :, a:b].amax(2) for a, b in self._windows(x.shape[2])], 2)
        return torch.stack([rows[..., a:b].amax(3) for a, b in self._windows(x.shape[3])], 3)

    def _windows(self, length: int) -> list[tuple[int, int]]:
        side = int(length)  # a tensor while TorchScript traces
        return [
            (place * side // self.grid, math.ceil((place + 1) * side / self.grid))
            for place in range(self.grid)
        ]


def with_fixed_pooling(module: nn.Module) -> nn.Module:
    """Return a copy of a network with :class:`FixedMaxPool` in place of adaptive pooling."""
    module = copy.deepcopy(module)
    for part in module.modules():
        for name, child in part.named_children():
            if isinstance(child, nn.AdaptiveMaxPool2d):
                setattr(part, name, FixedMaxPool(cast("int", child.output_size)))
    return module


def write_exported(
    module: nn.Module, form: Format, file: Path, *, example: Tensor, facts: Mapping[str, Any],
    any_size: bool,
) -> None:  # fmt: skip
    """Write a network that maps one tensor of images to one tensor.

    Args:
        module: In evaluation mode, on the processor, in float32.
        form: Of the file.
        file: Is overwritten.
        example: ``(B, C, H, W)`` images, B of 2 or more, as the network sees them.
        facts: What the file is to carry, as JSON.
        any_size: Whether H and W may be other multiples of 4 than in ``example``.

    Raises:
        RunError: PyTorch cannot express the network in this format.
        UsageError: A package for it is missing.
    """
    text = json.dumps(facts)
    with torch.no_grad(), _quiet():
        module(example)  # what it remembers for this size must be made now, not while it is traced
        if form == "torchscript":
            _write_torchscript(module, file, example=example, text=text)
        elif form == "torch-export":
            program = _program(module, example, any_size=any_size)
            torch.export.save(program, file, extra_files={JSON_NAME: text})
        else:
            # Asked for first: exporting takes a while.
            for name in ("onnx", "onnxscript", "onnxruntime"):
                optional(name, extra="onnx", what="--format onnx")
            _write_onnx(_program(module, example, any_size=any_size), file, text=text)


def _program(module: nn.Module, example: Tensor, *, any_size: bool) -> ExportedProgram:
    shape: dict[int, Any] = {0: Dim("batch")}
    if any_size:
        for axis, name in ((2, "height"), (3, "width")):
            shape[axis] = MULTIPLE * Dim(f"{name}_{MULTIPLE}", min=SMALLEST // MULTIPLE)
    program = torch.export.export(module, (example,), dynamic_shapes=(shape,), strict=False)
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, GraphModule) else ():
            node.meta.pop("stack_trace", None)  # names the folders of this machine
    return program


def _write_onnx(program: ExportedProgram, file: Path, *, text: str) -> None:
    from torch.onnx.errors import OnnxExporterError  # noqa: PLC0415 - slow to import

    try:
        made = torch.onnx.export(
            program, (), dynamo=True, external_data=False, opset_version=OPSET, verbose=False,
            input_names=[INPUT], output_names=[OUTPUT],
        )  # fmt: skip
    except OnnxExporterError as error:
        raise RunError(f"PyTorch cannot write this network as ONNX ({reason(error)}).") from error
    model: Any = made.model_proto  # type: ignore[union-attr]
    for value in (model.graph.input[0], model.graph.output[0]):
        axes = value.type.tensor_type.shape.dim
        for axis, name in zip(axes, ("batch", "", "height", "width"), strict=False):
            if axis.dim_param:
                axis.dim_param = name
    write_sealed(model, file, text=text)


def write_sealed(model: Any, file: Path, *, text: str) -> None:
    """Write a model of ONNX with its facts and its checksum; what names this machine is left out.

    Args:
        model: ``onnx.ModelProto``; is changed.
        file: Is overwritten.
        text: The facts, as JSON.
    """
    from onnx import helper  # noqa: PLC0415 - an optional package

    graph = model.graph
    del graph.value_info[:]  # shapes in between, by names that are none of the user's
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""  # these name the folders of this machine
        del part.metadata_props[:]
    helper.set_model_props(model, {KEY: text})
    content = model.SerializeToString()
    file.write_bytes(content + seal(content))


def _write_torchscript(module: nn.Module, file: Path, *, example: Tensor, text: str) -> None:
    traced = torch.jit.trace(module, example)  # type: ignore[no-untyped-call]
    whole = io.BytesIO()
    torch.jit.save(traced, whole, _extra_files={JSON_NAME: text})
    with zipfile.ZipFile(whole) as read, zipfile.ZipFile(file, "w") as written:
        for entry in read.infolist():
            if not entry.filename.endswith(".debug_pkl"):  # name the folders of this machine
                written.writestr(entry, read.read(entry))


def load_archive(form: Format, file: Path) -> tuple[Callable[[Tensor], Tensor], dict[str, Any]]:
    """Return the network in a file of TorchScript or ``torch.export``, and the facts in it.

    Only for files that were written by oneself: PyTorch may run what they hold.
    """
    extra = {JSON_NAME: ""}
    with _quiet():
        if form == "torchscript":
            network = torch.jit.load(  # type: ignore[no-untyped-call]
                file, map_location="cpu", _extra_files=extra
            )
        else:
            network = torch.export.load(file, extra_files=extra).module()
    return network, json.loads(extra[JSON_NAME])


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what PyTorch says of its exporters: users can do nothing about it."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
