"""Exported networks in int8, for processors.

Static quantisation by ONNX Runtime: weights have a scale for each channel that a layer makes,
activations one for each layer, from the least and the largest value that calibrating faces lead to.
The first and the last layer stay in float32. With these in int8 as well, a translator lost a
seventh of the macro F1 that its judge reaches on its images; without them nothing that could be
measured (``tools/bench_int8.py``, docs/performance.md).
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from cycada.errors import RunError, reason
from cycada.footage.packages import optional
from cycada.training.exported import INPUT, INT8, KEY, PRECISION_KEY, read_sealed
from cycada.training.exporting import write_sealed

LAYERS = ("Conv", "Gemm")
"""Operations that are quantised; the other products of matrices are no layers, but filters."""


def quantise(file: Path, faces: Iterable[Tensor], *, exact: Sequence[int] = (0, -1)) -> None:
    """Replace an exported network by the same in int8.

    Args:
        file: ONNX, as :func:`cycada.training.exporting.write_exported` writes it.
        faces: Batches as the network sees them, to learn from how large activations become.
        exact: Places, among its layers, of those that stay in float32.

    Raises:
        RunError: ONNX Runtime cannot quantise it.
        UsageError: A package for it is missing.
    """
    onnx: Any = optional("onnx", extra="onnx", what="--int8")
    tool: Any = optional("onnxruntime.quantization", extra="onnx", what="--int8")
    shapes: Any = optional(
        "onnxruntime.quantization.shape_inference", extra="onnx", what="--int8"
    )  # fmt: skip
    told = onnx.load_model_from_string(read_sealed(file)).metadata_props
    facts = json.loads(next(each.value for each in told if each.key == KEY))
    with tempfile.TemporaryDirectory() as folder, _without_advice():
        plain, small = Path(folder, "plain.onnx"), Path(folder, "int8.onnx")
        try:
            # Symbolic shapes are for transformers; the sizes of a translator's images are free.
            shapes.quant_pre_process(file, plain, skip_symbolic_shape=True)
            nodes = onnx.load(plain).graph.node
            layers = [node.name for node in nodes if node.op_type in LAYERS]
            tool.quantize_static(
                plain, small, _Faces(faces), quant_format=tool.QuantFormat.QDQ, per_channel=True,
                activation_type=tool.QuantType.QUInt8, weight_type=tool.QuantType.QInt8,
                op_types_to_quantize=list(LAYERS),
                nodes_to_exclude=[layers[place] for place in exact],
            )  # fmt: skip
        except Exception as error:  # its errors have no class of their own in common
            raise RunError(
                f"ONNX Runtime cannot quantise this network ({reason(error)}); leave out --int8."
            ) from error
        model = onnx.load(small)
    write_sealed(model, file, text=json.dumps({**facts, PRECISION_KEY: INT8}))


class _Faces:
    """Faces as ONNX Runtime's ``CalibrationDataReader`` gives them: a batch for each call."""

    def __init__(self, faces: Iterable[Tensor]) -> None:
        self._left = iter(faces)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._left, None)
        return None if batch is None else {INPUT: batch.numpy()}


@contextmanager
def _without_advice() -> Iterator[None]:
    """Leave out what ONNX Runtime says of quantising: users can do nothing about it."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
