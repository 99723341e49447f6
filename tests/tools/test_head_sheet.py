from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from cycada import image_writing, thermal
from cycada.data import phantom


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    import head_sheet

    return head_sheet


def test_each_folder_gives_its_share_of_tiles_and_found_faces_are_green(
    tool: ModuleType, tmp_path: Path
) -> None:
    draw = torch.Generator().manual_seed(3)
    identity = phantom.sample_identities(4, generator=draw)
    scene = phantom.sample_scenes(4, generator=draw)
    heats = phantom.render_celsius(identity, torch.zeros(4, 18), scene, size=128)
    for number, heat in enumerate(heats):
        counts = thermal.counts_from_celsius(heat, "centikelvin")
        image_writing.write_image(tmp_path / "data" / "ab"[number % 2] / f"{number}.png", counts)
    out = tmp_path / "sheet.png"
    arguments = [str(tmp_path / "data"), "--unit", "centikelvin", "--count", "4", "--out", str(out)]
    result = CliRunner().invoke(tool.main, arguments)
    assert result.exit_code == 0, result.output
    told = result.output.splitlines()
    assert {line.split(": ")[1] for line in told[:4]} == {"0.png", "1.png", "2.png", "3.png"}
    assert sum("used" in line for line in told) >= 3
    with Image.open(out) as sheet:
        colours = {colour: n for n, colour in sheet.convert("RGB").getcolors(1 << 20) or []}
    assert colours[0, 255, 0] > 100


def test_frames_are_spread_over_a_recording(tool: ModuleType) -> None:
    assert tool._spaced(100, 4, 0.5) == [12, 37, 62, 87]
    assert tool._spaced(3, 9, 0.0) == [0, 1, 2]
