from __future__ import annotations

import gzip
import re
import struct
import sys
from pathlib import Path
from typing import Any

import digit_files
import numpy as np
import pytest
import scipy.io
from PIL import Image

from cycada.data.index import CSV_NAME, read_index
from cycada.data.index_checks import check_disjoint, check_files
from cycada.errors import DataError, UsageError
from cycada.progress import Progress

read_digits = digit_files.read_digits
Digits = digit_files.Digits

SIZES = {"train": 9, "test": 4}
IDX = {"train": "train", "test": "t10k"}


def made(*shape: int, seed: int = 0) -> dict[str, Any]:
    """Return random digits, ``shape`` px each."""
    draw = np.random.default_rng(seed)
    return {
        part: Digits(
            draw.integers(0, 256, (size, *shape), dtype=np.uint8),
            draw.permutation(10)[:size].astype(np.int64),
        )
        for part, size in SIZES.items()
    }


def idx(array: Any, magic: int) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.astype("u1").tobytes()


def write_mnist(folder: Path, digits: Any, *, packed: bool = False, dot: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part, (images, labels) in digits.items():
        for kind, content in (
            ("images-idx3", idx(images, 0x803)),
            ("labels-idx1", idx(labels, 0x801)),
        ):
            name = f"{IDX[part]}-{kind}-ubyte"
            name = name.replace("-idx", ".idx") if dot else name
            file = folder / (f"{name}.gz" if packed else name)
            file.write_bytes(gzip.compress(content) if packed else content)


def write_usps(folder: Path, digits: Any, *, packed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part, (images, labels) in digits.items():
        text = "".join(
            f"{label:.4f} {' '.join(f'{pixel / 127.5 - 1:.4f}' for pixel in image.flat)}\n"
            for image, label in zip(images, labels, strict=True)
        ).encode()
        file = folder / (f"zip.{part}.gz" if packed else f"zip.{part}")
        file.write_bytes(gzip.compress(text) if packed else text)


def write_npz(file: Path, digits: Any, **changes: Any) -> None:
    arrays = {}
    for part, (images, labels) in digits.items():
        arrays |= {f"x_{part}": images, f"y_{part}": labels.astype(np.uint8)}
    np.savez(file, **(arrays | changes))


def write_svhn(folder: Path, digits: Any) -> None:
    for part, (images, labels) in digits.items():
        ten = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
        content = {"X": images.transpose(1, 2, 3, 0), "y": ten}
        scipy.io.savemat(folder / f"{part}_32x32.mat", content)


def same(found: Any, wanted: Any) -> bool:
    assert found.keys() == wanted.keys()
    for part, (images, labels) in found.items():
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(images, wanted[part].images)
        np.testing.assert_array_equal(labels, wanted[part].labels)
    return True


@pytest.fixture
def grey() -> Any:
    return made(6, 5)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dot", [False, True])
@pytest.mark.parametrize("place", [".", "mnist", "mnist/raw", "MNIST/raw"])
def test_idx_files_are_read(
    tmp_path: Path, grey: Any, *, packed: bool, dot: bool, place: str
) -> None:
    write_mnist(tmp_path / place, grey, packed=packed, dot=dot)
    assert same(read_digits("mnist", tmp_path), grey)


@pytest.mark.parametrize("corpus", ["mnist", "usps"])
def test_npz_files_are_read(tmp_path: Path, grey: Any, corpus: str) -> None:
    write_npz(tmp_path / f"{corpus}.npz", grey)
    assert same(read_digits(corpus, tmp_path), grey)


@pytest.mark.parametrize("packed", [False, True])
def test_rows_of_usps_are_read(tmp_path: Path, *, packed: bool) -> None:
    digits = made(16, 16)
    write_usps(tmp_path / "usps", digits, packed=packed)
    assert same(read_digits("usps", tmp_path), digits)


def test_minus_one_of_usps_is_black_and_the_values_run_along_rows(tmp_path: Path) -> None:
    row = "3 " + " ".join(["1"] * 2 + ["0.5"] * 14 + ["-1"] * 240)
    for part in SIZES:
        (tmp_path / f"zip.{part}").write_text(row + "\n")
    image = read_digits("usps", tmp_path)["test"].images[0]
    assert image[0].tolist() == [255] * 2 + [191] * 14
    assert not image[1:].any()


def test_matlab_files_are_read_with_ten_as_zero(tmp_path: Path) -> None:
    digits = made(32, 32, 3, seed=1)
    assert 0 in digits["train"].labels
    write_svhn(tmp_path, digits)
    assert same(read_digits("svhn", tmp_path), digits)


def test_an_incomplete_kind_gives_way_to_a_whole_one(tmp_path: Path, grey: Any) -> None:
    write_mnist(tmp_path, made(6, 5, seed=7))
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    write_npz(tmp_path / "mnist.npz", grey)
    assert same(read_digits("mnist", tmp_path), grey)


def test_idx_files_of_mnist_are_never_taken_for_usps(tmp_path: Path, grey: Any) -> None:
    write_mnist(tmp_path, grey)
    with pytest.raises(DataError, match="usps is not there"):
        read_digits("usps", tmp_path)


def test_missing_files_are_named_with_the_places(tmp_path: Path, grey: Any) -> None:
    with pytest.raises(DataError) as caught:
        read_digits("mnist", tmp_path)
    for named in ("t10k-labels-idx1-ubyte", ".gz", "mnist.npz", str(tmp_path / "MNIST" / "raw")):
        assert named in str(caught.value)
    write_mnist(tmp_path, grey)
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(DataError, match=r"; beside .* there is no t10k-images-idx3-ubyte\.$"):
        read_digits("mnist", tmp_path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kept", [2, 12, -1])
def test_a_truncated_idx_file_is_named(
    tmp_path: Path, grey: Any, *, packed: bool, kept: int
) -> None:
    write_mnist(tmp_path, grey, packed=packed)
    file = tmp_path / ("t10k-images-idx3-ubyte.gz" if packed else "t10k-images-idx3-ubyte")
    file.write_bytes(file.read_bytes()[:kept])
    refused("mnist", tmp_path, file, "expected|cannot be read as an idx file")


def refused(corpus: str, folder: Path, file: Path, reason: str) -> None:
    """Expect one sentence that begins with the file."""
    with pytest.raises(DataError, match=reason) as caught:
        read_digits(corpus, folder)
    assert str(caught.value).startswith(f"{file}: ")
    assert re.fullmatch(r"[^\n]*\.", str(caught.value))


def test_idx_files_that_are_longer_than_they_say_are_refused(tmp_path: Path, grey: Any) -> None:
    write_mnist(tmp_path, grey)
    file = tmp_path / "train-labels-idx1-ubyte"
    file.write_bytes(file.read_bytes() + b"\0")
    refused("mnist", tmp_path, file, r"expected 17 bytes for the shape \(9,\), found 18")


def test_a_wrong_magic_number_is_refused(tmp_path: Path, grey: Any) -> None:
    write_mnist(tmp_path, grey)
    images, labels = (tmp_path / f"train-{k}-ubyte" for k in ("images-idx3", "labels-idx1"))
    images.write_bytes(labels.read_bytes())
    refused("mnist", tmp_path, images, "expected the magic number 2051, found 2049")


def test_numbers_of_images_and_labels_must_agree(tmp_path: Path, grey: Any) -> None:
    grey["test"] = grey["test"]._replace(labels=np.arange(3))
    write_mnist(tmp_path, grey)
    file = tmp_path / "t10k-images-idx3-ubyte"
    refused("mnist", tmp_path, file, r"holds 4 images, but .*t10k-labels-idx1-ubyte 3 labels")


def test_labels_beyond_the_digits_are_refused(tmp_path: Path, grey: Any) -> None:
    grey["train"].labels[5] = 10
    write_mnist(tmp_path, grey)
    file = tmp_path / "train-labels-idx1-ubyte"
    refused("mnist", tmp_path, file, "from 0 to 9, found 10 for image 5")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no images"),
        ("3 0 0\n", "expected 257 numbers in each row, found 3"),
        (f"3{' 0' * 256}\n4{' 0' * 100}\n", "cannot be read as rows of a label and 256 grey"),
        (f"3{' x' * 256}\n", "cannot be read as rows"),
        (f"3{' 1.5' * 256}\n", "grey values from -1 to 1"),
        (f"3{' nan' * 256}\n", "grey values from -1 to 1"),
        (f"3{' 0' * 256}\n2.5{' 0' * 256}\n", "from 0 to 9, found 2.5 for image 1"),
    ],
)
def test_wrong_rows_of_usps_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    write_usps(tmp_path, made(16, 16))
    (tmp_path / "zip.test").write_text(text)
    refused("usps", tmp_path, tmp_path / "zip.test", reason)


def test_a_truncated_file_of_usps_is_named(tmp_path: Path) -> None:
    write_usps(tmp_path, made(16, 16), packed=True)
    file = tmp_path / "zip.test.gz"
    file.write_bytes(file.read_bytes()[:-20])
    refused("usps", tmp_path, file, "cannot be read as rows")


def test_wrong_npz_files_are_refused(tmp_path: Path, grey: Any) -> None:
    file = tmp_path / "mnist.npz"
    write_npz(file, grey, x_test=np.zeros((4, 6, 5)))
    refused("mnist", tmp_path, file, r"found \(4, 6, 5\) of float64")
    write_npz(file, grey, x_test=np.zeros((4, 6, 5, 1), np.uint8))
    refused("mnist", tmp_path, file, r"found \(4, 6, 5, 1\) of uint8")
    write_npz(file, grey, y_test=np.zeros((4, 10), np.uint8))
    refused("mnist", tmp_path, file, r"expected labels \(N,\)")
    np.savez(file, x_train=grey["train"].images)
    refused("mnist", tmp_path, file, "cannot be read as an NPZ file with x_train, y_train")
    write_npz(file, grey)
    file.write_bytes(file.read_bytes()[:-40])
    refused("mnist", tmp_path, file, "cannot be read as an NPZ file")


def test_wrong_matlab_files_are_refused(tmp_path: Path) -> None:
    digits = made(32, 32, 3)
    file = tmp_path / "test_32x32.mat"
    write_svhn(tmp_path, digits)
    scipy.io.savemat(file, {"X": digits["test"].images.transpose(1, 2, 3, 0)})
    refused("svhn", tmp_path, file, "cannot be read as a MATLAB file with X and y")
    write_svhn(tmp_path, digits)
    file.write_bytes(file.read_bytes()[:3000])
    refused("svhn", tmp_path, file, "cannot be read as a MATLAB file with X and y")
    digits["test"].labels[2] = 11
    write_svhn(tmp_path, digits)
    refused("svhn", tmp_path, file, "from 0 to 9, found 11 for image 2")


def test_svhn_without_scipy_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_svhn(tmp_path, made(32, 32, 3))
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(UsageError, match=r"pip install scipy\.$"):
        read_digits("svhn", tmp_path)


def write(out: Path, source: Any, target: Any, **changes: Any) -> Any:
    settings = {"validation": 3, "seed": 0, "progress": Progress(shown=False)} | changes
    return digit_files.write_index_of_digits(source, target, out, **settings)


def test_the_index_holds_every_digit_with_its_label_and_split(tmp_path: Path) -> None:
    mnist, usps = made(6, 5), made(4, 4, seed=1)
    index = write(tmp_path, ("mnist", mnist), ("usps", usps))
    assert index == read_index(tmp_path)
    assert (index.info.kind, index.info.unit) == ("class", "grey")
    assert index.info.source == "mnist -> usps"
    check_files(index)
    check_disjoint([index])
    assert len(index.subjects()) == len(index.faces) == 2 * sum(SIZES.values())
    for domain, corpus, digits in (("rgb", "mnist", mnist), ("thermal", "usps", usps)):
        counts = [len(index.select(domain=domain, split=s).faces) for s in ("train", "val", "test")]
        assert counts == [6, 3, 4]
        seen = set()
        for face in index.select(domain=domain).faces:
            part = "test" if face.split == "test" else "train"
            number = int(Path(face.path).stem)
            seen.add((part, number))
            assert face.path == f"{domain}/{part}/{number:05d}.png"
            assert face.subject == f"{corpus}-{part}-{number:05d}"
            assert face.label == str(digits[part].labels[number])
            with Image.open(index.file(face)) as picture:
                assert (picture.format, picture.mode) == ("PNG", "L")
                np.testing.assert_array_equal(np.asarray(picture), digits[part].images[number])
        assert len(seen) == sum(SIZES.values())


def validated(index: Any) -> list[str]:
    return [face.subject for face in index.faces if face.split == "val"]


def test_the_draw_for_validation_depends_on_the_seed_and_on_nothing_else(tmp_path: Path) -> None:
    mnist, usps = ("mnist", made(6, 5)), ("usps", made(4, 4, seed=1))
    there = validated(write(tmp_path / "there", mnist, usps))
    back = validated(write(tmp_path / "back", usps, mnist))
    assert sorted(there) == sorted(back)
    others = [validated(write(tmp_path / f"{s}", mnist, usps, seed=s)) for s in range(1, 4)]
    assert any(other != there for other in others)
    assert validated(write(tmp_path / "none", mnist, usps, validation=0)) == []


def test_a_source_stays_in_colour_and_a_target_becomes_its_luminance(tmp_path: Path) -> None:
    svhn, grey = made(8, 8, 3), made(6, 5)
    source = write(tmp_path / "a", ("svhn", svhn), ("mnist", grey)).select(domain="rgb")
    target = write(tmp_path / "b", ("mnist", grey), ("svhn", svhn)).select(domain="thermal")
    colours = np.concatenate([svhn[part].images for part in SIZES])
    luminance = colours @ np.array([0.299, 0.587, 0.114])
    for number, (coloured, flat) in enumerate(zip(source.faces, target.faces, strict=True)):
        with Image.open(source.file(coloured)) as picture:
            np.testing.assert_array_equal(np.asarray(picture), colours[number])
        with Image.open(target.file(flat)) as picture:
            assert picture.mode == "L"
            np.testing.assert_allclose(np.asarray(picture), luminance[number], atol=0.51)


def test_a_second_call_keeps_what_is_there(tmp_path: Path) -> None:
    pair = ("mnist", made(6, 5)), ("usps", made(4, 4))
    first = write(tmp_path, *pair)
    times = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    assert write(tmp_path, *pair) == first
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == times


def test_another_index_in_the_folder_is_refused(tmp_path: Path) -> None:
    mnist, usps = ("mnist", made(6, 5)), ("usps", made(4, 4))
    index = write(tmp_path, mnist, usps)
    with pytest.raises(DataError, match="an index of mnist -> usps, not of usps -> mnist; choose"):
        write(tmp_path, usps, mnist)
    for changes in ({"seed": 1}, {"validation": 2}):
        with pytest.raises(DataError, match="mnist -> usps with other labels, sizes or draws"):
            write(tmp_path, mnist, usps, **changes)
    index.file(index.faces[0]).unlink()
    with pytest.raises(DataError, match="1 of 26 images are missing"):
        write(tmp_path, mnist, usps)


def test_there_is_no_index_until_all_images_are_written(tmp_path: Path) -> None:
    class Interrupted(Progress):
        def __call__(self, items: Any, **_: Any) -> Any:
            yield next(iter(items))
            raise KeyboardInterrupt

    pair = ("mnist", made(6, 5)), ("usps", made(4, 4))
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, *pair, progress=Interrupted(shown=False))
    assert not (tmp_path / CSV_NAME).exists()
    (tmp_path / "rgb" / "train" / "00000.png").write_bytes(b"cut off")
    assert write(tmp_path, *pair).faces == write(tmp_path / "whole", *pair).faces
    for file in (tmp_path / "whole").rglob("*.png"):
        again = tmp_path / file.relative_to(tmp_path / "whole")
        assert again.read_bytes() == file.read_bytes()


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "thermal" / "test" / "00001.png").mkdir(parents=True)
    with pytest.raises(DataError, match="the digits cannot be written"):
        write(tmp_path, ("mnist", made(6, 5)), ("usps", made(4, 4)))
    assert not (tmp_path / CSV_NAME).exists()


@pytest.mark.parametrize("validation", [-1, 9])
def test_validation_leaves_something_to_train_on(tmp_path: Path, validation: int) -> None:
    pair = ("mnist", made(6, 5)), ("usps", made(4, 4))
    with pytest.raises(DataError, match=f"mnist: expected from 0 to 8 .* found {validation}"):
        write(tmp_path, *pair, validation=validation)


def test_a_corpus_is_not_its_own_target(tmp_path: Path) -> None:
    mnist = ("mnist", made(6, 5))
    with pytest.raises(DataError, match="mnist cannot be both"):
        write(tmp_path, mnist, mnist)
