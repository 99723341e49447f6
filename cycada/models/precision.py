"""How a trained network's weights are held where it only answers: in bfloat16, and packed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cycada.models.generator import NarrowingConvolution

_BLOCK = 64  # channels


def hold_in_bf16(network: nn.Module) -> None:
    """Hold in bfloat16 what autocast would turn into it again in every pass.

    The answers under autocast stay the same to the last bit: normalisations, and a generator's last
    layer, which compute in float32, keep their weights in it.
    """
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.Linear) and not isinstance(part, NarrowingConvolution):
            part.to(torch.bfloat16)


def pack(network: nn.Module) -> None:
    """Hold the bfloat16 weights of large convolutions in the order in which they are multiplied.

    oneDNN, by which PyTorch computes convolutions there, else puts them in order in every pass, for
    each thread anew: a quarter of a pass of two small images through a ResNet-18, and as much
    memory again as the largest layer has. The answers under autocast stay the same to the last bit.

    Nothing changes where it was not measured or cannot be done (:func:`can_pack`).

    Args:
        network: On the processor, its weights in place with their channels last. It is of no use
            but for answering then: packed weights are in no ``state_dict`` and cannot be copied.
    """
    if not can_pack():
        return
    found = [
        (part, name)
        for part in network.modules()
        for name, layer in part.named_children()
        if type(layer) is nn.Conv2d and _can_be_packed(layer)
    ]
    for part, name in reversed(found):  # the largest first, whose place the others then take
        setattr(part, name, _PackedConvolution(getattr(part, name)))


def can_pack() -> bool:
    """Tell whether PyTorch has oneDNN here, and oneDNN the instructions for which packing pays.

    With AMX it uses another order, for which none of this was measured.
    """
    if torch.cpu.get_capabilities().get("amx_bf16"):
        return False
    asked = ("_is_mkldnn_bf16_supported", "_reorder_convolution_weight", "_convolution_pointwise")
    if not all(hasattr(torch.ops.mkldnn, name) for name in asked):
        return False
    supported: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001
    return supported


def _can_be_packed(layer: nn.Conv2d) -> bool:
    """Tell whether the order that oneDNN chooses without seeing an image is the one that it uses.

    Where it is not (kernels of 1 x 1, groups, channels that fill no block), it orders them anew in
    every pass, by a way so slow that a ResNet-50 takes four times as long (docs/performance.md).
    """
    plain = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    usual = layer.kernel_size == (3, 3) and layer.groups == 1 and layer.dilation == (1, 1)
    fills = layer.in_channels % _BLOCK == 0 and layer.out_channels % _BLOCK == 0
    return plain and usual and fills and layer.weight.dtype == torch.bfloat16


class _PackedConvolution(nn.Module):
    """A convolution that keeps its weights in order, as those that torch.compile has frozen do.

    PyTorch has no public form of it that takes images which are not packed themselves.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.geometry = [
            list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups
        ]  # fmt: skip
        every_size = None
        self.weight: Tensor = torch.ops.mkldnn._reorder_convolution_weight(  # noqa: SLF001
            layer.weight.detach(), *self.geometry, every_size
        )
        self.bias = layer.bias

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(B, in, H, W)`` to ``(B, out, H', W')`` in bfloat16."""
        made: Tensor = torch.ops.mkldnn._convolution_pointwise(  # noqa: SLF001
            image.to(torch.bfloat16), self.weight, self.bias, *self.geometry, "none", [], ""
        )
        return made
