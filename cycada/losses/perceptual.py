"""LPIPS as a loss: distance in the features of a fixed network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from cycada.errors import CycadaError, DataError


class PerceptualDistance(nn.Module):
    """LPIPS on AlexNet features (Zhang et al., CVPR 2018), mean over the batch."""

    def __init__(self, weights: str) -> None:
        """Load AlexNet's convolutions.

        Args:
            weights: File with torchvision's AlexNet (or its ``features``); empty downloads it.

        Raises:
            DataError: The file does not hold AlexNet's convolutions.
            CycadaError: The download failed; says how to go on.
        """
        super().__init__()
        import lpips  # noqa: PLC0415 - slow to import, and only this term needs it

        if weights:
            self.metric = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
            _load_alexnet(self.metric.net, Path(weights))
        else:
            try:
                self.metric = lpips.LPIPS(net="alex", verbose=False)
            except OSError as error:
                raise CycadaError(
                    f"AlexNet's weights for LPIPS could not be downloaded ({error}); give a local "
                    "file with torchvision's AlexNet, or leave LPIPS out."
                ) from error
        self.requires_grad_(False)  # noqa: FBT003
        self.eval()

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Compare ``(B, 1 or 3, H, W)`` images in [-1, 1]; returns the scalar mean distance."""
        if made.shape[1] == 1:
            made, real = made.expand(-1, 3, -1, -1), real.expand(-1, 3, -1, -1)
        out: Tensor = self.metric(made, real).mean()
        return out


def _load_alexnet(network: nn.Module, path: Path) -> None:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        told = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: cannot be loaded as PyTorch weights ({told}).") from error
    if not isinstance(state, dict):
        raise DataError(f"{path}: expected AlexNet's state dict, found {type(state).__name__}.")
    features = {key.removeprefix("features."): value for key, value in state.items()}
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            key = name.split(".", 1)[1]  # lpips calls "features.3.weight" "slice2.3.weight"
            if key not in features or features[key].shape != parameter.shape:
                raise DataError(f"{path}: no AlexNet convolution {key} of the right shape in it.")
            parameter.copy_(features[key])
