"""The tool that weighs generators: what it counts, what it chooses, and the whole on tiny faces."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from cycada.config import DetectorConfig
from cycada.errors import UsageError
from cycada.progress import Progress
from cycada.stages import demo_jobs
from cycada.stages.phantom import PhantomOptions, make_phantom
from cycada.stages.train_detector import run_training


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    import knee

    return knee


def test_the_products_of_a_small_network_are_those_of_its_layers(tool: ModuleType) -> None:
    """Of 4/1 on 256 px by hand: kernel, channels in and out, and pixels of each layer's output."""
    layers = [
        (7 * 7, 6, 4, 256**2),  # the image and its fine detail
        (3 * 3, 4, 8, 128**2),
        (3 * 3, 8, 16, 64**2),
        (3 * 3, 16, 16, 64**2), (3 * 3, 16, 16, 64**2),
        (2 * 2, 16, 4 * 8, 65**2),  # four kernels of 2 x 2 instead of one of 3 x 3
        (2 * 2, 8, 4 * 4, 129**2),
        (7 * 7, 4, 1, 256**2),
    ]  # fmt: skip
    counted = 2 * sum(kernel * a * b * pixels for kernel, a, b, pixels in layers) / 1e9
    found = tool.measured({"4/1": tool.generator("4/1")})["4/1"]
    assert found["gflop"] == pytest.approx(counted, abs=0.02)
    assert found["ms"] > 0


@pytest.mark.parametrize("name", ["24", "24/3/plain", "a/3", "24/3/paper/"])
def test_what_is_no_name_of_a_network_is_refused(name: str, tool: ModuleType) -> None:
    with pytest.raises(UsageError, match="expected WIDTH/BLOCKS"):
        tool.generator(name)


def test_the_knee_is_the_cheapest_that_keeps_as_much_as_any_on_validation_subjects(
    tool: ModuleType,
) -> None:
    def network(name: str, gflop: float, validation: list[float], test: list[float]) -> object:
        return tool.Network(
            name=name, gflop=gflop, ms=1.0, validation=validation, test=test, celsius=[0.6, 0.7]
        )

    found = [
        network("16/3", 8, [0.81, 0.80], [0.9, 0.9]),  # better than the paper's, not as any
        network("24/3", 18, [0.79, 0.85], [0.7, 0.76]),  # nearly
        network("64/3", 90, [0.82, 0.826], [0.9, 0.9]),
        network(tool.PAPER, 180, [0.80, 0.80], [0.78, 0.8]),
    ]
    assert tool.knee(found).name == "24/3"
    assert tool.result(found, [0, 1])["knee"] == {
        "network": "24/3", "gflop_ratio": 10.0, "preservation": 0.73, "textbook_preservation": 0.79
    }  # fmt: skip
    lines = tool.table(found[::-1]).splitlines()
    assert lines[3].startswith("| **24/3** | 18.0 | 1 | 0.820 (0.790 to 0.850) | 0.730 (0.700 to")
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "16/3", "**24/3**", "64/3", "64/9/paper"
    ]  # fmt: skip


def test_networks_are_trained_translated_and_weighed_and_nothing_is_done_twice(
    tool: ModuleType, tiny_detector: Callable[..., DetectorConfig], quiet: Progress,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    next_program: Callable[[], None],
) -> None:  # fmt: skip
    demo, out, told = tmp_path / "demo", tmp_path / "knee", tmp_path / "told.json"
    make_phantom(
        PhantomOptions(
            out=demo / "faces", rgb_subjects=10, thermal_subjects=10, frames=2, size=16, seed=0,
            paired=("val", "test"),
        ),
        progress=quiet,
    )  # fmt: skip
    for name, domain in (("structure", "rgb"), ("target_supervised", "thermal")):
        config = tiny_detector(source=(str(demo / "faces"),), source_domain=domain, target=())
        run_training(replace(config, view="structure"), demo / name, progress=quiet)
    monkeypatch.setitem(
        demo_jobs.PLANS, "quick", replace(demo_jobs.PLANS["quick"], translator_steps=6)
    )
    monkeypatch.setattr(tool, "SIZE", 16)
    monkeypatch.setattr(tool, "PAPER", "2/1/paper")
    monkeypatch.setattr(tool, "jobs_at_a_time", lambda: 0)
    words = [str(demo), "--out", str(out), "--networks", "2/1", "--json", str(told)]
    monkeypatch.setattr(sys, "argv", ["knee.py", *words])
    next_program()  # which may multiply in half precision
    tool.main()
    first = json.loads(told.read_text())
    assert [each["name"] for each in first["networks"]] == ["2/1/paper", "2/1"]
    for each in first["networks"]:
        assert all(0 <= each[split][0] <= 1 for split in ("validation", "test"))
        assert 0 < each["celsius"][0] < 20
    paper = json.loads((out / "2-1-paper/seed-0/translator/config.json").read_text())["settings"]
    assert paper["generator"] == {"width": 2, "blocks": 1, "skips": False}
    assert paper["detector"] == str(demo / "structure")
    assert "**2/1" in capsys.readouterr().out
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file()}
    tool.main()
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file()} == before
