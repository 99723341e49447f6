"""LPIPS as a loss: distance in the features of a fixed network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from cycada.errors import DataError
from cycada.weights import downloaded, read_tensors


class PerceptualDistance(nn.Module):
    """LPIPS on AlexNet features (Zhang et al., CVPR 2018), mean over the batch."""

    def __init__(self, weights: str) -> None:
        """Load AlexNet's convolutions.

        Args:
            weights: File with torchvision's AlexNet (or its ``features``); empty takes the one
                that was downloaded before.

        Raises:
            DataError: There is no file, or it does not hold AlexNet's convolutions.
        """
        super().__init__()
        import lpips  # noqa: PLC0415 - slow to import, and only this term needs it

        file = Path(weights) if weights else downloaded(
            alexnet_address(), what="AlexNet's weights for LPIPS",
            otherwise="give a local file with torchvision's AlexNet, or leave LPIPS out",
        )  # fmt: skip
        # Without weights, for torchvision would download them, and unpickle whatever they name.
        self.metric = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
        _load_alexnet(self.metric.net, file)
        self.requires_grad_(False)  # noqa: FBT003
        self.eval()

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Compare ``(B, 1 or 3, H, W)`` images in [-1, 1]; returns the scalar mean distance."""
        if made.shape[1] == 1:
            made, real = made.expand(-1, 3, -1, -1), real.expand(-1, 3, -1, -1)
        out: Tensor = self.metric(made, real).mean()
        return out


def alexnet_address() -> str:
    """Return where torchvision publishes AlexNet."""
    import torchvision  # noqa: PLC0415 - slow to import

    return str(torchvision.models.AlexNet_Weights.DEFAULT.url)


def _load_alexnet(network: nn.Module, path: Path) -> None:
    features = {key.removeprefix("features."): value for key, value in read_tensors(path).items()}
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            key = name.split(".", 1)[1]  # lpips calls "features.3.weight" "slice2.3.weight"
            if key not in features or features[key].shape != parameter.shape:
                raise DataError(f"{path}: no AlexNet convolution {key} of the right shape in it.")
            parameter.copy_(features[key])
