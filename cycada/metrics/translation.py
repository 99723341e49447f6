"""How faithful, how plausible and how thermal the translated images are.

Functions of images return one figure per image, so that the caller can average them over any
number of batches and give an interval over subjects. Nothing here downloads or loads a network:
see :mod:`cycada.metrics.features` for that.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cycada.metrics.bootstrap import Floats, Integers, Interval, plain

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601), as in the grey of image libraries."""

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 4096
"""Of the value histograms: 0.005 deg C each with a window of 20 deg C."""


def absolute_error(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean absolute difference of each image pair.

    Args:
        first: ``(B, C, H, W)`` in [-1, 1].
        second: The same shape. For the cycle error: the image and what came back of it.

    Returns:
        ``(B,)`` in [0, 2]. Half of it times the span of the window is in deg C.
    """
    return (first - second).abs().flatten(1).mean(1)


def root_mean_square_error(first: Tensor, second: Tensor) -> Tensor:
    """Return the root of the mean squared difference of each image pair: ``(B,)`` in [0, 2]."""
    return (first - second).square().flatten(1).mean(1).sqrt()


def structural_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Return the SSIM of each image pair (Wang et al., 2004; Gaussian window of 11 px).

    SSIM can rise while an image grows blurred and worse to look at; read it beside LPIPS.

    Args:
        first: ``(B, C, H, W)`` in [-1, 1].
        second: The same shape.

    Returns:
        ``(B,)``, at most 1.
    """
    from kornia.metrics import ssim  # noqa: PLC0415 - slow to import

    # The constants of SSIM assume values from 0 to the dynamic range: [0, 1] here.
    values: Tensor = ssim((first + 1) / 2, (second + 1) / 2, 11, max_val=1.0, padding="valid")
    return values.flatten(1).mean(1)


def luminance_correlation(rgb: Tensor, thermal: Tensor) -> Tensor:
    """Return Pearson's correlation of each thermal image with the luminance of its RGB source.

    A translator that only inverts the grey values reaches -1. Real pairs correlate too (hair is
    dark and cold), so compare with them where they exist.

    Args:
        rgb: ``(B, 3, H, W)``.
        thermal: ``(B, 1 or 3, H, W)``; three channels are averaged.

    Returns:
        ``(B,)`` in [-1, 1]; 0 where one of the two images is flat.
    """
    weights = torch.tensor(LUMINANCE, dtype=rgb.dtype, device=rgb.device)
    return correlation((rgb * weights[:, None, None]).sum(1, keepdim=True), thermal)


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Pearson's correlation over the pixels of each image pair.

    Args:
        first: ``(B, C, H, W)``; channels are averaged.
        second: ``(B, C, H, W)``.

    Returns:
        ``(B,)`` in [-1, 1]; 0 where one of the two images is flat.
    """
    one, other = (image.mean(1).flatten(1) for image in (first, second))
    one, other = (values - values.mean(1, keepdim=True) for values in (one, other))
    length = (one.square().sum(1) * other.square().sum(1)).sqrt()
    return (one * other).sum(1) / length.clamp(min=1e-12)


def label_flip_rate(
    before: npt.ArrayLike, after: npt.ArrayLike, known: npt.ArrayLike | None = None
) -> Floats:
    """Return for each AU the share of frames whose decision the translation turned around.

    Args:
        before: ``(N, A)`` what a detector decides of the original.
        after: ``(N, A)`` what it decides of the translation.
        known: ``(N, A)`` frames to count; None counts all.

    Returns:
        ``(A,)`` in [0, 1]; NaN where no frame counts.
    """
    first, second, mask = _decisions(before, after, known)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(((first != second) & mask).sum(0) / mask.sum(0), dtype=np.float64)


def cohen_kappa(
    before: npt.ArrayLike, after: npt.ArrayLike, known: npt.ArrayLike | None = None
) -> Floats:
    """Return for each AU how far two sets of decisions agree beyond chance (Cohen, 1960).

    Unlike the flip rate it does not flatter an AU that is rare and never detected.

    Args:
        before: ``(N, A)`` decisions before the translation.
        after: ``(N, A)`` decisions after it.
        known: ``(N, A)`` frames to count; None counts all.

    Returns:
        ``(A,)`` at most 1; NaN where both say the same of every frame, so that chance alone
        explains it.
    """
    first, second, mask = _decisions(before, after, known)
    with np.errstate(invalid="ignore", divide="ignore"):
        count = mask.sum(0)
        observed = ((first == second) & mask).sum(0) / count
        yes, again = (first & mask).sum(0) / count, (second & mask).sum(0) / count
        chance = yes * again + (1 - yes) * (1 - again)
        return np.asarray(
            np.where(1 - chance > 1e-12, (observed - chance) / (1 - chance), np.nan),
            dtype=np.float64,
        )


def histogram(images: Tensor) -> Integers:
    """Return ``(BINS,)`` counts of the values in [-1, 1]; histograms of batches add up."""
    places = ((images.float() + 1) / 2 * BINS).long().clamp(0, BINS - 1).flatten()
    counts: Integers = torch.bincount(places, minlength=BINS).cpu().numpy()
    return counts


def quantiles(counts: Integers, at: tuple[float, ...] = QUANTILES) -> Floats:
    """Return quantiles in [-1, 1] from a :func:`histogram`, exact to half a bin."""
    centres = (np.arange(BINS) + 0.5) / BINS * 2 - 1
    share = counts.cumsum() / counts.sum()
    return np.asarray(centres[np.searchsorted(share, at)], dtype=np.float64)


def wasserstein(first: Integers, second: Integers) -> float:
    """Return the Wasserstein-1 distance of two histograms, in units of [-1, 1].

    In one dimension it is the area between the two cumulated distributions: the mean amount by
    which values must move.
    """
    gap = first.cumsum() / first.sum() - second.cumsum() / second.sum()
    return float(np.abs(gap).sum() * 2 / BINS)


def kernel_distance(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Return the squared maximum mean discrepancy of two feature sets (KID of Inception's).

    Unbiased estimator with the kernel ``(x.y / D + 1)^3`` (Binkowski et al., ICLR 2018), over
    all samples at once instead of the mean over random blocks: the same expectation, without
    the randomness. It may be slightly negative. Unlike the Frechet distance its expectation
    does not depend on the number of images.

    Args:
        first: ``(N, D)`` features, N of at least 2.
        second: ``(M, D)`` features, M of at least 2.
    """
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)

    def kernel(a: Floats, b: Floats) -> Floats:
        return np.asarray((a @ b.T / a.shape[1] + 1) ** 3, dtype=np.float64)

    def within(a: Floats) -> float:
        values = kernel(a, a)
        return float((values.sum() - np.trace(values)) / (len(a) * (len(a) - 1)))

    return within(x) + within(y) - 2 * float(kernel(x, y).mean())


def frechet_distance(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Return the Frechet distance of two feature sets (FID of Inception's).

    ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`` between Gaussians of the same means and
    covariances (Heusel et al., 2017). Biased upwards for few images: say their number.

    Args:
        first: ``(N, D)`` features, N of at least 2.
        second: ``(M, D)`` features, M of at least 2.
    """
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    shift = x.mean(0) - y.mean(0)
    # With C1 = A'A and C2 = B'B the eigenvalues of (C1 C2)^(1/2) are the singular values of
    # A B': real by construction, and no square root of a large singular matrix is needed. The
    # triangular factors of A and B give the same ones and are never larger than D x D.
    a = np.linalg.qr((x - x.mean(0)) / math.sqrt(len(x) - 1))[1]
    b = np.linalg.qr((y - y.mean(0)) / math.sqrt(len(y) - 1))[1]
    overlap = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(shift @ shift + (a * a).sum() + (b * b).sum() - 2 * overlap)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A mean over images with its 95 % interval over subjects."""

    mean: float
    interval: Interval
    images: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueStatistics:
    """How the values of real and made thermal images are distributed, in ``unit``."""

    unit: str  # "deg C" with a temperature window, else "of [-1, 1]"
    at: tuple[float, ...]
    real: tuple[float, ...]  # quantiles
    made: tuple[float, ...]
    wasserstein: float


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitAgreement:
    """What one RGB detector says of a face before and after the way there and back."""

    name: str  # of the AU or class
    flip_rate: float
    kappa: float
    f1_before: float  # against the labels; NaN where there are none
    f1_after: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TranslationScores:
    """What a translator reaches; ``not_available`` says why a figure is missing."""

    rgb_images: int
    thermal_images: int
    subjects: int
    paired: int
    figures: dict[str, Measured] = field(default_factory=dict)
    distances: dict[str, float] = field(default_factory=dict)
    values: ValueStatistics | None = None
    units: tuple[UnitAgreement, ...] = ()
    not_available: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``scores.json``: NaN becomes null, intervals become pairs."""
        return plain(asdict(self))  # type: ignore[no-any-return]


def _decisions(
    before: npt.ArrayLike, after: npt.ArrayLike, known: npt.ArrayLike | None
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    first, second = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    mask = np.ones_like(first) if known is None else np.asarray(known, dtype=bool)
    if not first.shape == second.shape == mask.shape:
        raise ValueError(f"decisions differ in shape: {first.shape} and {second.shape}")
    return first, second, mask
