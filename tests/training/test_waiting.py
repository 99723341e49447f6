from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cycada.config import DetectorConfig, TranslatorConfig
from cycada.data.dataset import FaceImages
from cycada.data.index import read_index
from cycada.progress import Progress
from cycada.stages import train_detector, train_translator
from cycada.training.run_reading import read_log
from cycada.training.waiting import MUCH, WaitingForImages


def test_it_is_told_once_if_two_lines_in_a_row_waited_long(faces: Path) -> None:
    index = read_index(faces)
    rgb, thermal = (FaceImages([index], domain=d, size=512) for d in ("rgb", "thermal"))
    assert rgb.decoded_mb == len(rgb) * 3 * 512 * 512 / 2**20
    assert thermal.decoded_mb == len(thermal) * 2 * 512 * 512 / 2**20
    waiting = WaitingForImages((rgb, thermal), cache_mb=10, workers=2)
    told = [list(waiting.look(share)) for share in (0.6, 0.05, 0.5, 0.25, 0.9, 0.0, 0.5, 0.5)]
    assert [len(each) for each in told] == [0, 0, 0, 1, 0, 0, 0, 0]
    needed = round(rgb.decoded_mb + thermal.decoded_mb)
    [sentence] = told[3]
    assert sentence == (
        "The steps wait for images for 25 % of their time. "
        f"--set cache_mb={needed} (now 10) holds them all in memory, decoded; "
        "--set workers=4 (now 2) decodes more at once."
    )


def test_nothing_is_told_where_all_are_in_memory(faces: Path, quiet: Progress) -> None:
    rgb = FaceImages([read_index(faces)], domain="rgb", size=16)
    rgb.preload(limit_mb=10, progress=quiet)
    waiting = WaitingForImages((rgb,), cache_mb=10, workers=2)
    assert not [told for share in (0.5, 0.5, 0.5) for told in waiting.look(share)]


@pytest.mark.parametrize("kind", ["translator", "detector"])
def test_a_training_logs_and_tells_that_it_waits_for_slow_images(
    kind: str, tiny_translator: Callable[..., TranslatorConfig],
    tiny_detector: Callable[..., DetectorConfig], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    real = FaceImages.batch

    def slow(self: FaceImages, numbers: object) -> object:
        time.sleep(0.3)
        return real(self, numbers)  # type: ignore[arg-type]

    said: list[str] = []
    progress = Progress(shown=False)
    monkeypatch.setattr(progress, "say", said.append)
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(FaceImages, "batch", slow)
        if kind == "translator":
            config = tiny_translator(cache_mb=0)
            train_translator.run_training(config, run, progress=progress)
        else:
            train_detector.run_training(tiny_detector(cache_mb=0), run, progress=progress)
    shares = [line["waiting"] for line in read_log(run) if "waiting" in line]
    assert len(shares) == 4
    assert all(MUCH < share < 1 for share in shares)
    assert sum("wait for images" in text for text in said) == 1
    assert any(text.startswith(f"{run}: The steps wait for images") for text in said)
