from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cycada import image_writing, images, thermal
from cycada.cli import main
from cycada.data.index import Face, Index, IndexInfo, write_index
from cycada.errors import CycadaError, DataError, UsageError
from cycada.progress import Progress
from cycada.report.video import write_video
from cycada.stages.sheet_video import MadeVideo, VideoOptions, make_video
from cycada.thermal import Window

SIDE = 48
JITTER = (0.0, 0.2, -0.1, 0.3, 0.0)  # K


def texture(channels: int) -> Tensor:
    draw = torch.Generator().manual_seed(channels)
    coarse = torch.rand(1, channels, 8, 8, generator=draw) * 2 - 1
    return F.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic").clamp(-1, 1)[0]


def still(root: Path, frames: int = len(JITTER), *, sequence: str = "night") -> Path:
    """Write an index of RGB frames that are all alike."""
    rows = []
    for frame in reversed(range(frames)):
        path = f"f{frame}.png"
        image_writing.write_image(root / path, images.from_signed(texture(3), dtype=torch.uint8))
        rows.append(Face(
            path=path, domain="rgb", subject="anna", split="test", frame=frame, sequence=sequence
        ))  # fmt: skip
    write_index(Index(root, IndexInfo(kind="none"), tuple(rows)))
    return root


def jittering(root: Path, source: Path, jitter: Sequence[float] = JITTER) -> Path:
    """Write an index of their translations, of which each is warmer by its jitter."""
    rows = []
    for frame, shift in enumerate(jitter):
        celsius = 30 + texture(1) + shift
        path = f"{100 - frame}.png"
        image_writing.write_image(root / path, thermal.counts_from_celsius(celsius, "centikelvin"))
        origin = f"../{source.name}/f{frame}.png"
        rows.append(Face(
            path=path, domain="thermal", subject="anna", split="test", frame=frame,
            sequence="night", origin=origin,
        ))  # fmt: skip
    info = IndexInfo(kind="none", unit="centikelvin", window=Window(28, 37), translator="t")
    write_index(Index(root, info, tuple(rows)))
    return root


def made(out: Path, *sources: Path, **options: Any) -> MadeVideo:
    return make_video(
        VideoOptions(**{"sources": sources, "out": out, "rate": 8.0, **options}),
        progress=Progress(shown=False),
    )


def decoded(file: Path) -> tuple[list[Any], float]:
    import av

    with av.open(str(file)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return frames, float(container.streams.video[0].average_rate)


def test_the_flicker_is_that_of_the_jitter_in_kelvin_and_none_of_a_still_source(
    tmp_path: Path,
) -> None:
    source = still(tmp_path / "source")
    out = tmp_path / "out" / "a.mp4"
    result = made(out, source, jittering(tmp_path / "made", source))
    steps = [b - a for a, b in itertools.pairwise(JITTER)]
    by_hand = math.sqrt(sum(step**2 for step in steps) / len(steps))
    assert [each.label for each in result.flickers] == ["RGB", "As thermal"]
    assert result.flickers[0].score == 0.0
    assert result.flickers[1].score == pytest.approx(by_hand, rel=0.01)  # centikelvin are rounded
    assert (result.flickers[0].unit, result.flickers[1].unit) == ("grey levels", "K")
    frames, rate = decoded(out)
    assert (len(frames), rate) == (len(JITTER), 8.0)
    assert [file.name for file in out.parent.iterdir()] == ["a.mp4"]


def test_frames_are_shown_in_the_order_of_time_beside_those_made_of_them(tmp_path: Path) -> None:
    source = tmp_path / "source"
    rows = []
    for frame in (2, 0, 1):  # brighter and brighter
        pixels = torch.full((3, SIDE, SIDE), 40 + 80 * frame, dtype=torch.uint8)
        image_writing.write_image(source / f"x{9 - frame}.png", pixels)
        rows.append(Face(
            path=f"x{9 - frame}.png", domain="rgb", subject="a", split="test", frame=frame
        ))  # fmt: skip
    write_index(Index(source, IndexInfo(kind="none"), tuple(rows)))
    frames, _ = decoded_of(tmp_path, source)
    middle = [int(frame[34 + 180, 12 + 180, 0]) for frame in frames]
    assert middle == pytest.approx([40, 120, 200], abs=6)


def decoded_of(tmp_path: Path, *sources: Path) -> tuple[list[Any], float]:
    out = tmp_path / "out" / "b.mp4"
    made(out, *sources)
    return decoded(out)


def test_a_gif_keeps_the_time_on_the_whole_and_the_colours_of_the_scale(tmp_path: Path) -> None:
    source = still(tmp_path / "source", 7)
    out = tmp_path / "out" / "a.gif"
    jitter = [n / 10 for n in range(7)]
    made(out, source, jittering(tmp_path / "made", source, jitter), rate=30.0)
    with Image.open(out) as opened:
        lasts = []
        for number in range(opened.n_frames):
            opened.seek(number)
            lasts.append(opened.info["duration"])
        corner = opened.convert("RGB").getpixel((0, 0))
    assert sum(lasts) == round(100 * 7 / 30) * 10
    assert set(lasts) <= {30, 40}
    assert corner == (255, 255, 255)
    with pytest.raises(UsageError, match="50 frames per second at most, not 60"):
        made(tmp_path / "fast" / "a.gif", source, rate=60.0)
    assert not (tmp_path / "fast").exists()


def test_a_video_is_the_same_bytes_every_time(tmp_path: Path) -> None:
    source = still(tmp_path / "source", 3)
    for suffix in (".mp4", ".gif"):
        files = [tmp_path / "out" / f"{name}{suffix}" for name in "ab"]
        for file in files:
            made(file, source)
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_translator_translates_the_source(translator_run: Path, tmp_path: Path) -> None:
    source = still(tmp_path / "source", 3)
    result = made(tmp_path / "out" / "a.mp4", source, translator_run)
    assert [each.label for each in result.flickers] == ["RGB", "As thermal"]
    assert [each.score for each in result.flickers] == [0.0, 0.0]  # a still source stays still


def test_a_recording_brings_its_rate_and_is_never_written_over(
    translator_run: Path, tmp_path: Path
) -> None:
    film = tmp_path / "film.mp4"
    pixels = images.from_signed(texture(3), dtype=torch.uint8).permute(1, 2, 0).numpy()
    write_video(film, [pixels] * 4, rate=12.5)
    before = film.read_bytes()
    result = made(tmp_path / "a.mp4", film, translator_run, rate=None)
    assert (result.frames, result.rate) == (4, pytest.approx(12.5))
    assert decoded(tmp_path / "a.mp4")[1] == pytest.approx(12.5)
    with pytest.raises(DataError, match="is one of the sequences"):
        made(film, film, translator_run)
    assert film.read_bytes() == before


def test_a_folder_of_frames_is_matched_with_its_translation(tmp_path: Path) -> None:
    source = still(tmp_path / "source")
    translated = jittering(tmp_path / "made", source)
    (source / "index.csv").unlink()
    result = made(tmp_path / "out" / "a.mp4", source, translated)
    assert [each.label for each in result.flickers] == ["RGB", "As thermal"]
    assert result.flickers[1].score > 0.1
    with pytest.raises(DataError, match="holds originals"):
        made(source / "a.mp4", source, translated)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_what_goes_wrong_is_one_sentence_and_leaves_nothing(suffix: str, tmp_path: Path) -> None:
    source = still(tmp_path / "source")
    translated = jittering(tmp_path / "made", source)
    short = jittering(tmp_path / "short", source, JITTER[:3])
    out = tmp_path / "out" / f"a{suffix}"
    with pytest.raises(DataError, match=r"has no frame that is f3\.png of the first sequence"):
        made(out, source, short)
    with pytest.raises(UsageError, match="does not tell its frame rate; give --rate"):
        made(out, source, translated, rate=None)
    with pytest.raises(DataError, match="has no sequence called 'day' with rgb frames"):
        made(out, source, sequence="day")
    with pytest.raises(UsageError, match="--label was given 1 times, but there are 2 sequences"):
        made(out, source, translated, labels=("a",))
    (translated / "98.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"98\.png"):
        made(out, source, translated)
    assert not out.parent.exists() or not list(out.parent.iterdir())


def test_recordings_of_different_lengths_are_refused(tmp_path: Path) -> None:
    pixels = images.from_signed(texture(3), dtype=torch.uint8).permute(1, 2, 0).numpy()
    for name, frames in (("long", 4), ("short", 3)):
        write_video(tmp_path / f"{name}.mp4", [pixels] * frames, rate=10)
    with pytest.raises(DataError, match="the sequence 'short' ends after 3 frames"):
        made(tmp_path / "out" / "a.mp4", tmp_path / "long.mp4", tmp_path / "short.mp4",
             labels=("long", "short"))  # fmt: skip
    assert not list((tmp_path / "out").iterdir())


def test_a_thermal_recording_needs_a_window_and_has_one(tmp_path: Path) -> None:
    for number in range(3):
        counts = thermal.counts_from_celsius(30 + texture(1), "centikelvin")
        image_writing.write_image(tmp_path / "night" / f"frame_{number:03d}.png", counts)
    with pytest.raises(UsageError, match="say with --window LOW HIGH"):
        made(tmp_path / "out" / "a.mp4", tmp_path / "night")
    result = made(tmp_path / "out" / "a.mp4", tmp_path / "night", window=Window(28, 32))
    assert result.flickers[0].unit == "K"


def test_the_verb_tells_the_flicker_of_each(tmp_path: Path) -> None:
    source = still(tmp_path / "source", 3)
    translated = jittering(tmp_path / "made", source, (0.0, 0.5, 0.0))
    out = tmp_path / "out" / "a.gif"
    words = ["sheet", str(source), str(translated), "--rate", "10", "--sequence", "anna"]
    result = CliRunner().invoke(main, [*words, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "RGB: flicker 0 grey levels",
        "As thermal: flicker 0.5 K",
        f"written to {out}: 3 frames, 10 per second",
    ]


def test_without_opencv_the_command_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(CycadaError, match=r"pip install 'cycada\[sheet\]'"):
        made(tmp_path / "a.mp4", still(tmp_path / "source", 2))
