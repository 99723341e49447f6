"""Raw counts of a thermal camera <-> temperatures, by a calibration."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cycada.errors import DataError
from cycada.files import check_text
from cycada.thermal import FREEZING_POINT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PLANCK = ("R1", "R2", "B", "O", "F")
_LINEAR = ("gain", "offset")
_SURFACE = ("emissivity", "reflected")


@dataclass(frozen=True, slots=True)
class Planck:
    """The constants by which FLIR cameras count, and the surface they look at.

    ``T = B / ln(R1 / (R2 (S + O)) + F)`` in kelvin for the counts S that a black body gives. Of a
    surface of emissivity e, the camera sees ``S = e S_object + (1 - e) S_reflected``. The air
    between is left out.
    """

    r1: float
    r2: float
    b: float
    o: float
    f: float
    emissivity: float = 1.0
    reflected: float | None = None  # deg C, apparent


@dataclass(frozen=True, slots=True)
class Linear:
    """Temperatures that grow with the counts: ``gain * counts + offset`` in deg C."""

    gain: float
    offset: float


Calibration = Planck | Linear


def celsius_from_raw(counts: NDArray[Any], calibration: Calibration) -> NDArray[np.float64]:
    """Return the temperatures in deg C of raw counts.

    Raises:
        DataError: counts that no temperature gives, with their share.
    """
    raw = counts.astype(np.float64)
    if isinstance(calibration, Linear):
        return raw * calibration.gain + calibration.offset
    c = calibration
    if c.emissivity < 1:
        if c.reflected is None:
            raise ValueError("an emissivity below 1 needs the reflected temperature")
        of_surroundings = raw_from_celsius(np.asarray(c.reflected), c)
        raw = (raw - (1 - c.emissivity) * of_surroundings) / c.emissivity
    with np.errstate(divide="ignore", invalid="ignore"):
        kelvin = c.b / np.log(c.r1 / (c.r2 * (raw + c.o)) + c.f)
    impossible = ~(np.isfinite(kelvin) & (kelvin > 0))
    if impossible.any():
        raise DataError(
            f"{100 * impossible.mean():.2g}% of its counts are of no temperature by this "
            f"calibration; is it that of the camera?"
        )
    return np.asarray(kelvin - FREEZING_POINT)


def raw_from_celsius(celsius: NDArray[Any], planck: Planck) -> NDArray[np.float64]:
    """Return the counts that a black body of that temperature gives."""
    kelvin = celsius.astype(np.float64) + FREEZING_POINT
    return np.asarray(planck.r1 / (planck.r2 * (np.exp(planck.b / kelvin) - planck.f)) - planck.o)


def read_calibration(
    file: Path, *, emissivity: float | None = None, reflected: float | None = None
) -> Calibration:
    """Read a TOML file with ``R1``, ``R2``, ``B``, ``O`` and ``F``, or ``gain`` and ``offset``.

    With Planck constants, ``emissivity`` (1) and ``reflected`` (deg C) may stand there too.

    Args:
        file: of the calibration.
        emissivity: instead of that in the file.
        reflected: apparent temperature in deg C, instead of that in the file.

    Raises:
        DataError: the file is missing, wrong or incomplete.
    """
    try:
        check_text(file)
        with file.open("rb") as stream:
            given = tomllib.load(stream)
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such calibration.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise DataError(f"{file}: cannot be read as TOML ({error}).") from error
    names = set(given)
    linear = names == set(_LINEAR)
    if not linear and not (set(_PLANCK) <= names <= {*_PLANCK, *_SURFACE}):
        raise DataError(
            f"{file}: holds {', '.join(sorted(names)) or 'nothing'}; a calibration holds R1, R2, "
            f"B, O and F (Planck; emissivity and reflected are optional), or gain and offset "
            f"(deg C per count, and at count 0)."
        )
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DataError(f"{file}: {name} is a number, not {value!r}.")
    if linear:
        if emissivity is not None or reflected is not None:
            raise DataError(
                f"{file}: is linear, which leaves no place for --emissivity and --reflected."
            )
        return Linear(float(given["gain"]), float(given["offset"]))
    return _complete(file, given, emissivity=emissivity, reflected=reflected)


def told(calibration: Calibration) -> str:
    """Return what a calibration assumes, for the user."""
    if isinstance(calibration, Linear):
        return f"{calibration.gain:g} deg C per count"
    if calibration.emissivity == 1:
        return "Planck constants, emissivity 1"
    return (
        f"Planck constants, emissivity {calibration.emissivity:g}, reflected "
        f"{calibration.reflected:g} deg C"
    )


def _complete(
    file: Path, given: dict[str, Any], *, emissivity: float | None, reflected: float | None
) -> Planck:
    r1, r2, b, o, f = (float(given[name]) for name in _PLANCK)
    planck = Planck(
        r1, r2, b, o, f,
        emissivity=float(given.get("emissivity", 1.0)),
        reflected=float(given["reflected"]) if "reflected" in given else None,
    )  # fmt: skip
    if emissivity is not None:
        planck = replace(planck, emissivity=emissivity)
    if reflected is not None:
        planck = replace(planck, reflected=reflected)
    if (
        not all(map(math.isfinite, (r1, r2, b, o, f)))
        or min(planck.r1, planck.r2, planck.b, planck.f) <= 0
    ):
        raise DataError(f"{file}: R1, R2, B and F are finite and above 0.")
    if not 0 < planck.emissivity <= 1:
        raise DataError(f"{file}: the emissivity lies above 0 and up to 1.")
    if planck.emissivity < 1 and planck.reflected is None:
        raise DataError(
            f"{file}: an emissivity below 1 needs the apparent temperature that is reflected, "
            f"in deg C: reflected = 20 in the file, or --reflected 20."
        )
    return planck
