"""Find heads in a thermal frame by their warm outline, without learned weights.

A head is a warm ellipse with an edge at its left, top and right, and with a neck, warm again,
below it. The method, frame by frame:

1. Edges vote for the centres of ellipses of a dozen sizes: the inward gradient, averaged along
   the upper two thirds of each outline, by FFT (a generalised Hough transform). Gradients are
   nearly normalised, so that a warm reference body or a lamp does not outvote a face, and cold
   gaps such as glasses are closed before.
2. Each of the best candidates is fitted to the edges found along rays from its centre.
3. What the fitted ellipse shows is weighed in log-odds: its size, its warmth above the
   surroundings, its edges, what is below it, whether it is as even as a reference body.
4. Warm parts below a head are its body, and fall out.
5. The outlines that are left are fitted once more, to the skin: without the hair.

The weights were set by hand, in round numbers, on recordings of people before a thermal camera
(docs/faces.md says how well that works on others). Warm must be bright: turn black-hot images
around first.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage

from cycada.data.faces.geometry import FACE_WIDTH, FacePlace, Found

Array = NDArray[Any]

_WORKING_SIDES = (112, 224)  # px of the longer side at which heads are looked for, one by one
_ASPECT = 1.3  # height of the outline over its width
_SIZES = tuple(4.2 * 1.19**step for step in range(13))  # half widths in px at working size
_CLOSED = ((0, 3, 1), (3, 7, 7), (7, 13, 11))  # of which sizes gaps of how many px are closed
_SOFT = 0.5  # K per px: steeper gradients vote alike
_WITH_PARTS = 12.0  # half width in px from which parts of a face are candidates themselves
_CANDIDATES = 16
_LEAST_VOTE = 0.16
_CERTAIN = 0.5  # confidence that makes a search at the next working size needless
_WORTH_TELLING = 0.15  # least confidence of what is returned
_GREY_SPAN = 10.0  # K that the contrast of a frame without temperatures counts as
_LEAST_WARMTH = 1.5  # K between cold and warm parts of a frame, below which nothing is warm

# Rays from the centre of a candidate: degrees from the top, clockwise, and shares of the outline.
_DEGREES = np.concatenate([np.arange(0, 190, 10), np.arange(-170, 0, 10)]).astype(np.float64)
_RHO = np.linspace(0.1, 1.8, 18)
_SIN, _COS = np.sin(np.deg2rad(_DEGREES)), np.cos(np.deg2rad(_DEGREES))
_UPPER = np.abs(_DEGREES) <= 115
_LEFT = (_DEGREES < -50) & _UPPER
_TOP = np.abs(_DEGREES) <= 50
_RIGHT = (_DEGREES > 50) & _UPPER
_BELOW = np.abs(_DEGREES) > 150

# The face in the outline of the skin, in its heights: from below the hairline to the chin. The
# outline follows the upper face, so the chin lies below it.
_FACE_TOP, _FACE_HEIGHT = 0.075, 1.16


class _Outlines(NamedTuple):
    """Candidates at working size, ``(N,)`` each."""

    half: Array  # half the width, px
    x: Array  # centre, px
    y: Array
    vote: Array  # 0 to 1


class _Look(NamedTuple):
    """What the outlines show, ``(N,)`` each; NaN where it lies outside the frame."""

    skin: Array  # deg C, exceeded by three tenths of the inside
    warmth: Array  # K of the skin above the median of what is to the left, above and to the right
    least_warmth: Array  # K above the warmest of the three
    below: Array  # what is below the outline: 0 as warm as the surroundings, 1 as the skin
    edge: Array  # weaker of the edges left and right, in shares of the warmth
    spread: Array  # K, standard deviation of the inside
    glow: Array  # K of the warmest twentieth above the skin
    inside: Array  # share of the outline within the frame


def find_heads(values: Array, *, radiometric: bool) -> Found:
    """Find the heads in one upright frame.

    Args:
        values: ``(H, W)`` deg C if ``radiometric``, else any numbers of which higher is warmer.
        radiometric: Whether ``values`` are temperatures, so that skin and contrast are known in
            kelvin.

    Returns:
        The faces, most confident first: boxes from forehead to chin, upright, in px of the frame;
        they may reach beyond it. Profiles and backs of heads are among them. A face lower than
        about 1/9 of the frame's longer side (1/18 from 224 px) is not found. Without any face,
        the reason.
    """
    kelvin = _in_kelvin(np.asarray(values, dtype=np.float32), radiometric=radiometric)
    # A near face may fill more than half of the frame, hence not the median.
    cold, warm = np.percentile(kelvin, (20, 99.5))
    if warm - cold < _LEAST_WARMTH:
        return Found((), "no warm region")
    found: list[FacePlace] = []
    for side in _WORKING_SIDES:
        small = _shrunk(kelvin, min(1.0, side / max(kelvin.shape)))
        down, across = (
            large / little for large, little in zip(kelvin.shape, small.shape, strict=True)
        )
        found = [
            _enlarged(place, across, down) for place in _search(small, radiometric=radiometric)
        ]
        if small is kelvin or any(place.confidence >= _CERTAIN for place in found):
            break
    return Found(tuple(found), "" if found else "no head among the warm regions")


def _in_kelvin(values: Array, *, radiometric: bool) -> Array:
    """Return temperatures as they are, and other numbers spread over a usual contrast."""
    if radiometric:
        return values
    low, high = np.percentile(values, (1, 99.5))
    # A frame without contrast must not become one with: noise would vote.
    span = max(float(high - low), 0.04 * float(np.ptp(values)), 1e-6)
    return np.asarray((values - low) * (_GREY_SPAN / span), dtype=np.float32)


def _shrunk(kelvin: Array, scale: float) -> Array:
    if scale == 1.0:
        return kelvin
    height, width = (max(1, round(side * scale)) for side in kelvin.shape)
    picture = Image.fromarray(kelvin).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def _enlarged(place: FacePlace, across: float, down: float) -> FacePlace:
    """Return a face of the shrunk frame in px of the frame itself."""
    # px centres are whole numbers in both, so the corners of both are at -1/2.
    return replace(
        place,
        left=(place.left + 0.5) * across - 0.5,
        top=(place.top + 0.5) * down - 0.5,
        width=place.width * across,
        height=place.height * down,
    )


def _search(kelvin: Array, *, radiometric: bool) -> list[FacePlace]:
    """Return the faces in a frame of working size, most confident first."""
    votes, (_, smooth, smoother) = _vote(kelvin)
    outlines = _best(votes)
    if not len(outlines.half):
        return []
    outlines = _fitted(smooth, _fitted(smooth, outlines))
    look = _look(smooth, outlines)
    odds = _log_odds(outlines, look, radiometric=radiometric)
    odds = odds - 6 * _is_body(outlines, look, odds)
    confidence = 1 / (1 + np.exp(-0.7 * odds))
    kept: list[int] = []
    for this in np.argsort(-confidence):
        if confidence[this] < _WORTH_TELLING:
            break
        if not any(_overlap(outlines, this, other) for other in kept):
            kept.append(this)
    if not kept:
        return []
    whole = _Outlines(*(part[kept] for part in outlines))
    bare = _of_skin(smoother, whole, (look.skin - 0.5 * look.warmth)[kept])
    return [_face(bare, this, float(sure)) for this, sure in enumerate(confidence[kept])]


def _face(outlines: _Outlines, this: int, confidence: float) -> FacePlace:
    tall = 2 * _ASPECT * outlines.half[this]
    height = _FACE_HEIGHT * tall
    return FacePlace(
        left=float(outlines.x[this] - FACE_WIDTH * height / 2),
        top=float(outlines.y[this] - tall / 2 + _FACE_TOP * tall),
        width=float(FACE_WIDTH * height),
        height=float(height),
        confidence=confidence,
    )


def _overlap(outlines: _Outlines, this: int, other: int) -> bool:
    apart = np.hypot(
        outlines.x[this] - outlines.x[other], (outlines.y[this] - outlines.y[other]) / _ASPECT
    )
    return bool(apart < 1.2 * max(outlines.half[this], outlines.half[other]))


class _Bank(NamedTuple):
    """The outlines as filters for one size of frame."""

    shape: tuple[int, int]  # of the padded frame
    filters: Array  # (sizes, 2, ...) conjugate spectra for the gradient right and down
    seen: Array  # (sizes, H, W) share of the outline within the frame


@lru_cache(maxsize=4)
def _bank(height: int, width: int) -> _Bank:
    reach = _reach(_SIZES[-1])
    padded = (
        fft.next_fast_len(height + reach, real=True),
        fft.next_fast_len(width + reach, real=True),
    )
    frame = np.zeros(padded, np.float32)
    frame[:height, :width] = 1
    frame = fft.rfft2(frame)
    filters, seen = [], []
    for half in _SIZES:
        reach = _reach(half)
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
        u, v = x / half, y / (_ASPECT * half)
        distance = (np.hypot(u, v) - 1) * half  # px from the outline, nearly
        weight = np.exp(-0.5 * (distance / (0.1 * half + 0.7)) ** 2)
        weight[np.abs(np.arctan2(u, -v)) > np.deg2rad(115)] = 0
        weight /= weight.sum()
        across, down = u / half, v / (_ASPECT * half)  # the outward normal
        steep = np.hypot(across, down) + 1e-9
        kernels = np.zeros((3, *padded), np.float32)
        at = np.arange(-reach, reach + 1)
        place = np.ix_(at % padded[0], at % padded[1])
        for kernel, part in zip(
            kernels, (-weight * across / steep, -weight * down / steep, weight), strict=True
        ):
            kernel[place] = part
        spectra = np.conj(fft.rfft2(kernels))
        filters.append(spectra[:2])
        seen.append(fft.irfft2(frame * spectra[2], padded)[:height, :width])
    return _Bank(padded, np.stack(filters), np.stack(seen))


def _reach(half: float) -> int:
    return int(np.ceil(half * _ASPECT * 1.35)) + 2


def _vote(kelvin: Array) -> tuple[Array, list[Array]]:
    """Return ``(sizes, H, W)`` votes for centres, and the frame with ever larger gaps closed."""
    height, width = kelvin.shape
    bank = _bank(height, width)
    votes = np.empty((len(_SIZES), height, width), np.float32)
    maps = []
    for first, last, gap in _CLOSED:
        whole = ndimage.grey_closing(kelvin, size=(gap, 1), mode="nearest") if gap > 1 else kelvin
        maps.append(whole)
        down = ndimage.gaussian_filter(whole, 1.0, order=(1, 0), mode="nearest")
        across = ndimage.gaussian_filter(whole, 1.0, order=(0, 1), mode="nearest")
        softened = 1 / (np.hypot(across, down) + _SOFT)
        spectrum = (
            fft.rfft2(across * softened, bank.shape) * bank.filters[first:last, 0]
            + fft.rfft2(down * softened, bank.shape) * bank.filters[first:last, 1]
        )
        votes[first:last] = fft.irfft2(spectrum, bank.shape)[:, :height, :width]
    # An outline that the frame cuts is judged by what is seen of it, unless that is too little.
    return votes / np.maximum(bank.seen, 0.6), maps


def _best(votes: Array) -> _Outlines:
    """Return the highest peaks of the votes, larger ones before smaller ones of the same height."""
    peak = votes
    for axis, reach in enumerate((1, 2, 2)):  # much faster than scipy's maximum filter
        edge = [(0, 0)] * 3
        edge[axis] = (reach, reach)
        padded = np.pad(peak, edge, constant_values=-1)
        windows = sliding_window_view(padded, 2 * reach + 1, axis=axis)
        peak = np.maximum.reduce([windows[..., at] for at in range(2 * reach + 1)])
    size, y, x = np.nonzero((votes == peak) & (votes > _LEAST_VOTE))
    half = np.array(_SIZES)[size]
    vote = votes[size, y, x].astype(np.float64)
    order = np.argsort(-vote * np.sqrt(half))[:_CANDIDATES]
    return _Outlines(
        half[order], x[order].astype(np.float64), y[order].astype(np.float64), vote[order]
    )


def _rays(kelvin: Array, outlines: _Outlines) -> tuple[Array, Array]:
    """Return ``(N, rays, radii)`` temperatures around the centres, and which lie in the frame."""
    half, x, y = (part[:, None, None] for part in outlines[:3])
    across = x + half * _SIN[:, None] * _RHO
    down = y - _ASPECT * half * _COS[:, None] * _RHO
    height, width = kelvin.shape
    known = (across >= -0.5) & (across <= width - 0.5) & (down >= -0.5) & (down <= height - 0.5)
    return ndimage.map_coordinates(kelvin, [down, across], order=1, mode="nearest"), known


def _fitted(
    kelvin: Array, outlines: _Outlines, *, least: Array | None = None, reach: float = 0.22
) -> _Outlines:
    """Fit each outline to the steepest fall along each ray (Kasa's circle fit, reweighted).

    In units of the outline an ellipse is a circle, and the fit is linear.

    Args:
        kelvin: ``(H, W)``.
        outlines: To begin from.
        least: ``(N,)`` temperatures; what is colder than that counts as being so.
        reach: How far from the outline edges are looked for, in its sizes (standard deviation).
    """
    heat, known = _rays(kelvin, outlines)
    if least is not None:
        heat = np.maximum(heat, least[:, None, None])
    radius = _RHO[1:-1]
    fall = np.clip(heat[:, :, :-2] - heat[:, :, 2:], 0, None) * known[:, :, 2:]
    fall *= np.exp(-0.5 * ((radius - 1) / reach) ** 2)
    steepest = fall.argmax(axis=2)
    weight = np.take_along_axis(fall, steepest[..., None], axis=2)[..., 0]
    usual = np.median(weight[:, _UPPER], axis=1, keepdims=True)
    weight = np.minimum(weight, 2 * usual + 1e-6) * _UPPER
    u, v = radius[steepest] * _SIN, -radius[steepest] * _COS
    terms = np.stack([u, v, np.ones_like(u)], axis=2)
    squared = u**2 + v**2
    for _ in range(2):
        normal = np.einsum("nki,nk,nkj->nij", terms, weight, terms)
        # A ridge on the centre: where few edges are seen, it stays.
        ridge = 1e-3 * weight.sum(axis=1)[:, None, None] * np.diag([1.0, 1.0, 0.0])
        right = np.einsum("nki,nk,nk->ni", terms, weight, squared)
        solved = np.linalg.solve(normal + ridge + 1e-9 * np.eye(3), right[..., None])[..., 0]
        centre_u, centre_v = solved[:, 0] / 2, solved[:, 1] / 2
        fit = np.sqrt(np.maximum(solved[:, 2] + centre_u**2 + centre_v**2, 0.3))
        off = np.hypot(u - centre_u[:, None], v - centre_v[:, None]) - fit[:, None]
        weight = weight / (1 + (off / 0.12) ** 2)
    return _Outlines(
        outlines.half * np.clip(fit, 0.75, 1.35),
        outlines.x + outlines.half * np.clip(centre_u, -0.35, 0.35),
        outlines.y + outlines.half * _ASPECT * np.clip(centre_v, -0.35, 0.35),
        outlines.vote,
    )


def _of_skin(kelvin: Array, whole: _Outlines, half_way: Array) -> _Outlines:
    """Fit outlines of heads to the skin, by cutting off what is colder than half way to it.

    Hair is between skin and room, so its edge vanishes. Locks of hair and glasses must not narrow
    the face or push it aside, so it keeps about the width of the head.
    """
    bare = whole
    for _ in range(2):
        bare = _fitted(kelvin, bare, least=half_way, reach=0.35)
    half = np.clip(bare.half, 0.85 * whole.half, whole.half / 0.85)
    aside = np.clip(bare.x - whole.x, -0.1 * whole.half, 0.1 * whole.half)
    top = bare.y - _ASPECT * bare.half
    return _Outlines(half, whole.x + aside, top + _ASPECT * half, whole.vote)


def _look(kelvin: Array, outlines: _Outlines) -> _Look:
    heat, known = _rays(kelvin, outlines)
    count = len(heat)
    inner = heat[:, :, _RHO < 0.8].reshape(count, -1)
    skin = np.percentile(inner, 70, axis=1)
    around = (_RHO > 1.2) & (_RHO < 1.55)
    sides = np.stack([_mean(heat, known, rays, around) for rays in (_LEFT, _TOP, _RIGHT)])
    surroundings = _ignoring_nan(np.nanmedian, sides)
    warmth = skin - surroundings
    scale = np.maximum(warmth, 0.1)
    below = (_mean(heat, known, _BELOW, (_RHO > 1) & (_RHO < 1.5)) - surroundings) / scale
    band = (_RHO > 0.6) & (_RHO < 1.4)
    fall = (heat[:, :, band][:, :, :-2] - heat[:, :, band][:, :, 2:]).max(axis=2)
    fall = np.where(known[:, :, _RHO < 1.1].all(axis=2), fall, np.nan)
    edges = [_ignoring_nan(np.nanmedian, fall[:, rays].T) / scale for rays in (_LEFT, _RIGHT)]
    return _Look(
        skin=skin,
        warmth=warmth,
        least_warmth=skin - _ignoring_nan(np.nanmax, sides),
        below=below,
        # An edge outside the frame counts as a faint one.
        edge=np.minimum(*(np.nan_to_num(edge, nan=0.15) for edge in edges)),
        spread=heat[:, :, _RHO < 0.7].reshape(count, -1).std(axis=1),
        glow=np.percentile(heat[:, :, _RHO < 0.9].reshape(count, -1), 95, axis=1) - skin,
        inside=known[:, :, _RHO < 1].mean(axis=(1, 2)),
    )


def _mean(heat: Array, known: Array, rays: Array, radii: Array) -> Array:
    """Return the mean of the parts within the frame, NaN where there is none."""
    seen = known[:, rays][:, :, radii].sum(axis=(1, 2))
    total = (heat * known)[:, rays][:, :, radii].sum(axis=(1, 2))
    return np.where(seen > 0, total / np.maximum(seen, 1), np.nan)


def _ignoring_nan(function: Any, values: Array) -> Array:
    """Apply ``function`` along the first axis; all NaN gives NaN, without a warning."""
    empty = np.isnan(values).all(axis=0)
    return np.where(empty, np.nan, function(np.where(empty, 0.0, values), axis=0))


def _log_odds(outlines: _Outlines, look: _Look, *, radiometric: bool) -> Array:
    """Return how likely the outlines are heads: round weights, each term within its limits."""
    below = np.nan_to_num(look.below, nan=0.0)
    warmth = np.nan_to_num(look.warmth, nan=0.0)
    odds = -0.6 + 3.0 * np.clip(np.log2(outlines.half / 8), -1.2, 0.5)
    odds += 1.5 * np.clip(warmth - 2.4, -2.4, 1.0)
    odds += 0.5 * np.clip(np.nan_to_num(look.least_warmth, nan=0.0) - 1, -1.5, 2)
    odds += 2.0 * np.clip(below - 0.4, -0.4, 0.4)
    odds += 4.0 * np.clip(look.edge - 0.4, -0.4, 0.3)
    odds += 8.0 * np.clip(outlines.vote - 0.3, -0.2, 0.2)
    odds -= 8.0 * np.clip(0.85 - look.inside, 0, 1)
    # A face is never as even as a wall, a housing or a shoulder.
    odds -= 3.0 * np.clip((0.34 - look.spread) / 0.14, 0, 1)
    # A reference body: even, and cold all round, also below.
    alone = np.clip((0.35 - np.nan_to_num(look.below, nan=0.25)) / 0.2, 0, 1)
    odds -= 3.0 * alone * np.clip((0.5 - look.glow) / 0.25, 0, 1)
    # A housing with a reference body in it: a face has no part that is so much warmer.
    odds -= 2.0 * np.clip(look.glow - 1.6, 0, 2)
    if radiometric:  # uncooled cameras are off by up to 5 K
        odds -= np.clip(25 - look.skin, 0, 8) + np.clip(look.skin - 41, 0, 8)
    return np.asarray(odds)


def _is_body(outlines: _Outlines, look: _Look, odds: Array) -> Array:
    """Tell which outlines are neck, chest or arm of a head above them: ``(N,)`` bool."""
    half, x, y = outlines.half, outlines.x, outlines.y
    aside = np.abs(x[:, None] - x) / half  # [lower, upper], in half widths of the upper
    lower = (y[:, None] - y) / (_ASPECT * half)
    cooler = look.skin[:, None] < look.skin - 0.3
    wider = half[:, None] > 1.3 * half
    under = (lower > 0.8) & (lower < 6) & ((aside < 1.6) | ((aside < 3.2) & (cooler | wider)))
    # A chest is large and warm, but not round, as a small head far away is all the same.
    rounder = cooler & (outlines.vote > 2 * outlines.vote[:, None])
    within = np.hypot(x[:, None] - x, (y[:, None] - y) / _ASPECT) < half[:, None]
    under |= within & rounder & wider & (lower > 0.4)
    likely = (odds > np.where(rounder, -1.5, np.maximum(-1.5, odds[:, None] - 4))) & (
        look.skin > look.skin[:, None] - 2
    )
    # Someone nearer to the camera is larger, as warm, and looks more like a head.
    better = odds[:, None] > odds + 1
    round_ = outlines.vote[:, None] > 0.3
    nearer = (half[:, None] > 1.5 * half) & ~cooler & better & round_
    # A near face is no body of its own forehead, which is warmer, yet no rounder.
    part = within & better & (outlines.vote[:, None] > np.maximum(0.35, 0.7 * outlines.vote))
    part &= half[:, None] > _WITH_PARTS
    return np.asarray((under & likely & ~nearer & ~part).any(axis=1))
