"""Respiration rate from the temperature of a part of the face over time.

Air warms the nostrils, or an open mouth, on its way out and cools them on its way in. A window of
30 s is freed of freezes and jumps, put on an even grid, detrended and band-passed. Three
estimators look at it: the autocorrelation, the spectrum, and the time between breaths. A model of
two harmonics gives the rate between the bins of the spectrum; where the estimators do not bear it
out, or the signal hardly repeats itself, no rate is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from cycada.vitals.breaths import breaths

Array = NDArray[np.float64]
Reason = Literal[
    "", "not seen", "too few frames", "no rhythm", "estimators disagree", "breathing stopped"
]

BAND = (0.1, 0.85)
"""Hz: 6 to 51 breaths per minute, which holds those of breathless patients, too."""

WINDOW = 30.0
"""Seconds that an estimate looks back."""

LOWEST_QUALITY = 0.57
"""A rate of a lower quality is not given."""

SLOWEST = 0.5
"""Seconds from frame to frame, in the median, beyond which no rate is given: at less than two
frames a second fast breaths look like slow ones."""

_LEAST_ALIKE = 0.62  # of breaths that are counted where they do not repeat themselves

GRID = 10.0  # samples per second of the even grid
_JITTER = 0.001  # s that time stamps are rounded by
_MARGIN = 1.0  # s before the window, to bridge to
_LONGEST_GAP = 1.5  # s without a sample that are bridged; a shutter is closed for less (NUC)
_MOST_MISSING = 0.25  # share of a window
_BESIDE = 9  # samples: a jump has one large change among them, a breath has several
_VOUCHED = 0.5  # of what these tell; with all of it some jumps stay, and cost rates
_JUMP = 6.0  # standard deviations of the change from sample to sample, as its MAD tells them
_FROZEN = 3  # equal values in a row: the camera stands still
_FEWEST = 8  # samples
_FIRST_OF = 0.85  # of the highest peak of the autocorrelation: the first that is so high is taken
_ECHO = 0.5  # of it, in a later peak by which the period is told more exactly
_PADDING = 8  # times as many points in a spectrum as there are samples
_NEAR = 0.05  # Hz on both sides of a line of the spectrum that belong to it
_ALL = (0.06, 3.0)  # Hz in which all that a camera sees is compared with the breathing
_FINE = 0.001  # Hz between the rates of models that are compared
_AROUND = 0.03  # Hz on both sides of the spectrum's peak in which the model is fitted
_AGREEMENT = 1.5  # breaths per minute: two estimators say the same
_CHANGING = 0.5  # breaths per minute between breaths and the model: the rate does not hold


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a window tells.

    Attributes:
        rate: Breaths per minute; NaN where none is given.
        quality: From 0 to 1: how much of the signal is breathing.
        reason: Why no rate is given; empty where one is.
        part: Of the face, as it is called by who asks.
        seconds: How far back from the last sample the rate is the mean of.
    """

    rate: float
    quality: float
    reason: Reason
    part: str = ""
    seconds: float = WINDOW

    @property
    def given(self) -> bool:
        """Whether there is a rate."""
        return not self.reason


def estimate(times: Array, values: Array) -> Estimate:
    """Return the respiration rate from the temperature of one part of a face.

    Args:
        times: ``(T,)`` seconds, rising; the window ends with the last of them.
        values: ``(T,)`` deg C, or grey levels of a camera without a temperature scale; NaN where
            the part was not seen.

    Returns:
        The rate over the last :data:`WINDOW` seconds, or why there is none.
    """
    level = evened(times, values)
    if level is None:
        return Estimate(np.nan, 0.0, "too few frames" if too_slow(times) else "not seen")
    return estimate_window(level, band_passed(level))


def estimate_best(times: Array, parts: Mapping[str, Array]) -> Estimate:
    """Return the estimate from the part of the face that tells the rate best.

    Args:
        times: ``(T,)`` seconds, rising.
        parts: Name -> ``(T,)`` temperatures, as for :func:`estimate`; preferred ones first. A part
            is left for another only where it gives no rate.

    Returns:
        The first estimate that is given; if none is, the one of the highest quality.
    """
    found: list[Estimate] = []
    for name, values in parts.items():
        found.append(replace(estimate(times, values), part=name))
        if found[-1].given:
            return found[-1]
    return max(found, key=lambda each: each.quality)


def too_slow(times: Array) -> bool:
    """Tell whether frames come too slowly for a rate: see :data:`SLOWEST`.

    Args:
        times: ``(T,)`` seconds, rising; the last :data:`WINDOW` count.
    """
    lately = times[times > times[-1] - WINDOW - _MARGIN]
    return bool(len(lately) > 1 and np.median(np.diff(lately)) > SLOWEST + _JITTER)


def evened(times: Array, values: Array) -> Array | None:
    """Return the last :data:`WINDOW` seconds on an even grid, without what the camera does.

    Args:
        times: ``(T,)`` seconds, rising.
        values: ``(T,)`` deg C or grey levels; NaN where there is none.

    Returns:
        ``(WINDOW * GRID,)`` without mean and trend; ``None`` where too little was seen, or frames
        come too slowly (:func:`too_slow`).
    """
    if too_slow(times):
        return None
    lately = times > times[-1] - WINDOW - _MARGIN
    grid = _regular(times[lately], steadied(values[lately]))
    missing = np.isnan(grid)
    if missing.mean() > _MOST_MISSING:
        return None
    places = np.arange(len(grid))
    return _detrended(np.interp(places, places[~missing], grid[~missing]))


def band_passed(level: Array) -> Array:
    """Return ``(..., T)`` values of the even grid within :data:`BAND`, without a lag."""
    length = level.shape[-1]
    breath: Array = signal.sosfiltfilt(_filters(), level, padlen=length // 2)
    return breath


def steadied(values: Array) -> Array:
    """Return values without what the camera does to them: freezes become NaN, jumps are taken out.

    While the shutter is closed (NUC) cameras repeat a frame, and often go on at another level.
    Changes from one sample to the next that lie more than six standard deviations from the median
    change, as the median absolute deviation tells them, are replaced by it; so are those of a
    sudden movement. The deviation is that of the whole window or, where it is larger, half of that
    of the samples around: most of a window with a long pause is noise, and a deep breath beside
    that is no jump.

    Args:
        values: ``(T,)``; NaN where there is none.
    """
    steady = values.astype(float)
    equal = np.diff(values) == 0
    starts = np.flatnonzero(np.diff(np.concatenate([[0], equal.astype(int), [0]])) == 1)
    ends = np.flatnonzero(np.diff(np.concatenate([[0], equal.astype(int), [0]])) == -1)
    for start, end in zip(starts, ends, strict=True):
        if end - start >= _FROZEN - 1:
            steady[start + 1 : end + 1] = np.nan
    seen = np.flatnonzero(np.isfinite(steady))
    if len(seen) < _FEWEST:
        return steady
    changes = np.diff(steady[seen])
    usual = np.median(changes)
    off = np.abs(changes - usual)
    around = ndimage.median_filter(off, _BESIDE)
    deviation = 1.4826 * np.maximum(np.median(off), _VOUCHED * around)
    changes[off > _JUMP * deviation] = usual
    steady[seen] = steady[seen[0]] + np.concatenate([[0.0], np.cumsum(changes)])
    return steady


class _Line(NamedTuple):
    rate: float  # Hz
    strength: float  # 0 to 1


def _detrended(values: Array) -> Array:
    """Return values less their mean and linear trend (least squares)."""
    ticks = np.arange(len(values)) - (len(values) - 1) / 2
    level = values - values.mean()
    rest: Array = level - ticks * (ticks @ level / (ticks @ ticks))
    return rest


def _regular(times: Array, values: Array) -> Array:
    """Return the window's values on the even grid; NaN in gaps that are too long to be bridged."""
    count = round(WINDOW * GRID)
    grid = times[-1] - np.arange(count)[::-1] / GRID
    seen = np.isfinite(values)
    if seen.sum() < _FEWEST:
        return np.full(count, np.nan)
    times, values = times[seen], values[seen]
    after = np.searchsorted(times, grid)
    gap = times[np.minimum(after, len(times) - 1)] - times[np.maximum(after - 1, 0)]
    outside = (grid < times[0] - 1 / GRID) | (grid > times[-1] + 1 / GRID)
    even: Array = np.where(outside | (gap > _LONGEST_GAP), np.nan, np.interp(grid, times, values))
    return even


def estimate_window(level: Array, breath: Array) -> Estimate:
    """Return what the values of a window tell: :func:`evened`, and :func:`band_passed`.

    A rate that holds through the window is that of the model. While it changes, the window
    repeats itself badly, but breaths are alike: then their number is their rate.
    """
    if not level.std():
        return Estimate(np.nan, 0.0, "no rhythm")
    repeats = _autocorrelation(breath)
    peak = _spectral_peak(breath)
    model = _two_harmonics(breath, peak)
    counted = breaths(breath, fastest=BAND[1], grid=GRID)
    steady = max(repeats.strength, 0.0) * model.strength * _concentration(level, (peak, peak))
    steady = float(steady ** (1 / 3))
    spread = (0.8 * counted.rate, 1.25 * counted.rate)
    alike = (
        float(np.sqrt(counted.likeness * _concentration(level, spread)))
        if counted.likeness
        else 0.0
    )
    others = np.array([repeats.rate, peak, counted.rate])
    agreeing = (60 * np.abs(others - model.rate) < _AGREEMENT).sum()  # NaN agrees with nothing
    if alike >= _LEAST_ALIKE and (
        steady < LOWEST_QUALITY or 60 * abs(counted.rate - model.rate) > _CHANGING
    ):
        return Estimate(60 * counted.rate, alike, "")
    if steady < LOWEST_QUALITY:
        return Estimate(np.nan, max(steady, alike), "no rhythm")
    if agreeing < 2:
        return Estimate(np.nan, steady, "estimators disagree")
    return Estimate(60 * model.rate, max(steady, alike), "")


def _autocorrelation(breath: Array) -> _Line:
    """Return the rate at which a signal is like itself, and how like.

    Each lag's products are normalised by the energies of the two parts that it compares, so that
    a few long breaths count as much as many short ones. The first peak that is about as high as
    the highest is the period, since two periods are one as well; later peaks tell it more exactly.
    """
    length = len(breath)
    lags = np.arange(int(GRID / BAND[1]), int(min(GRID / BAND[0] + 1, 0.62 * length)) + 1)
    products = np.fft.irfft(np.abs(np.fft.rfft(breath, 2 * length)) ** 2)[lags]
    energy = np.concatenate([[0.0], np.cumsum(breath**2)])
    likeness = products / np.sqrt(energy[length - lags] * (energy[length] - energy[lags]))
    tops = signal.find_peaks(likeness)[0]
    if not len(tops) or likeness[tops].max() <= 0:
        return _Line(np.nan, 0.0)
    first = next(top for top in tops if likeness[top] >= _FIRST_OF * likeness[tops].max())
    period = lags[first] + _offset(likeness, first)
    for count in range(2, len(lags)):
        place = round(count * period) - lags[0]
        if place + 2 >= len(likeness):
            break
        echo = place - 2 + int(np.argmax(likeness[place - 2 : place + 3]))
        if echo + 1 >= len(likeness) or likeness[echo] < _ECHO * likeness[first]:
            break
        period = (lags[echo] + _offset(likeness, echo)) / count
    return _Line(GRID / period, float(likeness[first]))


def _spectral_peak(breath: Array) -> float:
    """Return the highest line of the spectrum within the band, in Hz, between its bins."""
    power, frequencies = _spectrum(breath)
    inside = np.flatnonzero((frequencies >= BAND[0]) & (frequencies <= BAND[1]))
    top = int(inside[np.argmax(power[inside])])
    return float(frequencies[top] + _offset(np.log(power), top) * frequencies[1])


def _concentration(level: Array, rates: tuple[float, float]) -> float:
    """Return the share of all that moves slowly enough to be seen which moves with the breath.

    Args:
        level: ``(T,)`` values of the window.
        rates: Of the slowest and of the fastest breath, Hz; twice of them is theirs, too.
    """
    power, frequencies = _spectrum(level)
    all_ = power[(frequencies > _ALL[0]) & (frequencies < _ALL[1])].sum()
    low, high = rates
    of_breath = np.zeros(len(power), dtype=bool)
    for harmonic in (1, 2):
        below, above = harmonic * low - _NEAR, harmonic * high + _NEAR
        of_breath |= (frequencies > below) & (frequencies < above)
    return float(min(power[of_breath].sum() / all_, 1.0))


def _spectrum(values: Array) -> tuple[Array, Array]:
    points = _PADDING * len(values)
    power: Array = np.abs(np.fft.rfft(values * np.hanning(len(values)), points)) ** 2
    frequencies: Array = np.fft.rfftfreq(points, 1 / GRID).astype(np.float64)
    return power, frequencies


def _two_harmonics(breath: Array, rate: float) -> _Line:
    """Return the fundamental of the best two sines, and the share of the energy that they have.

    With white noise, least squares is the likeliest answer, and is bound to no bins.
    """
    rates, bases = _harmonics(len(breath))
    near = slice(*np.searchsorted(rates, [rate - _AROUND, rate + _AROUND]))
    rates, bases = rates[near], bases[near]
    energy = ((bases @ breath) ** 2).sum(axis=-1)
    top = int(np.argmax(energy))
    best = rates[top] + _offset(energy, top) * (rates[1] - rates[0])
    return _Line(float(best), float(energy[top] / (breath @ breath)))


@lru_cache(maxsize=4)
def _harmonics(length: int) -> tuple[Array, Array]:
    """Return ``(R,)`` rates in Hz, and ``(R, 4, T)`` what sines of them and their doubles span."""
    seconds = (np.arange(length) - length / 2) / GRID
    rates = np.arange(0.8 * BAND[0], BAND[1] + _AROUND, _FINE)
    angles = 2 * np.pi * rates[:, None] * seconds
    sines = np.stack(
        [np.cos(angles), np.sin(angles), np.cos(2 * angles), np.sin(2 * angles)], axis=-1
    )
    return rates, np.linalg.qr(sines)[0].transpose(0, 2, 1).copy()


@lru_cache(maxsize=1)
def _filters() -> Array:
    """Return the band-pass, second-order sections."""
    sections: Array = signal.butter(3, BAND, "bandpass", fs=GRID, output="sos")
    return sections


def _offset(values: Array, top: int) -> float:
    """Return where the parabola through a top and its neighbours is highest, from -0.5 to 0.5."""
    if not 0 < top < len(values) - 1:
        return 0.0
    before, at, after = values[top - 1 : top + 2]
    bend = before - 2 * at + after
    return float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) if bend < 0 else 0.0
