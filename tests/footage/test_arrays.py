from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cycada.errors import DataError
from cycada.footage import Domain, ReadOptions, open_footage


def stack(count: int = 5) -> NDArray[np.float64]:
    """Return deg C ``(N, 12, 10)``; each frame 0.1 K warmer than the one before."""
    return 25 + np.arange(120).reshape(12, 10) / 60 + np.arange(count)[:, None, None] / 10


def images(path: Path, domain: Domain = "thermal") -> list[NDArray[Any]]:
    footage = open_footage(path, ReadOptions(domain=domain))
    found = [frame.image.numpy() for frame in footage.frames()]
    assert footage.count == len(found)
    assert {image.shape[1:] for image in found} == {footage.size}
    return found


@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f8"])
def test_an_array_of_two_axes_is_an_image_in_float32(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "a.npy", stack()[0].astype(dtype))
    (image,) = images(tmp_path / "a.npy")
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image[0], stack()[0].astype(np.float32))


@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize("columns", [False, True])
def test_an_array_of_three_axes_is_a_stack(tmp_path: Path, count: int, *, columns: bool) -> None:
    values = np.asfortranarray(stack(count)) if columns else stack(count)
    np.save(tmp_path / "a.npy", values)
    found = images(tmp_path / "a.npy")
    np.testing.assert_array_equal(np.stack(found)[:, 0], stack(count).astype(np.float32))


def test_counts_of_a_stack_are_exact(tmp_path: Path) -> None:
    counts = np.round((stack() + 273.15) * 100).astype(np.uint16)
    np.save(tmp_path / "a.npy", counts)
    footage = open_footage(tmp_path / "a.npy")
    assert footage.unit == "centikelvin"
    assert torch.equal(
        torch.stack([frame.image[0] for frame in footage.frames()]), torch.from_numpy(counts)
    )


def test_a_last_axis_of_three_or_a_first_one_in_rgb_is_that_of_the_channels(
    tmp_path: Path,
) -> None:
    colours = np.arange(2 * 6 * 5 * 3, dtype=np.uint8).reshape(2, 6, 5, 3)
    np.save(tmp_path / "stack.npy", colours)
    np.save(tmp_path / "one.npy", colours[0])
    np.save(tmp_path / "first.npy", colours[0].transpose(2, 0, 1))
    one = colours[0].transpose(2, 0, 1)
    np.testing.assert_array_equal(images(tmp_path / "stack.npy", "rgb")[0], one)
    assert len(images(tmp_path / "stack.npy", "rgb")) == 2
    np.testing.assert_array_equal(images(tmp_path / "one.npy", "rgb"), [one])
    np.testing.assert_array_equal(images(tmp_path / "first.npy", "rgb"), [one])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("name", ["frames", "temperatures", "arr_0"])
def test_an_archive_holds_frames_and_their_times(tmp_path: Path, save: Any, name: str) -> None:
    times = np.array([100.0, 100.1, 100.35, 101, 103])
    save(tmp_path / "a.npz", **{name: stack(), "times": times})
    frames = list(open_footage(tmp_path / "a.npz").frames())
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.1, 0.35, 1, 3])
    np.testing.assert_array_equal(
        np.stack([frame.image[0].numpy() for frame in frames]), stack().astype(np.float32)
    )


def test_an_archive_may_tell_its_frame_rate(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", frames=np.asfortranarray(stack()), fps=8.0)
    footage = open_footage(tmp_path / "a.npz")
    assert [frame.seconds for frame in footage.frames()] == [0, 0.125, 0.25, 0.375, 0.5]
    assert footage.frame_rate == 8.0
    for frame, expected in zip(footage.frames(), stack(), strict=True):
        np.testing.assert_array_equal(frame.image[0].numpy(), expected.astype(np.float32))
    np.savez(tmp_path / "b.npz", frames=stack())
    assert [frame.seconds for frame in open_footage(tmp_path / "b.npz").frames()] == [None] * 5


def cut(file: Path) -> None:
    np.savez(file, frames=stack())
    file.write_bytes(file.read_bytes()[:-200])


def without_a_local_header(file: Path) -> None:
    np.savez(file, frames=stack())
    file.write_bytes(b"QQ" + file.read_bytes()[2:])


def broken_within(file: Path) -> None:
    np.savez_compressed(file, frames=stack())
    content = file.read_bytes()
    file.write_bytes(content[:90] + b"\xff" * 40 + content[130:])


def with_an_open_bracket(file: Path) -> None:
    np.savez(file, frames=stack())
    file.write_bytes(file.read_bytes().replace(b", }", b", {"))


BAD = [
    ("head.npz", without_a_local_header, "cannot be read as NPZ"),
    ("within.npz", broken_within, "cannot be read as NPZ"),
    ("bracket.npz", with_an_open_bracket, "cannot be read as NPZ"),
    ("text.npy", lambda f: f.write_text("hello"), "cannot be read as NPY"),
    ("text.npz", lambda f: f.write_text("hello"), "cannot be read as NPZ"),
    ("cut.npz", cut, "cannot be read as NPZ"),
    ("line.npy", lambda f: np.save(f, np.zeros(5)), r"the shape here is \(5,\)"),
    ("none.npy", lambda f: np.save(f, np.zeros((0, 5, 5))), "the shape here"),
    ("deep.npy", lambda f: np.save(f, np.zeros((2, 2, 5, 5, 1, 3))), "the shape here"),
    ("nan.npy", lambda f: np.save(f, stack() * np.nan), "frame 0 holds pixels that are not finite"),
    ("two.npz", lambda f: np.savez(f, a=stack(), b=stack()), r"which of its arrays \(a, b\)"),
    ("none.npz", lambda f: np.savez(f, fps=3), r"which of its arrays \(none\)"),
    ("times.npz", lambda f: np.savez(f, a=stack(), times=[1, 2]), "times has the shape"),
    (
        "back.npz",
        lambda f: np.savez(f, a=stack(), times=[0, 2, 1, 3, 4]),
        "the seconds in times are not finite or not in order",
    ),
    ("rate.npz", lambda f: np.savez(f, a=stack(), fps=0), "fps is one number of frames"),
]


@pytest.mark.parametrize(("name", "make", "message"), BAD, ids=[case[0] for case in BAD])
def test_an_unusable_array_is_named_in_one_sentence(
    tmp_path: Path, name: str, make: Any, message: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(DataError, match=message) as caught:
        list(open_footage(tmp_path / name).frames())
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_a_stack_is_never_in_memory_as_a_whole(tmp_path: Path, name: str) -> None:
    frames = np.random.default_rng(0).uniform(20, 40, (300, 60, 80)).astype(np.float32)
    {"a.npy": np.save, "a.npz": np.savez_compressed}[name](tmp_path / name, frames)
    whole = frames.nbytes
    del frames
    footage = open_footage(tmp_path / name)
    tracemalloc.start()
    try:
        assert sum(1 for _ in footage.frames()) == 300
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < whole / 10
