from __future__ import annotations

import struct
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cycada.errors import DataError, UsageError
from cycada.footage import ReadOptions, open_footage

MILLISECOND = Fraction(1, 1000)


def counts(number: int) -> NDArray[np.uint16]:
    """Return a frame in centikelvin, 48 x 64, that no other frame is like."""
    rng = np.random.default_rng(number)
    return rng.integers(29500, 30800, (48, 64)).astype(np.uint16)


def grey(number: int) -> NDArray[np.uint8]:
    return (np.add.outer(np.arange(48), np.arange(64)) + 40 + number).astype(np.uint8)


def write(
    file: Path, frames: list[Any], *, codec: str, layout: str, given: str,
    stamps: list[int] | None = None,
) -> Path:  # fmt: skip
    """Write frames at 10 a second, or at ``stamps`` in milliseconds."""
    with av.open(str(file), "w") as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = layout
        if stamps:
            stream.codec_context.time_base = MILLISECOND
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format=given)
            if stamps:
                frame.pts, frame.time_base = stamps[number], MILLISECOND
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file


def deep(file: Path, frames: list[Any], **options: Any) -> Path:
    return write(file, frames, codec="ffv1", layout="gray16le", given="gray16le", **options)


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_16_bit_grey_is_exact(tmp_path: Path, suffix: str) -> None:
    file = deep(tmp_path / f"a{suffix}", [counts(i) for i in range(30)])
    footage = open_footage(file)
    assert (footage.unit, footage.size, footage.frame_rate) == ("centikelvin", (48, 64), 10)
    for _ in range(2):
        frames = list(footage.frames())
        assert [frame.seconds for frame in frames] == pytest.approx([i / 10 for i in range(30)])
        assert all(
            torch.equal(frame.image[0], torch.from_numpy(counts(i)))
            for i, frame in enumerate(frames)
        )
        assert frames[29].name == "000029"


def test_irregular_times_are_kept(tmp_path: Path) -> None:
    stamps = [500, 600, 700, 1500, 1510, 4000]
    file = deep(tmp_path / "a.mkv", [counts(i) for i in range(6)], stamps=stamps)
    frames = list(open_footage(file).frames())
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.1, 0.2, 1, 1.01, 3.5])


def test_8_bit_grey_is_exact_where_nothing_was_lost(tmp_path: Path) -> None:
    frames = [grey(i) for i in range(5)]
    file = write(tmp_path / "a.mkv", frames, codec="ffv1", layout="gray", given="gray")
    footage = open_footage(file)
    assert footage.unit == "grey"
    assert [f.image[0].tolist() for f in footage.frames()] == [g.tolist() for g in frames]


def test_a_grey_mp4_spans_all_greys_again(tmp_path: Path) -> None:
    frames = [np.clip(grey(i).astype(int) * 2 - 80, 0, 255).astype(np.uint8) for i in range(12)]
    file = write(tmp_path / "a.mp4", frames, codec="libx264", layout="yuv420p", given="gray")
    footage = open_footage(file)
    assert (footage.unit, footage.count) == ("grey", 12)
    assert "grey, stored in three channels" in footage.notes
    images = [frame.image for frame in footage.frames()]
    assert {image.shape for image in images} == {(1, 48, 64)}
    for image, expected in zip(images, frames, strict=True):
        assert (image[0].int() - torch.from_numpy(expected).int()).abs().float().mean() < 3


def test_colours_of_an_rgb_video_are_those_that_were_filmed(tmp_path: Path) -> None:
    still = np.zeros((48, 64, 3), np.uint8)
    still[:24, :32], still[:24, 32:], still[24:, :32] = (200, 30, 40), (20, 180, 60), (90, 90, 220)
    file = write(tmp_path / "a.mp4", [still] * 5, codec="libx264", layout="yuv444p", given="rgb24")
    (first, *_) = open_footage(file, ReadOptions(domain="rgb")).frames()
    assert first.image.shape == (3, 48, 64)
    for y, x in ((10, 10), (10, 50), (40, 10), (40, 50)):
        assert first.image[:, y, x].tolist() == pytest.approx(still[y, x].tolist(), abs=6)
    with pytest.raises(DataError, match=r"a\.mp4: is in colour"):
        open_footage(file)


def test_colours_that_begin_later_are_refused_with_their_frame(tmp_path: Path) -> None:
    frames = [np.repeat(grey(i)[..., None], 3, axis=-1) for i in range(20)]
    frames[18] = frames[18] // np.array([1, 2, 4], np.uint8)
    file = write(tmp_path / "a.mkv", frames, codec="ffv1", layout="bgr0", given="rgb24")
    with pytest.raises(DataError, match=r"a\.mkv, frame 18: is in colour"):
        list(open_footage(file).frames())


def set_matrix(file: Path, matrix: tuple[int, ...]) -> None:
    """Change how an MP4 is to be shown.

    The matrix of the track header (ISO 14496-12): (x, y) becomes (a x + c y, b x + d y).
    """
    data = file.read_bytes()
    identity = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    at = data.index(identity, data.index(b"tkhd"))
    file.write_bytes(data[:at] + struct.pack(">9i", *matrix) + data[at + 36 :])


def test_the_rotation_in_the_metadata_is_applied(tmp_path: Path) -> None:
    half = np.zeros((48, 64), np.uint8)
    half[:, :32] = 250  # left in the file
    file = write(tmp_path / "a.mp4", [half] * 3, codec="libx264", layout="yuv420p", given="gray")
    set_matrix(file, (0, 0x10000, 0, -0x10000, 0, 0, 48 << 16, 0, 0x40000000))
    footage = open_footage(file)
    image = next(footage.frames()).image[0]
    assert footage.size == tuple(image.shape) == (64, 48)
    assert image[:28].min() > 200  # right becomes down, so left becomes up
    assert image[36:].max() < 50
    assert "turned by 90 degrees" in footage.notes[0]


def test_a_video_that_its_metadata_mirror_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4", [grey(0)] * 3, codec="libx264", layout="yuv420p", given="gray")
    set_matrix(file, (-0x10000, 0, 0, 0, 0x10000, 0, 64 << 16, 0, 0x40000000))
    with pytest.raises(DataError, match=r"a\.mp4: its metadata mirror it"):
        open_footage(file)


def test_of_two_videos_in_a_file_none_is_taken_without_a_word(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        streams: list[Any] = [container.add_stream("ffv1", rate=10) for _ in range(2)]
        for stream, layout in zip(streams, ("gray", "gray16le"), strict=True):
            stream.height, stream.width, stream.pix_fmt = 48, 64, layout
        pictures: list[Any] = [grey(0), counts(0)]
        for stream, pixels in zip(streams, pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format=stream.pix_fmt)
            container.mux([*stream.encode(frame), *stream.encode()])
    with pytest.raises(DataError, match=r"holds 2 videos; .* ffmpeg -i a\.mkv -map 0:v:0"):
        open_footage(tmp_path / "a.mkv")


def test_the_temperatures_below_the_picture_of_a_uvc_camera_are_taken(tmp_path: Path) -> None:
    kelvin64 = np.round((counts(0) / 100) * 64).astype("<u2")  # 48 x 64
    picture = np.full((48, 64, 2), 128, np.uint8)
    both = np.concatenate([picture, kelvin64.view(np.uint8).reshape(48, 64, 2)])
    file = write(
        tmp_path / "a.nut", [both] * 3, codec="rawvideo", layout="yuyv422", given="yuyv422"
    )
    footage = open_footage(file)
    assert (footage.unit, footage.size) == ("kelvin64", (48, 64))
    assert next(footage.frames()).image[0].tolist() == kelvin64.tolist()
    assert "the lower half" in footage.notes[0]


def cut(file: Path) -> None:
    deep(file, [counts(i) for i in range(60)])
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])


def test_an_avi_of_still_pictures_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.avi", [grey(i) for i in range(60)], codec="mjpeg", layout="yuvj444p",
        given="gray",
    )  # fmt: skip
    whole = file.read_bytes()
    file.write_bytes(whole[: whole.rindex(b"00dc", 0, len(whole) // 2)])  # between two pictures
    with pytest.raises(
        DataError, match=r"ends after \d+ frames at \d\.\d s, .* 6\.0 s; it was cut"
    ):
        list(open_footage(file).frames())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.mkv", r"ends after \d+ frames at \d\.\d s, though its header says 6\.0 s; it was cut"),
        ("a.avi", r"breaks off after \d+ frames"),
    ],
)
def test_a_video_that_was_cut_off_gives_its_frames_and_then_an_error(
    tmp_path: Path, name: str, message: str
) -> None:
    cut(tmp_path / name)
    seen = []
    with pytest.raises(DataError, match=message):
        seen.extend(open_footage(tmp_path / name).frames())
    assert 20 < len(seen) < 40


def with_sound(file: Path, **options: str) -> None:
    """Write 6 s of pictures, and 8 s of sound beside them."""
    with av.open(str(file), "w", options=options) as container:
        video: Any = container.add_stream("mpeg4", rate=10)
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        audio: Any = container.add_stream("aac", rate=16000, layout="mono")
        for tenth in range(80):
            if tenth < 60:
                frame = av.VideoFrame.from_ndarray(grey(tenth), format="gray")
                container.mux(video.encode(frame))
            noise = np.random.default_rng(tenth).normal(0, 0.1, (1, 1600)).astype(np.float32)
            sound = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
            sound.rate = 16000
            container.mux(audio.encode(sound))
        container.mux([*video.encode(), *audio.encode()])


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_a_video_with_sound_that_was_cut_off_is_told_by_its_pictures(
    tmp_path: Path, name: str
) -> None:
    with_sound(tmp_path / name, **({"movflags": "faststart"} if name == "a.mp4" else {}))
    assert len(list(open_footage(tmp_path / name).frames())) == 60
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"frames at \d\.\d s, though its header says 6\.\d s"):
        list(open_footage(tmp_path / name).frames())


def silence(file: Path) -> None:
    with av.open(str(file), "w") as container:
        stream: Any = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda file: file.write_text("hello"), "cannot be read as a video"),
        (Path.touch, "cannot be read as a video"),
        (silence, "holds no pictures"),
    ],
)
def test_a_file_without_pictures_is_one_sentence(tmp_path: Path, make: Any, message: str) -> None:
    make(tmp_path / "a.mp4")
    with pytest.raises(DataError, match=rf"a\.mp4: {message}") as caught:
        open_footage(tmp_path / "a.mp4")
    assert "\n" not in str(caught.value)


def test_16_bit_grey_is_no_rgb_video(tmp_path: Path) -> None:
    file = deep(tmp_path / "a.mkv", [counts(0)] * 3)
    with pytest.raises(DataError, match="grey with more than 8 bits, which no RGB video is"):
        open_footage(file, ReadOptions(domain="rgb"))


def test_without_pyav_the_command_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.mp4").touch()
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(
        UsageError, match=r"a video needs the package av: pip install 'cycada\[video\]'"
    ):
        open_footage(tmp_path / "a.mp4")
