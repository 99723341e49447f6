"""What the thermal images of an index count."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cycada.data.folders import Found
from cycada.errors import DataError, UsageError
from cycada.footage import is_radiometric
from cycada.image_reading import read_image
from cycada.thermal import Unit, Window, celsius_from_counts, guess_unit, is_plausible

_SAMPLED_FRAMES = 16  # of the thermal images, for the unit and the temperatures
_PALETTE_DIFFERENCE = 10  # mean difference of channels; a grey JPEG stays below 2


def thermal_unit(
    images: Sequence[Found], dtypes: Sequence[torch.dtype], *, stated: Unit | None, window: Window
) -> tuple[Unit, list[str]]:
    """Return the unit of the thermal images, stated or guessed, and what the user should see.

    Args:
        images: Of the index, of both domains.
        dtypes: What each holds.
        stated: By the user.
        window: Temperatures that the index is to span.

    Raises:
        DataError: The unit is in doubt or cannot be true, naming an image.
        UsageError: A unit is stated, but there is no thermal image.
    """
    thermal = [
        (image, dtype)
        for image, dtype in zip(images, dtypes, strict=True)
        if image.domain == "thermal"
    ]
    if not thermal:
        if stated not in (None, "grey"):
            raise UsageError("--unit is about thermal images; give --thermal DIR too.")
        return "grey", []
    first = {dtype: image for image, dtype in reversed(thermal)}
    if torch.uint8 in first and len(first) > 1:
        other = next(image for dtype, image in first.items() if dtype != torch.uint8)
        raise DataError(
            f"{first[torch.uint8].file} has 8 bits but {other.file} has more; "
            f"the thermal images of an index have one unit."
        )
    step = max(1, len(thermal) // _SAMPLED_FRAMES)
    sample = [image for image, _ in thermal[::step][:_SAMPLED_FRAMES]]
    frames = [read_image(image.file) for image in sample]
    _check_no_thermogram(sample)
    _check_no_palette(sample, frames)
    if torch.uint8 in first:
        if stated not in (None, "grey"):
            raise DataError(
                f"{first[torch.uint8].file}: has 8 bits, which cannot count {stated}; "
                f"its unit is grey."
            )
        return "grey", ["thermal images: 8-bit grey, without temperatures."]
    if stated == "grey" and torch.float32 in first:
        raise DataError(
            f"{first[torch.float32].file}: holds floats, whose range is unknown unless --unit "
            f"says what they count."
        )
    unit, note = stated, ""
    if unit is None:
        unit, median = _guessed_unit(sample, frames)
        note = f" (guessed from the median pixel {median:g}; --unit says otherwise)"
    if unit == "grey":
        return unit, ["thermal images: 16-bit grey, without temperatures."]
    return unit, [f"thermal images: {unit}{note}; {_told_temperatures(frames, unit, window)}."]


def _guessed_unit(sample: Sequence[Found], frames: Sequence[Tensor]) -> tuple[Unit, float]:
    medians = [frame.to(torch.float32).median().item() for frame in frames]
    guesses = [
        guess_unit(median, integer=frame.dtype == torch.uint16)
        for median, frame in zip(medians, frames, strict=True)
    ]
    odd = next((at for at, guess in enumerate(guesses) if guess in (None, "grey")), None)
    if odd is None:
        odd = next((at for at, guess in enumerate(guesses) if guess != guesses[0]), None)
    unit = guesses[0]
    if odd is not None or unit is None:
        at = odd or 0
        raise DataError(
            f"{sample[at].file}: its median pixel {medians[at]:g} does not tell the unit of the "
            f"temperatures; give --unit (centikelvin, decikelvin, kelvin64, kelvin16, kelvin, "
            f"celsius, or grey for pixels without a temperature scale)."
        )
    for found, frame in zip(sample, frames, strict=True):
        celsius = celsius_from_counts(frame, unit).numpy()
        if not is_plausible(celsius):
            raise DataError(
                f"{found.file}: spans {celsius.min():.0f} to {celsius.max():.0f} deg C as {unit}, "
                f"guessed from its median pixel; if rows of telemetry are in it, `cycada convert` "
                f"cuts them off; else give --unit (grey for pixels without a temperature scale)."
            )
    return unit, sorted(medians)[len(medians) // 2]


def _check_no_thermogram(sample: Sequence[Found]) -> None:
    for found in sample:
        if found.file.suffix.lower() != ".npy" and is_radiometric(found.file):
            raise DataError(
                f"{found.file}: is a radiometric JPEG, whose picture has no temperatures; "
                f"`cycada convert` makes images of those that it holds beside."
            )


def _check_no_palette(sample: Sequence[Found], frames: Sequence[Tensor]) -> None:
    for found, frame in zip(sample, frames, strict=True):
        values = frame.to(torch.float32)
        if (values.amax(0) - values.amin(0)).mean() > _PALETTE_DIFFERENCE:
            raise DataError(
                f"{found.file}: is in colour; a palette such as iron is no temperature scale, "
                f"so export the thermal images in grey or with 16 bits, or let `cycada convert "
                f"--palette` turn a known palette into temperatures."
            )


def _told_temperatures(frames: Sequence[Tensor], unit: Unit, window: Window) -> str:
    celsius = torch.cat([celsius_from_counts(frame, unit).flatten() for frame in frames])
    low, high = celsius.min().item(), celsius.max().item()
    outside = ((celsius < window.low) | (celsius > window.high)).to(torch.float32).mean().item()
    return (
        f"{len(frames)} sampled images span {low:.1f} to {high:.1f} deg C, with "
        f"{100 * outside:.1f}% of the pixels outside the window of {window.low:g} to "
        f"{window.high:g}"
    )
