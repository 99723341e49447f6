from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cycada.errors import DataError
from cycada.footage import open_footage, write_frame
from cycada.footage.writing import SUFFIX_OF, natural_kind
from cycada.image_reading import read_image
from cycada.thermal import Unit, Window, counts_from_celsius

WINDOW = Window(20, 40)


def celsius() -> torch.Tensor:
    return torch.linspace(18, 42, 16 * 24).reshape(1, 16, 24)


@pytest.mark.parametrize("kind", ["png16", "tiff16"])
def test_centikelvin_are_written_as_they_are(tmp_path: Path, kind: Any) -> None:
    counts = torch.arange(65536, dtype=torch.int32).to(torch.uint16).reshape(1, 256, 256)
    file = tmp_path / f"a{SUFFIX_OF[kind]}"
    write_frame(file, counts, unit="centikelvin", kind=kind)
    assert torch.equal(read_image(file), counts)


@pytest.mark.parametrize(
    "unit", ["celsius", "kelvin", "kelvin64", "kelvin16", "decikelvin", "centikelvin"]
)
def test_every_unit_becomes_centikelvin_deg_c_or_grey(tmp_path: Path, unit: Unit) -> None:
    frame = counts_from_celsius(celsius(), unit)
    step = {"kelvin64": 1 / 64, "kelvin16": 1 / 16, "decikelvin": 0.1}.get(unit, 0.0)
    write_frame(tmp_path / "a.png", frame, unit=unit, kind="png16")
    footage = open_footage(tmp_path / "a.png")
    assert footage.unit == "centikelvin"
    found = next(footage.frames()).image.double() / 100 - 273.15
    assert (found - celsius()).abs().max() <= step / 2 + 0.0051
    write_frame(tmp_path / "a.npy", frame, unit=unit, kind="npy")
    assert (read_image(tmp_path / "a.npy") - celsius()).abs().max() <= step / 2 + 0.0051
    write_frame(tmp_path / "b.png", frame, unit=unit, kind="png8", window=WINDOW)
    expected = ((celsius() - 20) / 20 * 255).clamp(0, 255)
    away = (read_image(tmp_path / "b.png").float() - expected).abs().max()
    assert away <= 0.5 + (step / 2 + 0.0051) / 20 * 255


def test_grey_is_written_as_it_is(tmp_path: Path) -> None:
    grey = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    deep = torch.arange(256, dtype=torch.int32).to(torch.uint16).reshape(1, 16, 16)
    assert (natural_kind(grey, "grey"), natural_kind(deep, "grey")) == ("png8", "png16")
    assert natural_kind(celsius(), "celsius") == "png16"
    for image, kinds in ((grey, ("png8", "npy")), (deep, ("png16", "tiff16", "npy"))):
        for kind in kinds:
            file = tmp_path / f"a{SUFFIX_OF[kind]}"
            write_frame(file, image, unit="grey", kind=kind)  # type: ignore[arg-type]
            assert torch.equal(read_image(file), image)


@pytest.mark.parametrize(
    ("image", "unit", "kind", "message"),
    [
        (torch.zeros(1, 4, 4, dtype=torch.uint8), "grey", "png16", "cannot hold 8-bit grey"),
        (torch.zeros(1, 4, 4, dtype=torch.uint8), "grey", "tiff16", "cannot hold 8-bit grey"),
        (torch.zeros(1, 4, 4, dtype=torch.uint16), "grey", "png8", "cannot hold 16-bit grey"),
        (celsius(), "celsius", "png8", "png8 needs --window LOW HIGH"),
        (celsius() + 400, "celsius", "png16", "is 442 deg C at its hottest, .* end at 382; use"),
    ],
)
def test_a_kind_that_cannot_hold_the_frame_is_refused(
    tmp_path: Path, image: torch.Tensor, unit: Unit, kind: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        write_frame(tmp_path / f"a{SUFFIX_OF[kind]}", image, unit=unit, kind=kind)
    assert not list(tmp_path.iterdir())
